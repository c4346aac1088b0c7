"""What a run tells as it goes: a pass of features, a step, an epoch, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdtune.core.training.feature_cache import FeatureReport


@dataclass(frozen=True)
class StepReport:
    """A step of an epoch. `loss` is that of its batch, NaN where nobody looked."""

    epoch: int
    step: int
    n_steps: int
    loss: float
    frames_per_second: float


@dataclass(frozen=True)
class RunReport:
    """How a run ended. `test` is None without a test split; `is_fresh` if it was done before."""

    best_epoch: int
    validation_score: float
    validation_mAP: float  # noqa: N815 -- the metric's name
    checkpoint: Path
    test: dict[str, Any] | None
    is_fresh: bool
    stopped_early: bool = False


@dataclass(frozen=True)
class Stopped:
    """The run was asked to stop, and has saved where it is."""

    epoch: int
    step: int


@dataclass(frozen=True)
class EpochReport:
    """One line of `metrics.jsonl`. Losses are means over windows; the rest in percent.

    `validation_score` decides which epoch is the best (see `metrics.score_of_kinds`).
    """

    epoch: int
    loss: float
    loss_audio_visual: float
    loss_audio: float | None  # of a network with such a head
    loss_visual: float
    validation_score: float
    validation_mAP: float  # noqa: N815 -- the metric's name
    validation_accuracy: float
    validation_by_kind: dict[str, dict[str, float]]
    is_best: bool
    learning_rate: float
    n_windows: int
    freeze: str
    is_temporal: bool  # temporal mismatches were the only negatives
    frames_per_second: float
    seconds: float


Report = FeatureReport | StepReport | EpochReport | RunReport | Stopped
