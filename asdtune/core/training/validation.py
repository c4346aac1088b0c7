"""What a run is judged by: scores of validation and test, and when it is time to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from asdtune.core.metrics import score_of_kinds, summarize, summarize_kinds
from asdtune.core.models.network import Network
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.devices import prepare_network
from asdtune.core.training.distributed import Ranks
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.optimizer import learning_rate_at
from asdtune.core.training.reports import EpochReport
from asdtune.core.training.run_state import TrainState
from asdtune.core.training.schedule import EpochPlan
from asdtune.core.training.scoring import Scores, Windows, score_by_clip, score_windows
from asdtune.core.training.settings import TrainingSettings
from asdtune.core.windows import MISMATCHES, WindowKind

logger = logging.getLogger(__name__)

_N_EPOCHS_WITHOUT_SYNC = 4
_AT_CHANCE = 55.0  # percent; of a few hundred windows, chance alone gives as much


def scores_of(
    network: Network,
    windows: Windows,
    freeze: Freeze,
    settings: TrainingSettings,
    should_stop: Callable[[], bool] = lambda: False,
) -> Scores | None:
    """Score windows, (N, W); None where it was asked to stop."""
    scores = np.empty((len(windows), windows.window_size), np.float32)
    size, precision = settings.batch_size, settings.precision
    if isinstance(windows, WindowDataset):
        parts = score_by_clip(network, windows, batch_size=size, precision=precision)
    else:
        of_batches = score_windows(
            network, windows, batch_size=size, freeze=freeze, precision=precision
        )
        rows = np.arange(len(windows))
        parts = ((rows[i * size :][:size], part) for i, part in enumerate(of_batches))
    for some, part in parts:
        scores[some] = part
        if should_stop():
            return None
    return scores


def scores_of_start(
    start: Network,
    windows: WindowDataset,
    features: Windows | None,
    settings: TrainingSettings,
    should_stop: Callable[[], bool],
) -> Scores | None:
    """Score positive windows and silent faces with the network that a run starts from.

    There it is right: it tells faces that talk from faces that do not. Of mismatches, which it
    takes for speaking, nothing is kept: their scores, (N, W) in all, are NaN. None where it was
    asked to stop.
    """
    is_kept = np.isin(windows.kinds, (WindowKind.POSITIVE.value, WindowKind.SILENT.value))
    freeze = Freeze.NONE if features is None else Freeze.VISUAL
    scores = scores_of(
        start, windows if features is None else features, freeze, settings, should_stop
    )
    if scores is not None:
        scores[~is_kept] = np.nan
    return scores


def test_result(
    windows: dict[str, WindowDataset],
    load_best: Callable[[], Network],
    settings: TrainingSettings,
    ranks: Ranks,
) -> dict[str, Any] | None:
    """Score the test split with the best epoch; None without one."""
    if "test" not in windows:
        return None

    def score() -> dict[str, Any]:
        network, test = load_best(), windows["test"]
        prepare_network(network, settings.precision, ranks.device)
        scores = scores_of(network, test, Freeze.NONE, settings)
        assert scores is not None
        by_kind = summarize_kinds(test.kinds, test.speakers, test.frame_labels, scores)
        judged = summarize(test.frame_labels, scores)
        return {"score": score_of_kinds(by_kind), **judged, "by_kind": by_kind}

    return ranks.run_on_first(score)


def epoch_report(
    plan: EpochPlan,
    state: TrainState,
    validation: WindowDataset,
    scores: Scores,
    settings: TrainingSettings,
) -> EpochReport:
    """Sum up an epoch: its losses, and what validation says."""
    judged = summarize(validation.frame_labels, scores)
    by_kind = summarize_kinds(
        validation.kinds, validation.speakers, validation.frame_labels, scores
    )
    score = score_of_kinds(by_kind)
    total, audio_visual, audio, visual = (state.loss_sums / state.n_windows).tolist()
    return EpochReport(
        epoch=plan.epoch,
        loss=total,
        loss_audio_visual=audio_visual,
        loss_audio=audio if state.network.has_audio_head else None,
        loss_visual=visual,
        validation_score=score,
        validation_mAP=judged["mAP"],
        validation_accuracy=judged["accuracy"],
        validation_by_kind=by_kind,
        is_best=score > max((each.validation_score for each in state.reports), default=-1.0),
        learning_rate=learning_rate_at(settings, plan.epoch, state.n_steps - 1),
        n_windows=state.n_windows,
        freeze=plan.freeze.value,
        is_temporal=plan.is_temporal,
        frames_per_second=state.n_windows * settings.window_size / state.seconds,
        seconds=state.seconds,
    )


def warn_of_no_sync(reports: list[EpochReport]) -> None:
    """Say that nothing is learned about mismatches, once: when that has lasted some epochs."""
    if len(reports) != _N_EPOCHS_WITHOUT_SYNC:
        return
    areas = [
        report.validation_by_kind[kind]["AUC"]
        for report in reports
        for kind in MISMATCHES
        if kind in report.validation_by_kind
    ]
    if areas and max(areas) < _AT_CHANCE:
        logger.warning(
            "after %d epochs mismatches are told no better than by chance (AUC at most %.0f). "
            "Usual causes: sound that lags behind the pictures, the wrong face in the crops, "
            "dubbed videos, too few speakers. From scratch, sync may come late and at once",
            len(reports), max(areas),
        )  # fmt: skip


def is_patience_over(reports: list[EpochReport], settings: TrainingSettings) -> bool:
    """Tell whether so many epochs in a row were no better; those of a curriculum do not count."""
    n_counted = len(reports) - max(settings.head_epochs, settings.temporal_epochs or 0)
    last = reports[-settings.patience :]
    return 0 < settings.patience <= n_counted and not any(report.is_best for report in last)
