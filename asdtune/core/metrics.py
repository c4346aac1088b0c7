"""How good scores are: the AVA-ActiveSpeaker average precision, and others. All in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.windows import MISMATCHES, NEGATIVE_KINDS, WindowKind

WHO, SYNC = "who_is_speaking", "sync"  # the two abilities, as figures of a report are called


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Compute average precision as the AVA-ActiveSpeaker benchmark does.

    Precision is made to fall with recall (at each recall, the best precision at that recall or a
    higher one), and the area under that curve is taken. Equal scores are one step, for no threshold
    tells them apart; the benchmark's program goes through them in the order of rows. (Upstream's
    variant counts a hit only where the score is above 0.5 as well; the benchmark does not.)

    Args:
        labels: Shape (N,), 1 where the person is speaking, else 0.
        scores: Shape (N,), higher where speaking is more likely.

    Returns:
        Percent, 0..100; NaN where no label is 1.

    Raises:
        ValueError: The shapes differ, or a score is not finite.

    Examples:
        >>> average_precision([1, 0, 1], [0.9, 0.8, 0.7])
        83.33...
        >>> average_precision([1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5])
        50.0
    """
    is_positive = np.asarray(labels).reshape(-1) == 1
    confidence = np.asarray(scores, np.float64).reshape(-1)
    if is_positive.shape != confidence.shape:
        raise ValueError(f"{is_positive.size} labels for {confidence.size} scores")
    if not np.isfinite(confidence).all():
        raise ValueError("scores must be finite")
    order = np.argsort(-confidence, kind="stable")
    hits, counts = is_positive[order], np.ones(order.size, np.int64)
    return sorted_average_precision(hits, counts, last_of_equal(confidence[order]))


def last_of_equal(scores: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Find where in sorted scores (N,) each value stands last.

    Examples:
        >>> last_of_equal(np.array([0.9, 0.5, 0.5, 0.1])).tolist()
        [0, 2, 3]
    """
    return np.flatnonzero(np.append(scores[1:] != scores[:-1], [True] * (scores.size > 0)))


def sorted_average_precision(
    hits: npt.NDArray[np.bool_], counts: npt.NDArray[np.int64], lasts: npt.NDArray[np.int64]
) -> float:
    """Compute average precision, in percent, of what is sorted, the highest score first.

    Args:
        hits: Shape (N,): whether the label is 1; NaN comes of none.
        counts: Shape (N,): how often each stands there.
        lasts: As `last_of_equal` of the scores.
    """
    n_hits = np.cumsum(hits * counts)[lasts]
    if not n_hits.size or n_hits[-1] == 0:
        return float("nan")
    precision = n_hits / np.maximum(np.cumsum(counts)[lasts], 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best_from_here * np.diff(n_hits, prepend=0)).sum() / n_hits[-1] * 100)


def area_under_roc(
    labels: npt.NDArray[Any], scores: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None
) -> float:
    """Compute the area under the ROC curve: how often a 1 scores above a 0; a tie is half.

    Labels, scores and weights (None: all alike) are (N,). Percent; NaN where all labels are alike.

    Examples:
        >>> area_under_roc(np.array([1, 1, 0]), np.array([0.9, 0.2, 0.5]))
        50.0
    """
    weights = np.ones(len(labels)) if weights is None else weights
    places = np.unique(scores, return_inverse=True)[1]
    positive = np.bincount(places, weights * (labels == 1))
    negative = np.bincount(places, weights * (labels != 1))
    n_pairs = positive.sum() * negative.sum()
    if n_pairs == 0:
        return float("nan")
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / n_pairs * 100)


def auc_by_kind(
    kinds: npt.NDArray[np.str_], speakers: npt.NDArray[np.str_], scores: npt.NDArray[np.floating]
) -> dict[str, float]:
    """Give, for each kind of negative, the AUC of telling it from the positive windows, in percent.

    Every speaker counts alike, however many windows they have: among the positives, and among those
    of the kind. Kinds (names of `WindowKind`), speakers and scores are (N,), one per window.
    """
    is_positive, weights = kinds == WindowKind.POSITIVE.value, weights_by_speaker(kinds, speakers)
    return {
        kind: area_under_roc(is_positive[rows], scores[rows], weights[rows])
        for kind, rows in rows_by_kind(kinds).items()
    }


def weights_by_speaker(
    kinds: npt.NDArray[np.str_], speakers: npt.NDArray[np.str_]
) -> npt.NDArray[np.float64]:
    """Give what each window (N,) counts, so that those of a speaker and a kind add up to 1."""
    weights = np.zeros(len(kinds))
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        _, place, n_windows = np.unique(speakers[of_kind], return_inverse=True, return_counts=True)
        weights[of_kind] = 1 / n_windows[place]
    return weights


def rows_by_kind(kinds: npt.NDArray[np.str_]) -> dict[str, npt.NDArray[np.int64]]:
    """Give, for each kind of negative that is there, its windows and the positive ones."""
    is_positive = kinds == WindowKind.POSITIVE.value
    of_kinds = {kind.value: kinds == kind.value for kind in NEGATIVE_KINDS}
    return {
        kind: np.flatnonzero(is_kind | is_positive)
        for kind, is_kind in of_kinds.items()
        if is_kind.any()
    }


def accuracy(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Give the share of scores on the right side of the threshold, in percent.

    Examples:
        >>> accuracy([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.5])
        50.0
    """
    said = np.asarray(scores) > threshold
    return float((said == (np.asarray(labels) == 1)).mean() * 100)


def summarize(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> dict[str, float]:
    """Give `mAP` and `accuracy` over frames, in percent; no mAP (NaN) where all labels are alike.

    Args:
        labels: Shape (N, W), one per frame.
        scores: Shape (N, W).
    """
    has_both = len(np.unique(labels)) > 1
    precision = average_precision(labels, scores) if has_both else math.nan
    return {"mAP": precision, "accuracy": accuracy(labels, scores)}


def summarize_kinds(
    kinds: npt.NDArray[Any],
    speakers: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
) -> dict[str, dict[str, float]]:
    """Give accuracy per kind of window, and how well each kind of negative is told from positives.

    Args:
        kinds: Shape (N,), names of `WindowKind`.
        speakers: Shape (N,).
        labels: Shape (N, W), one per frame.
        scores: Shape (N, W).

    Returns:
        For each kind that is there: `n_windows`, `mean_score`, `accuracy`, and for negatives `AUC`
        of windows, each by its mean score (see `auc_by_kind`), and over frames `mAP` and
        `chance_mAP`, which a constant score would reach; percent.
    """
    found: dict[str, dict[str, float]] = {}
    for kind in (each.value for each in WindowKind if (kinds == each.value).any()):
        of_kind, own = labels[kinds == kind], scores[kinds == kind]
        found[kind] = {"n_windows": len(own), "mean_score": float(own.mean())}
        found[kind]["accuracy"] = accuracy(of_kind, own)
    auc_of = auc_by_kind(kinds, speakers, scores.mean(1))
    for kind, rows in rows_by_kind(kinds).items():
        found[kind]["AUC"] = auc_of[kind]
        found[kind]["mAP"] = average_precision(labels[rows], scores[rows])
        found[kind]["chance_mAP"] = float(labels[rows].mean() * 100)
    return found


def score_of_kinds(by_kind: Mapping[str, Mapping[str, float]]) -> float:
    """Give one number for how good a network is, by which epochs are compared; percent.

    The mean of both abilities (see `abilities`), of which each counts half: what a network cannot
    do any more, the other does not make up for. Of one where the other is not known.

    Args:
        by_kind: As `summarize_kinds` gives it.
    """
    auc_of = {kind: entry["AUC"] for kind, entry in by_kind.items() if "AUC" in entry}
    known = [each for each in abilities(auc_of).values() if not math.isnan(each)]
    return float(np.mean(known)) if known else math.nan


def abilities(auc_of: Mapping[str, Any]) -> dict[str, Any]:
    """Give both abilities of a network by the AUC of each kind; NaN what is not known.

    Who is speaking is the AUC of silent faces, sync the mean over the kinds of mismatches.
    """
    of_mismatches = [auc_of[kind] for kind in MISMATCHES if kind in auc_of]
    return {
        WHO: auc_of.get(WindowKind.SILENT.value, math.nan),
        SYNC: sum(of_mismatches) / len(of_mismatches) if of_mismatches else math.nan,
    }
