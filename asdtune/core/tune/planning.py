"""What each epoch of a run learns from, and which parts learn."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from asdtune.core.splits import WindowKind
from asdtune.core.tune.dataset import Rows, WindowDataset
from asdtune.core.tune.freezing import Freeze
from asdtune.core.tune.runs import TrainingSettings

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
    return replace(settings, temporal_epochs=0)


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


def order_of_epoch(windows: WindowDataset, plan: EpochPlan, seed: int) -> Rows:
    """Shuffle the windows of an epoch; the same for the same seed.

    Among temporal mismatches alone, as many positives are drawn as there are mismatches.
    """
    rng = np.random.default_rng([seed, plan.epoch])
    if not plan.is_temporal:
        return rng.permutation(len(windows))
    temporal = np.flatnonzero(windows.kinds == WindowKind.TEMPORAL.value)
    positive = rng.permutation(np.flatnonzero(windows.labels == 1))[: len(temporal)]
    return rng.permutation(np.concatenate([temporal, positive]))
