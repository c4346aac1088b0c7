"""A training run on disk: what it is, what it leaves, and how it is found again."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdtune import __version__
from asdtune.core.files import content_hash, settings_hash, write_text
from asdtune.core.networks.checkpoints import CheckpointInfo, read_saved, save_weights, save_whole
from asdtune.core.tune.dataset import WindowDataset
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import torch

    from asdtune.core.networks.talknet import TalkNet

logger = logging.getLogger(__name__)

RUN_JSON = "run.json"
METRICS_JSONL = "metrics.jsonl"
BEST = Path("checkpoints/best.pth")
LAST = Path("checkpoints/last.pth")
STATE = Path("checkpoints/training_state.pth")


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the result of a run, beside its data."""

    checkpoint: str
    window_size: int
    learning_rate: float
    lr_decay: float
    total_epochs: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class EpochReport:
    """One line of `metrics.jsonl`. Losses are means over windows; mAP and accuracy in percent."""

    epoch: int
    loss: float
    loss_audio_visual: float
    loss_audio: float
    loss_visual: float
    validation_mAP: float  # noqa: N815 -- the metric's name
    validation_accuracy: float
    is_best: bool
    learning_rate: float
    frames_per_second: float
    seconds: float


def describe_run(
    windows: dict[str, WindowDataset],
    datasets: dict[str, Path],
    start_path: Path | None,
    settings: TrainingSettings,
) -> dict[str, Any]:
    """Describe a run: its settings, and the fingerprint of all that decides its weights."""
    decisive = asdict(settings)
    decisive.pop("total_epochs")  # more epochs carry the same run on
    decisive.pop("checkpoint")  # its content counts, not its name
    decisive["start"] = "" if start_path is None else content_hash(start_path)
    decisive |= {name: windows[name].fingerprint for name in ("training", "validation")}
    return {
        "asdtune": __version__,
        "fingerprint": settings_hash(decisive),
        "test_fingerprint": windows["test"].fingerprint if "test" in windows else None,
        **asdict(settings),
        "datasets": {name: path.as_posix() for name, path in datasets.items()},
    }


def settle_run(
    output_dir: Path, run: dict[str, Any], *, resume: bool | None, overwrite: bool
) -> dict[str, Any] | None:
    """Decide about a run that is there already: give it if it is this one, else move it aside."""
    try:
        earlier: dict[str, Any] | None = json.loads((output_dir / RUN_JSON).read_bytes())
    except FileNotFoundError:
        earlier = None
    except ValueError:
        earlier = {}
    if earlier is None and resume:
        raise AsdtuneError(
            "there is no run here to carry on",
            where=output_dir,
            fix="begin one without --resume, or name its folder with --output-dir",
        )
    if earlier is None:
        return None
    if overwrite:
        _remove(output_dir)
        return None
    if earlier.get("fingerprint") != run["fingerprint"]:
        changed = _changed(earlier, run)
        if resume:
            raise AsdtuneError(
                f"the run here is another one: {changed}",
                where=output_dir,
                fix="set it back, or leave --resume away to begin anew",
            )
        aside = _move_aside(output_dir)
        logger.warning("a run begins anew (%s); the earlier one is kept in %s", changed, aside)
        return None
    if earlier.get("result") and not (output_dir / BEST).is_file():
        logger.warning("the checkpoints of the finished run are gone: it begins anew")
        _remove(output_dir)
        return None
    if not earlier.get("result") and resume is False:
        raise AsdtuneError(
            "an interrupted run of these settings is here",
            where=output_dir,
            fix="carry it on with --resume, or begin again with --overwrite",
        )
    return earlier


def _changed(earlier: dict[str, Any], run: dict[str, Any]) -> str:
    """Say what differs between two runs."""
    names = [field.name for field in fields(TrainingSettings) if field.name != "total_epochs"]
    changed = [
        f"{name} {run[name]}, was {earlier.get(name)}"
        for name in names
        if run[name] != earlier.get(name)
    ]
    return "; ".join(changed) or "the data changed"


def _remove(output_dir: Path) -> None:
    for path in (output_dir / RUN_JSON, output_dir / METRICS_JSONL):
        path.unlink(missing_ok=True)
    for path in (output_dir / BEST, output_dir / LAST):
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    (output_dir / STATE).unlink(missing_ok=True)


def _move_aside(output_dir: Path) -> Path:
    """Keep a run of other data or settings: hours of work are not thrown away."""
    number = 1
    while (aside := output_dir / f"earlier-{number:03d}").exists():
        number += 1
    aside.mkdir()
    for name in (METRICS_JSONL, BEST.parent.name, RUN_JSON):
        if (output_dir / name).exists():
            (output_dir / name).rename(aside / name)
    return aside


def save_epoch(
    output_dir: Path,
    network: TalkNet,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    reports: list[EpochReport],
    settings: TrainingSettings,
) -> None:
    """Write what an epoch leaves. The state comes last: what is before it can be written again."""
    import torch

    report = reports[-1]
    info = CheckpointInfo(
        window_size=settings.window_size,
        epoch=report.epoch,
        validation_mAP=report.validation_mAP,
        started_from=settings.checkpoint,
        asdtune=__version__,
    )
    for path in (LAST, BEST) if report.is_best else (LAST,):
        save_weights(output_dir / path, network.state_dict(), info)
    lines = [json.dumps(asdict(each)) for each in reports]
    write_text(output_dir / METRICS_JSONL, "\n".join(lines) + "\n")
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "reports": [asdict(each) for each in reports],
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    save_whole(output_dir / STATE, state)


def restore_state(
    path: Path,
    network: TalkNet,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> list[EpochReport]:
    """Put everything back as it was after the last whole epoch; give the reports so far."""
    import torch

    state = read_saved(path)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return [EpochReport(**each) for each in state["reports"]]
