"""A training run on disk: what it is, what it leaves, and how it is found again."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from asdtune import __version__
from asdtune.core.files import content_hash, settings_hash, write_text
from asdtune.core.models.checkpoints import (
    CheckpointInfo,
    read_info,
    read_saved,
    save_weights,
    save_whole,
)
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.reports import EpochReport
from asdtune.core.training.schedule import without_empty_curriculum
from asdtune.core.training.settings import TrainingSettings, resolve_settings
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from torch.optim.swa_utils import AveragedModel

    from asdtune.core.models.network import Network

logger = logging.getLogger(__name__)

RUN_JSON = "run.json"
METRICS_JSONL = "metrics.jsonl"
BEST = Path("checkpoints/best.pth")
LAST = Path("checkpoints/last.pth")
STATE = Path("checkpoints/training_state.pth")
BOARD = Path("tensorboard")


@dataclass
class TrainState:
    """What changes in a run, and is saved to go on from.

    Attributes:
        network: What learns.
        optimizer: Of its weights.
        averaged: Their moving mean, if there is one.
        epoch: From 1.
        step: How many of the epoch are done.
        n_steps: How many of all epochs are done.
        loss_sums: Shape (4,), float64: losses of the epoch, summed over this process's windows.
        n_windows: How many windows of the epoch this process has done.
        seconds: How long that took.
        reports: Of the epochs that are done.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None
    epoch: int = 1
    step: int = 0
    n_steps: int = 0
    loss_sums: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    n_windows: int = 0
    seconds: float = 0.0
    reports: list[EpochReport] = field(default_factory=list)

    @property
    def judged(self) -> Network:
        """The network that is validated and kept."""
        if self.averaged is None:
            return self.network
        module: Network = cast("Any", self.averaged.module)
        return module

    def begin_epoch(self, epoch: int) -> None:
        """Count from 0 again."""
        self.epoch, self.step, self.seconds = epoch, 0, 0.0
        self.begin_counting()

    def begin_counting(self) -> None:
        """Forget the losses of the epoch, and of how many windows they are."""
        self.n_windows, self.loss_sums = 0, torch.zeros(4, dtype=torch.float64)


_KEPT = (METRICS_JSONL, BEST.parent.name, BOARD.name, RUN_JSON)  # of an earlier run
_WITHOUT_STATE = "delete this file: a new run then begins, and what is here is kept aside"
_NOT_DECISIVE = (
    "total_epochs",  # more epochs carry the same run on
    "patience",
    "checkpoint",  # its content counts, not its name
    "compile",
)


def describe_run(
    windows: dict[str, WindowDataset],
    datasets: dict[str, Path],
    start_path: Path | None,
    settings: TrainingSettings,
) -> dict[str, Any]:
    """Describe a run: its settings, and the fingerprint of all that decides its weights."""
    decisive = settings.model_dump(exclude={*_NOT_DECISIVE})
    start = "" if start_path is None else content_hash(start_path)
    decisive["start"] = start
    decisive |= {name: windows[name].fingerprint for name in ("training", "validation")}
    if settings.augment:
        decisive["waveforms"] = windows["training"].mark_of_waveforms()
    return {
        "asdtune": __version__,
        "fingerprint": settings_hash(decisive),
        "test_fingerprint": windows["test"].fingerprint if "test" in windows else None,
        **settings.model_dump(),
        "start_blake2b": start,
        "datasets": {name: path.as_posix() for name, path in datasets.items()},
        "dataset_hashes": {name: content_hash(path) for name, path in datasets.items()},
        "speakers": _speakers_met(windows, start_path),
    }


def _speakers_met(
    windows: dict[str, WindowDataset], start_path: Path | None
) -> dict[str, list[str]]:
    """Name the speakers of training and validation, with those of the run that it starts from."""
    before = {} if start_path is None else speakers_met(start_path) or {}
    return {
        name: sorted({*windows[name].speakers.tolist(), *before.get(name, ())})
        for name in ("training", "validation")
    }


def resolve_run(
    windows: dict[str, WindowDataset],
    datasets: dict[str, Path],
    start_path: Path | None,
    given: TrainingSettings,
    output_dir: Path,
    device: torch.device,
) -> tuple[TrainingSettings, dict[str, Any]]:
    """Put what they stand for in the place of `auto` and None, and describe the run.

    A run that only gets more epochs keeps its curriculum, where nobody asked for another.
    """
    settings = resolve_settings(given, device, is_scratch=start_path is None)
    settings = without_empty_curriculum(settings, windows["training"])
    run, earlier = describe_run(windows, datasets, start_path, settings), read_run(output_dir) or {}
    n_temporal = earlier.get("temporal_epochs", settings.temporal_epochs)
    if given.temporal_epochs is None and n_temporal != settings.temporal_epochs:
        same = settings.model_copy(update={"temporal_epochs": n_temporal})
        as_before = describe_run(windows, datasets, start_path, same)
        if as_before["fingerprint"] == earlier.get("fingerprint"):
            return same, as_before
    return settings, run


def settle_run(
    output_dir: Path, run: dict[str, Any], *, resume: bool | None, overwrite: bool
) -> dict[str, Any] | None:
    """Decide about a run that is there already: give it if it is this one, else move it aside."""
    earlier = read_run(output_dir)
    if overwrite:
        _remove(output_dir)
        return None
    has_any = any((output_dir / path).exists() for path in _KEPT)
    obstacle = obstacle_to(output_dir, earlier, run)
    if obstacle is None and earlier is not None:
        if not earlier.get("result") and (output_dir / STATE).is_file() and resume is False:
            raise AsdtuneError(
                "an interrupted run of these settings is here",
                where=output_dir,
                fix="carry it on with --resume; or begin again with --overwrite, which deletes it",
            )
        return earlier
    if resume and has_any:
        raise AsdtuneError(
            f"the run here cannot be carried on: {obstacle}",
            where=output_dir,
            fix="set that back; or leave --resume away, and a new run begins while this one is "
            "kept aside",
        )
    if resume:
        raise AsdtuneError(
            "there is no run here to carry on",
            where=output_dir,
            fix="leave --resume away, or name the folder of the run with --output-dir",
        )
    if has_any:
        aside = _move_aside(output_dir)
        logger.warning("a run begins anew (%s); the earlier one is kept in %s", obstacle, aside)
    return None


def is_finished(begun: dict[str, Any], settings: TrainingSettings) -> bool:
    """Tell whether a run has done all that these settings ask for."""
    result = begun.get("result")
    if not result:
        return False
    if result.get("stopped_early", False):
        return bool(begun["patience"] == settings.patience)
    return bool(begun["total_epochs"] >= settings.total_epochs)


def read_run(output_dir: Path) -> dict[str, Any] | None:
    """Read what a run wrote of itself; empty where it is something else, None where nothing is."""
    try:
        found = json.loads((output_dir / RUN_JSON).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def run_that_made(checkpoint: Path) -> dict[str, Any] | None:
    """Read what the run beside a checkpoint says of itself; None if it made another, or is gone."""
    info, run = read_info(checkpoint), read_run(checkpoint.parent.parent)
    if info is None or not run:
        return None
    same = run.get("network") == info.network and run.get("window_size") == info.window_size
    return run if same and run.get("checkpoint") == info.started_from else None


def speakers_met(checkpoint: Path) -> dict[str, list[str]] | None:
    """Name the speakers of `training` and `validation` that a network met while it learned.

    None where no record tells: of published weights, and of runs of earlier versions.
    """
    speakers = (run_that_made(checkpoint) or {}).get("speakers")
    return speakers if isinstance(speakers, dict) else None


def obstacle_to(
    output_dir: Path, earlier: dict[str, Any] | None, run: dict[str, Any]
) -> str | None:
    """Say what keeps the run that is there from being carried on, or from being the result."""
    if not earlier:
        return f"its {RUN_JSON} is {'gone' if earlier is None else 'damaged'}"
    if earlier.get("fingerprint") != run["fingerprint"]:
        return _changed(earlier, run)
    settings = TrainingSettings(**{name: run[name] for name in TrainingSettings.model_fields})
    if is_finished(earlier, settings):
        return None if (output_dir / BEST).is_file() else f"its {BEST} is gone"
    if not earlier.get("result") and not (output_dir / METRICS_JSONL).is_file():
        return None  # no epoch has ended, so nothing can be missing
    gone = [str(path) for path in (STATE, BEST) if not (output_dir / path).is_file()]
    return f"its {' and '.join(gone)} {'is' if len(gone) == 1 else 'are'} gone" if gone else None


def _changed(earlier: dict[str, Any], run: dict[str, Any]) -> str:
    """Say what differs between two runs."""
    names = TrainingSettings.model_fields
    changed = [
        f"{name} {run[name]}, was {earlier.get(name)}"
        for name in names
        if run[name] != earlier.get(name) and name not in ("total_epochs", "patience", "compile")
    ]
    if not changed:
        return "the data or the start changed"
    return "; ".join(changed)


def _remove(output_dir: Path) -> None:
    for path in (output_dir / RUN_JSON, output_dir / METRICS_JSONL):
        path.unlink(missing_ok=True)
    for path in (output_dir / BEST, output_dir / LAST):
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    (output_dir / STATE).unlink(missing_ok=True)
    shutil.rmtree(output_dir / BOARD, ignore_errors=True)


def _move_aside(output_dir: Path) -> Path:
    """Keep a run of other data or settings: hours of work are not thrown away."""
    number = 1
    while (aside := output_dir / f"earlier-{number:03d}").exists():
        number += 1
    aside.mkdir()
    for name in _KEPT:
        if (output_dir / name).exists():
            (output_dir / name).rename(aside / name)
    return aside


def save_epoch(
    output_dir: Path, state: TrainState, settings: TrainingSettings, start_blake2b: str
) -> None:
    """Write what an epoch leaves. The state comes last: what is before it can be written again."""
    report = state.reports[-1]
    info = CheckpointInfo(
        window_size=settings.window_size,
        epoch=report.epoch,
        validation_mAP=report.validation_mAP,
        started_from=settings.checkpoint,
        asdtune=__version__,
        network=settings.network,
        start_blake2b=start_blake2b,
    )
    for path in (LAST, BEST) if report.is_best else (LAST,):
        save_weights(output_dir / path, state.judged.state_dict(), info)
    lines = [json.dumps(asdict(each)) for each in state.reports]
    write_text(output_dir / METRICS_JSONL, "\n".join(lines) + "\n")
    save_state(output_dir, state)


_POSITION = ("epoch", "step", "n_steps", "loss_sums", "n_windows", "seconds")


def save_state(output_dir: Path, state: TrainState) -> None:
    """Write all that going on from here needs; random numbers follow from seed, epoch and step."""
    position = {name: getattr(state, name) for name in _POSITION}
    saved = {
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "averaged": None if state.averaged is None else state.averaged.state_dict(),
        "position": position | {"loss_sums": state.loss_sums.cpu()},
        "reports": [asdict(each) for each in state.reports],
    }
    save_whole(output_dir / STATE, saved)


def restore_state(output_dir: Path, state: TrainState) -> None:
    """Put everything back as it was saved."""
    saved = read_saved(output_dir / STATE, fix=_WITHOUT_STATE)
    try:
        state.network.load_state_dict(saved["network"])
        state.optimizer.load_state_dict(saved["optimizer"])
        if state.averaged is not None:
            state.averaged.load_state_dict(saved["averaged"])
        state.reports = [EpochReport(**each) for each in saved["reports"]]
        for name in _POSITION:
            setattr(state, name, saved["position"][name])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise AsdtuneError(
            f"not the state of this run ({type(error).__name__}: {str(error).splitlines()[0]})",
            where=output_dir / STATE,
            fix=_WITHOUT_STATE,
        ) from error
