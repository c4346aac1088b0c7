"""Fine-tune a network on the windows of a corpus.

In: a training and a validation split, a checkpoint to start from. Out, below `output_dir`:
`checkpoints/best.pth` and `last.pth` with a JSON of what they are beside each,
`checkpoints/training_state.pth` (all that resuming needs), `metrics.jsonl` with one object per
epoch, and `run.json` with the settings of the run and, at the end, the result on the test split.

The recipe is upstream's: Adam at 1e-4, times 0.95 per epoch. Validation alone decides which epoch
is the best; the test split is scored once, at the end, with that epoch.

    for step in train(Path("splits/training.csv"), Path("splits/validation.csv"), None, ...):
        ...  # StepReport, EpochReport, and at the end a RunReport
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdtune import __version__
from asdtune.core.files import content_hash, settings_hash, write_json, write_text
from asdtune.core.networks.checkpoints import (
    CheckpointInfo,
    find_checkpoint,
    load_weights,
    read_saved,
    save_weights,
    save_whole,
)
from asdtune.core.rates import check_window_size
from asdtune.core.tune.dataset import Batch, WindowDataset
from asdtune.core.tune.metrics import summarize
from asdtune.core.tune.scoring import choose_device, score_windows, to_device
from asdtune.errors import AsdtuneError, UsageError

if TYPE_CHECKING:
    import torch

    from asdtune.core.networks.talknet import TalkNet, TalkNetSizes

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
class StepReport:
    """One step of an epoch; `n_steps` counts those of the whole epoch."""

    epoch: int
    step: int
    n_steps: int
    loss: float
    frames_per_second: float


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


@dataclass(frozen=True)
class RunReport:
    """How a run ended. `test` is None without a test split; `is_fresh` if it was done before."""

    best_epoch: int
    validation_mAP: float  # noqa: N815 -- the metric's name
    checkpoint: Path
    test: dict[str, float] | None
    is_fresh: bool


def train(
    training_dataset: Path,
    validation_dataset: Path,
    test_dataset: Path | None,
    output_dir: Path,
    *,
    settings: TrainingSettings,
    device: str,
    resume: bool | None,
    overwrite: bool,
    sizes: TalkNetSizes | None = None,
) -> Iterator[StepReport | EpochReport | RunReport]:
    """Fine-tune TalkNet, or carry an interrupted run on.

    Args:
        training_dataset: The split to learn from.
        validation_dataset: The split that decides which epoch is the best.
        test_dataset: The split that is scored once, at the end; may be None.
        output_dir: Where the run goes.
        settings: What decides the result.
        device: `auto`, `cpu`, `cuda`, ...
        resume: Carry an interrupted run of the same settings on, and refuse if there is none; None
            to carry it on or to begin, as it comes.
        overwrite: Begin again, whatever is there.
        sizes: Sizes of the network; None for the published ones.

    Yields:
        A report per step and per epoch, and one of the run at the end.

    Raises:
        UsageError: A setting is out of its range.
        AsdtuneError: Data or checkpoint are bad, or an interrupted run is there and `resume` is not
            asked for.
    """
    import torch

    from asdtune.core.networks.talknet import TalkNet

    _check(settings)
    start_path = find_checkpoint(settings.checkpoint)
    datasets = {"training": training_dataset, "validation": validation_dataset}
    if test_dataset is not None:
        datasets["test"] = test_dataset
    windows = {name: WindowDataset(path, settings.window_size) for name, path in datasets.items()}
    _check_has_both(windows["validation"], validation_dataset)
    run = _describe(windows, datasets, start_path, settings)
    begun = _settle(output_dir, run, resume=resume, overwrite=overwrite)
    if (
        begun is not None
        and begun.get("result")
        and (begun["total_epochs"] >= settings.total_epochs)
    ):
        is_fresh = begun["test_fingerprint"] == run["test_fingerprint"]
        if not is_fresh:  # the same run, another test split
            network = TalkNet(sizes).to(choose_device(device))
            load_weights(network, output_dir / BEST)
            test = _test(network, windows, settings.batch_size)
            begun |= {**run, "result": {**begun["result"], "test": test}}
            write_json(output_dir / RUN_JSON, begun)
        yield RunReport(**begun["result"], checkpoint=output_dir / BEST, is_fresh=is_fresh)
        return
    write_json(output_dir / RUN_JSON, run)

    where = choose_device(device)
    torch.manual_seed(settings.seed)
    network = TalkNet(sizes)
    if start_path is not None:
        load_weights(network, start_path)
    network.to(where)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.lr_decay)
    reports: list[EpochReport] = []
    if begun is not None and (output_dir / STATE).is_file():
        reports = _restore(output_dir / STATE, network, optimizer, schedule)
        logger.info("going on after epoch %d", len(reports))

    for epoch in range(len(reports) + 1, settings.total_epochs + 1):
        started = time.monotonic()
        rate = float(schedule.get_last_lr()[0])
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(windows["training"]))
        n_steps = -(-len(order) // settings.batch_size)
        sums, n_seen = torch.zeros(4), 0
        network.train()
        for step, batch in enumerate(
            windows["training"].batches(order, settings.batch_size), start=1
        ):
            losses = _step(network, optimizer, batch)
            sums += losses * len(batch.labels)
            n_seen += len(batch.labels)
            speed = n_seen * settings.window_size / (time.monotonic() - started)
            yield StepReport(epoch, step, n_steps, float(losses[0]), speed)
        schedule.step()
        validation = _judge(network, windows["validation"], settings.batch_size)
        best_before = max((report.validation_mAP for report in reports), default=-1.0)
        total, audio_visual, audio, visual = (sums / n_seen).tolist()
        report = EpochReport(
            epoch=epoch,
            loss=total,
            loss_audio_visual=audio_visual,
            loss_audio=audio,
            loss_visual=visual,
            validation_mAP=validation["mAP"],
            validation_accuracy=validation["accuracy"],
            is_best=validation["mAP"] > best_before,
            learning_rate=rate,
            frames_per_second=speed,
            seconds=time.monotonic() - started,
        )
        reports.append(report)
        _save(output_dir, network, optimizer, schedule, reports, settings)
        yield report

    best = max((report for report in reports if report.is_best), key=lambda report: report.epoch)
    load_weights(network, output_dir / BEST)
    test = _test(network, windows, settings.batch_size)
    result: dict[str, Any] = {
        "best_epoch": best.epoch,
        "validation_mAP": best.validation_mAP,
        "test": test,
    }
    write_json(output_dir / RUN_JSON, {**run, "result": result})
    yield RunReport(**result, checkpoint=output_dir / BEST, is_fresh=False)


def _step(network: TalkNet, optimizer: torch.optim.Optimizer, batch: Batch) -> torch.Tensor:
    """Learn from one batch; give the four losses, shape (4,)."""
    import torch

    from asdtune.core.networks.talknet import talknet_loss

    device = next(network.parameters()).device
    logits = network(to_device(batch.mfcc, device), to_device(batch.crops, device))
    losses = talknet_loss(logits, to_device(batch.labels, device))
    optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    optimizer.step()
    values = torch.stack(losses).detach().cpu()
    if not torch.isfinite(values).all():
        raise AsdtuneError(
            "the loss is no longer a finite number: the run has diverged",
            fix="lower --learning-rate and begin again with --overwrite",
        )
    return values


def _judge(network: TalkNet, windows: WindowDataset, batch_size: int) -> dict[str, float]:
    scores = np.concatenate(
        [part for _, part in score_windows(network, windows, batch_size=batch_size)]
    )
    return summarize(windows.labels, scores)


def _test(
    network: TalkNet, windows: dict[str, WindowDataset], batch_size: int
) -> dict[str, float] | None:
    return _judge(network, windows["test"], batch_size) if "test" in windows else None


def _check(settings: TrainingSettings) -> None:
    check_window_size(settings.window_size)
    wrong = []
    if settings.learning_rate <= 0:
        wrong.append(f"learning rate must be above 0, not {settings.learning_rate}")
    if not 0 < settings.lr_decay <= 1:
        wrong.append(f"lr decay must be above 0 and at most 1, not {settings.lr_decay}")
    if settings.total_epochs < 1:
        wrong.append(f"total epochs must be at least 1, not {settings.total_epochs}")
    if settings.batch_size < 1:
        wrong.append(f"batch size must be at least 1, not {settings.batch_size}")
    if wrong:
        raise UsageError("; ".join(wrong), fix="mend the flag or the setting")


def _check_has_both(windows: WindowDataset, path: Path) -> None:
    if windows.labels.all() or not windows.labels.any():
        raise AsdtuneError(
            "validation needs windows of both labels to tell which epoch is the best",
            where=path,
            fix="make the splits again with splits",
        )


def _describe(
    windows: dict[str, WindowDataset],
    datasets: dict[str, Path],
    start_path: Path | None,
    settings: TrainingSettings,
) -> dict[str, Any]:
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


def _settle(
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


def _save(
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


def _restore(
    path: Path,
    network: TalkNet,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> list[EpochReport]:
    import torch

    state = read_saved(path)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return [EpochReport(**each) for each in state["reports"]]
