"""One epoch of learning, step by step: load, change, forward, loss, step."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from asdtune.core.models.dropout import Dropout
from asdtune.core.models.network import Network
from asdtune.core.training.augment import (
    change_pictures,
    draw_changes,
    draw_masks,
    mask_sound,
    mix_sound,
)
from asdtune.core.training.dataset import Batch, Rows, WindowDataset
from asdtune.core.training.distributed import Ranks
from asdtune.core.training.freezing import Freeze, set_learning
from asdtune.core.training.losses import Objective
from asdtune.core.training.optimizer import learning_rate_at
from asdtune.core.training.precision import computing
from asdtune.core.training.run_state import Learner, Position, TrainingSettings
from asdtune.core.training.schedule import EpochPlan, order_of_epoch
from asdtune.core.training.scoring import Scores, Windows, to_device
from asdtune.errors import AsdtuneError

_GPU_STEPS_BETWEEN_LOOKS = 20  # at the loss: looking waits for the GPU
_N_AHEAD = 3  # batches that are loaded while a GPU computes


@dataclass(frozen=True)
class StepReport:
    """One step of an epoch; `n_steps` counts those of the whole epoch."""

    epoch: int
    step: int
    n_steps: int
    loss: float
    frames_per_second: float


def learn_epoch(
    learner: Learner,
    feed: Windows,
    windows: WindowDataset,
    plan: EpochPlan,
    position: Position,
    *,
    start_scores: Scores | None,
    settings: TrainingSettings,
    ranks: Ranks,
) -> Iterator[StepReport]:
    """Learn from the windows of an epoch, from where the position is.

    Args:
        learner: What changes.
        feed: The windows as the plan's frozen parts make them.
        windows: The same windows as crops and MFCC.
        plan: What the epoch is.
        position: Is kept up to date before each report.
        start_scores: What the network that it started from says of the windows, (N, W), NaN where
            it is not to be followed; None without distillation.
        settings: The recipe.
        ranks: Who shares the batches.

    Yields:
        A report after every step.

    Raises:
        AsdtuneError: The loss is no longer a finite number.
    """
    set_learning(learner.network, plan.freeze, settings.batchnorm)
    objective = _objective(learner.network, plan, settings, ranks)
    dropouts = [each for each in objective.modules() if isinstance(each, Dropout)]
    batches = batches_of_epoch(windows, plan, settings, ranks)
    is_exact = ranks.device.type != "mps"  # which has no float64
    position.loss_sums = position.loss_sums.to(ranks.device if is_exact else "cpu")
    n_before, seconds_before = position.n_windows, position.seconds
    started, loss = time.monotonic(), float("nan")
    for rows, batch in _loaded(feed, batches[position.step :], ranks):
        rng = np.random.default_rng([settings.seed, plan.epoch, position.step])
        torch.manual_seed(int(rng.integers(2**62)))  # of dropout: the same wherever a run went on
        share = ranks.share(rows)
        for dropout in dropouts:
            dropout.n_before, dropout.n_after = share.start, len(rows) - share.stop
        pictures, sound, labels = (
            to_device(each, ranks.device) for each in (batch.pictures, batch.sound, batch.labels)
        )
        if settings.augment:
            pictures, sound = _changed(pictures, sound, windows, rows, plan.freeze, ranks, rng)
        if settings.time_mask_frames:
            masks = draw_masks(len(rows), settings.window_size, settings.time_mask_frames, rng)
            sound = mask_sound(sound, masks[share])
        kept = None
        if start_scores is not None:
            kept = to_device(start_scores[rows[share]], ranks.device)
        with computing(settings.precision, ranks.device):
            losses = torch.stack(objective(pictures, sound, labels, kept))
        weight = len(batch.labels) / len(rows)  # of this rank's windows in the batch
        learner.optimizer.zero_grad(set_to_none=True)
        (losses[0] * (weight * ranks.n_ranks)).backward()  # the mean over ranks is taken of it
        if settings.max_gradient_norm:
            nn.utils.clip_grad_norm_(learner.network.parameters(), settings.max_gradient_norm)
        rate = learning_rate_at(settings, plan.epoch, position.n_steps)
        for group in learner.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        learner.optimizer.step()
        if learner.averaged is not None:
            learner.averaged.update_parameters(cast("nn.Module", learner.network))

        of_batch = ranks.sum((losses.detach() * weight).to(position.loss_sums))
        position.loss_sums += of_batch * len(rows)
        position.step += 1
        position.n_steps += 1
        position.n_windows += len(rows)
        if _is_time_to_look(position.step, len(batches), ranks.device):
            loss = _finite(float(of_batch[0]))
        position.seconds = seconds_before + time.monotonic() - started
        n_seen = position.n_windows - n_before
        speed = n_seen * settings.window_size / (position.seconds - seconds_before)
        yield StepReport(plan.epoch, position.step, len(batches), loss, speed)


def batches_of_epoch(
    windows: WindowDataset, plan: EpochPlan, settings: TrainingSettings, ranks: Ranks
) -> list[Rows]:
    """Give the rows of each batch; a last one with fewer windows than ranks is left out."""
    order = order_of_epoch(windows, plan, settings.seed, balance_speakers=settings.balance_speakers)
    starts = range(0, len(order), settings.batch_size)
    batches = [order[start : start + settings.batch_size] for start in starts]
    return [rows for rows in batches if len(rows) >= ranks.n_ranks]


def _objective(
    network: Network, plan: EpochPlan, settings: TrainingSettings, ranks: Ranks
) -> nn.Module:
    objective: nn.Module = Objective(
        network, plan.freeze, plan.epoch,
        dropout=settings.dropout, label_smoothing=settings.label_smoothing,
        contrast=settings.contrast, distillation=settings.distillation,
    )  # fmt: skip
    if settings.compile:
        objective.compile(dynamic=False)
    if ranks.n_ranks == 1:
        return objective
    # TalkNet has weights that it never uses; buffers are equal on all ranks as they are.
    return nn.parallel.DistributedDataParallel(
        objective, broadcast_buffers=False, find_unused_parameters=True
    )


def _changed(
    pictures: Tensor,
    sound: Tensor,
    windows: WindowDataset,
    rows: Rows,
    freeze: Freeze,
    ranks: Ranks,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Augment this rank's windows of a batch, as far as they are not stored features."""
    share = ranks.share(rows)
    changes = draw_changes(windows, rows, rng)[share]  # drawn for all: the same on any ranks
    if freeze is Freeze.NONE:
        pictures = change_pictures(pictures, to_device(changes.affine, ranks.device))
    return pictures, mix_sound(sound, windows, rows[share], changes)


def _loaded(feed: Windows, batches: Sequence[Rows], ranks: Ranks) -> Iterator[tuple[Rows, Batch]]:
    """Give each batch's rows, and this rank's share of it; for a GPU, load some ahead."""
    loaded = ((rows, feed.batch(rows[ranks.share(rows)])) for rows in batches)
    return loaded if ranks.device.type == "cpu" else _ahead(loaded)


def _ahead(batches: Iterator[tuple[Rows, Batch]]) -> Iterator[tuple[Rows, Batch]]:
    """Take from an iterator in a thread of its own, a few items ahead."""
    waiting: queue.Queue[tuple[Rows, Batch] | BaseException | None] = queue.Queue(_N_AHEAD)
    is_over = threading.Event()

    def put(item: tuple[Rows, Batch] | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def fill() -> None:
        try:
            for item in batches:
                put(item)
                if is_over.is_set():
                    return
            put(None)
        except BaseException as error:  # is raised where the batches are used
            put(error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        is_over.set()
        thread.join()


def _is_time_to_look(step: int, n_steps: int, device: torch.device) -> bool:
    return device.type == "cpu" or step in (1, n_steps) or step % _GPU_STEPS_BETWEEN_LOOKS == 0


def _finite(loss: float) -> float:
    if not np.isfinite(loss):
        raise AsdtuneError(
            "the loss is no longer a finite number: the run has diverged",
            fix="lower --learning-rate and begin again with --overwrite",
        )
    return loss
