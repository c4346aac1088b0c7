"""What each epoch of a run learns from, and which parts learn."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asdtune.core.training.dataset import Rows, WindowDataset
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.settings import TrainingSettings
from asdtune.core.windows import WindowKind

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochPlan:
    """An epoch: what is frozen, and whether only temporal mismatches are its negatives."""

    epoch: int
    freeze: Freeze
    is_temporal: bool


def without_empty_curriculum(
    settings: TrainingSettings, windows: WindowDataset
) -> TrainingSettings:
    """Leave the curriculum out, with a warning, where the split has nothing for it."""
    if not settings.temporal_epochs or (windows.kinds == WindowKind.TEMPORAL.value).any():
        return settings
    logger.warning("the training split has no temporal mismatches to begin with")
    return settings.model_copy(update={"temporal_epochs": 0})


def plan_epochs(settings: TrainingSettings) -> list[EpochPlan]:
    """Lay out the epochs of a run.

    The first `head_epochs` train on stored features what is behind the visual front-end. The first
    `temporal_epochs` have temporal mismatches as their only negatives: with few speakers, a network
    that meets other speakers' voices from the beginning learns which voice belongs to which face,
    and never learns to compare lips with sound.
    """
    plans = []
    for epoch in range(1, settings.total_epochs + 1):
        freeze = Freeze(settings.freeze)
        if freeze is Freeze.NONE and epoch <= settings.head_epochs:
            freeze = Freeze.VISUAL
        plans.append(EpochPlan(epoch, freeze, epoch <= (settings.temporal_epochs or 0)))
    return plans


def order_of_epoch(
    windows: WindowDataset, plan: EpochPlan, seed: int, *, balance_speakers: bool
) -> Rows:
    """Shuffle the windows of an epoch; the same for the same seed.

    Among temporal mismatches alone, there are as many positives as mismatches, first those that
    show the same pictures: what is seen does not tell the label. With `balance_speakers`, every
    speaker has as many windows; those of some come several times, and those of others not all.
    """
    rng = np.random.default_rng([seed, plan.epoch])
    rows = np.arange(len(windows))
    if plan.is_temporal:
        temporal = np.flatnonzero(windows.kinds == WindowKind.TEMPORAL.value)
        positive = _with_pictures_of(windows, temporal, rng)
        rows = np.concatenate([temporal, positive[: len(temporal)]])
    if balance_speakers:
        rows = _balanced(windows.speakers, rows, rng)
    return rng.permutation(rows)


def _with_pictures_of(windows: WindowDataset, rows: Rows, rng: np.random.Generator) -> Rows:
    """Give the positives in random order, first those that show the pictures of some windows."""
    pictures = list(zip(windows.video_paths, windows.video_starts.tolist(), strict=True))
    shown = {pictures[i] for i in rows}
    positive = rng.permutation(np.flatnonzero(windows.labels == 1))
    is_other = np.array([pictures[i] not in shown for i in positive], bool)
    return positive[np.argsort(is_other, kind="stable")]


def _balanced(speakers: npt.NDArray[np.str_], rows: Rows, rng: np.random.Generator) -> Rows:
    """Give each speaker the same share of about as many rows."""
    names = np.unique(speakers[rows])
    share = -(-len(rows) // len(names))
    return np.concatenate(
        [np.resize(rng.permutation(rows[speakers[rows] == name]), share) for name in names]
    )
