"""A tiny network, and a run of it that takes seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from asdtune.core.export.export import Export, make_export
from asdtune.core.export.folder import write_folder
from asdtune.core.export.provenance import CardMetadata, ReportPaths
from asdtune.core.models.checkpoints import CheckpointInfo, read_state, save_weights
from asdtune.core.models.registry import LR_ASD, make_network
from asdtune.core.models.talknet import TalkNet, TalkNetSizes
from asdtune.core.training.devices import prepare_network
from asdtune.core.training.settings import TrainingSettings
from asdtune.core.training.trainer import train

CPU = torch.device("cpu")
TINY = TalkNetSizes(
    visual_width=32,
    # Not fewer than 16 where the next layer has stride 2: the weight gradient of a strided 1x1
    # convolution of fewer channels, laid out channels-last, writes past its buffer on processors
    # with AVX-512 (github.com/uxlfoundation/oneDNN/issues/6035).
    visual_layers=(16, 16, 16, 32),
    audio_layers=(16, 16, 16, 16),
    audio_blocks=(1, 1, 1, 1),
    embedding=16,
    n_heads=2,
    n_temporal_blocks=1,
)


def altered(settings: TrainingSettings, **values: object) -> TrainingSettings:
    """Give other settings, checked as a project file is."""
    return TrainingSettings(**{**settings.model_dump(), **values})


SETTINGS = TrainingSettings(
    network="talknet",
    checkpoint="scratch",
    window_size=5,
    learning_rate=1e-3,
    total_epochs=2,
    batch_size=8,
    seed=0,
    precision="fp32",
    temporal_epochs=0,
    distillation=0.0,
)
OPTIONS = {
    "settings": SETTINGS,
    "device": "cpu",
    "resume": False,
    "overwrite": False,
    "save_seconds": 1e9,
    "should_stop": lambda: False,
    "sizes": TINY,
}
TALKERS = altered(SETTINGS, window_size=9)  # for the fixture `splits`


def run_training(data: Path, output: Path, **changed: object) -> list[object]:
    return list(run_training_steps(data, output, **changed))


def run_training_steps(data: Path, output: Path, **changed: object) -> Iterator[object]:
    csvs = (data / f"{split}.csv" for split in ("training", "validation", "test"))
    return train(*csvs, output, **{**OPTIONS, **changed})


def weights(output: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return read_state(output / "checkpoints" / f"{name}.pth")


def assert_same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def tiny_network(precision: str = "fp32") -> TalkNet:
    torch.manual_seed(0)
    network = TalkNet(TINY)
    prepare_network(network, precision, CPU)
    return network


def write_checkpoint(path: Path, window_size: int) -> Path:
    """Write drawn weights of the smallest network, as a run would have left them."""
    torch.manual_seed(0)
    info = CheckpointInfo(window_size, 1, 50.0, "scratch", "0.1.0")
    save_weights(path, make_network(LR_ASD).state_dict(), info)
    return path


def write_export(
    checkpoint: Path, folder: Path, *, overwrite: bool = False, **known: object
) -> Export:
    """Export a checkpoint, by default in Swahili and with nothing else known of it."""
    options = {
        "language": "swahili", "checkpoint_url": None, "window_size": None,
        "reports": ReportPaths(), "metadata": CardMetadata(), "force": False, **known,
    }  # fmt: skip
    export = make_export(checkpoint, **options)
    write_folder(export.files, folder, overwrite=overwrite)
    return export


def project_of(splits: Path, folder: Path, **settings: object) -> Path:
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    folder.mkdir(exist_ok=True)
    path = folder / "asdtune.toml"
    path.write_text(
        f'[project]\nwindow_size = 9\n[paths]\nsplits_dir = "{splits.as_posix()}"\n'
        + "[train]\ncheckpoint = \"scratch\"\nbatch_size = 8\n" + "\n".join(lines) + "\n"
    )  # fmt: skip
    return path
