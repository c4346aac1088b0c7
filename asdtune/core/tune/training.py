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

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdtune.core.files import write_json
from asdtune.core.networks.checkpoints import (
    find_checkpoint,
    load_weights,
)
from asdtune.core.rates import check_window_size
from asdtune.core.tune.dataset import Batch, WindowDataset
from asdtune.core.tune.metrics import summarize
from asdtune.core.tune.runs import (
    BEST,
    RUN_JSON,
    STATE,
    EpochReport,
    TrainingSettings,
    describe_run,
    restore_state,
    save_epoch,
    settle_run,
)
from asdtune.core.tune.scoring import choose_device, score_windows, to_device
from asdtune.errors import AsdtuneError, UsageError

if TYPE_CHECKING:
    import torch

    from asdtune.core.networks.talknet import TalkNet, TalkNetSizes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepReport:
    """One step of an epoch; `n_steps` counts those of the whole epoch."""

    epoch: int
    step: int
    n_steps: int
    loss: float
    frames_per_second: float


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
    where = choose_device(device)
    torch.manual_seed(settings.seed)
    network = TalkNet(sizes)
    if start_path is not None:
        load_weights(network, start_path)
    network.to(where)

    # Nothing that was there is touched before all that could be wrong has been looked at.
    run = describe_run(windows, datasets, start_path, settings)
    begun = settle_run(output_dir, run, resume=resume, overwrite=overwrite)
    if begun is not None and _is_finished(begun, settings):
        yield _tested_again(network, windows, output_dir, run, begun, settings)
        return
    write_json(output_dir / RUN_JSON, run)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.lr_decay)
    reports: list[EpochReport] = []
    if begun is not None and (output_dir / STATE).is_file():
        reports = restore_state(output_dir / STATE, network, optimizer, schedule)
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
        save_epoch(output_dir, network, optimizer, schedule, reports, settings)
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


def _is_finished(begun: dict[str, Any], settings: TrainingSettings) -> bool:
    return bool(begun.get("result")) and begun["total_epochs"] >= settings.total_epochs


def _tested_again(
    network: TalkNet,
    windows: dict[str, WindowDataset],
    output_dir: Path,
    run: dict[str, Any],
    begun: dict[str, Any],
    settings: TrainingSettings,
) -> RunReport:
    """Give the result of a finished run; score the test split if it is another one by now."""
    is_fresh = begun["test_fingerprint"] == run["test_fingerprint"]
    if not is_fresh:
        load_weights(network, output_dir / BEST)
        test = _test(network, windows, settings.batch_size)
        begun = {**begun, **run, "result": {**begun["result"], "test": test}}
        write_json(output_dir / RUN_JSON, begun)
    return RunReport(**begun["result"], checkpoint=output_dir / BEST, is_fresh=is_fresh)


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
            fix="add speakers or longer clips to the validation split, and run splits again",
        )
