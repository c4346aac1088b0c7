"""How good scores are: the AVA-ActiveSpeaker average precision, and accuracy. All in percent."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.splits import WindowKind


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Compute average precision as the AVA-ActiveSpeaker benchmark does.

    Precision is made to fall with recall (at each recall, the best precision at that recall or a
    higher one), and the area under that curve is taken. Upstream's variant counts a hit only where
    the score is above 0.5 as well; the benchmark does not.

    Args:
        labels: Shape (N,), 1 where the person is speaking, else 0.
        scores: Shape (N,), higher where speaking is more likely; equal scores keep their order.

    Returns:
        Percent, 0..100; NaN where no label is 1.

    Raises:
        ValueError: The shapes differ, or a score is not finite.

    Examples:
        >>> average_precision([1, 0, 1], [0.9, 0.8, 0.7])
        83.33...
    """
    is_positive = np.asarray(labels).reshape(-1) == 1
    confidence = np.asarray(scores, np.float64).reshape(-1)
    if is_positive.shape != confidence.shape:
        raise ValueError(f"{is_positive.size} labels for {confidence.size} scores")
    if not np.isfinite(confidence).all():
        raise ValueError("scores must be finite")
    if not is_positive.any():
        return float("nan")
    hits = is_positive[np.argsort(-confidence, kind="stable")]
    n_hits = np.cumsum(hits)
    precision = n_hits / np.arange(1, hits.size + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall rises by one step at each hit and nowhere else.
    return float(best_from_here[hits].sum() / n_hits[-1] * 100)


def accuracy(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Give the share of scores on the right side of the threshold, in percent.

    Examples:
        >>> accuracy([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.5])
        50.0
    """
    said = np.asarray(scores) > threshold
    return float((said == (np.asarray(labels) == 1)).mean() * 100)


def summarize(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> dict[str, float]:
    """Give mAP and accuracy over the frames of windows.

    Args:
        labels: Shape (N,), one per window.
        scores: Shape (N, W), one per frame.

    Returns:
        `mAP` and `accuracy`, percent.
    """
    of_frames = np.repeat(labels, scores.shape[1])
    flat = scores.reshape(-1)
    return {"mAP": average_precision(of_frames, flat), "accuracy": accuracy(of_frames, flat)}


def summarize_kinds(
    kinds: npt.NDArray[Any], labels: npt.NDArray[Any], scores: npt.NDArray[Any]
) -> dict[str, dict[str, float]]:
    """Give accuracy per kind of window, and mAP of the positives against each kind of negative.

    Args:
        kinds: Shape (N,), names of `WindowKind`.
        labels: Shape (N,).
        scores: Shape (N, W).

    Returns:
        For each kind that is there: `n_windows`, `mean_score`, `accuracy`, and for negatives `mAP`
        and `chance_mAP`, which a constant score would reach; percent.
    """
    found: dict[str, dict[str, float]] = {}
    for kind in WindowKind:
        is_kind = kinds == kind.value
        if not is_kind.any():
            continue
        entry = {"n_windows": int(is_kind.sum()), "mean_score": float(scores[is_kind].mean())}
        entry["accuracy"] = summarize(labels[is_kind], scores[is_kind])["accuracy"]
        if kind is not WindowKind.POSITIVE:
            chosen = is_kind | (labels == 1)
            entry["mAP"] = summarize(labels[chosen], scores[chosen])["mAP"]
            entry["chance_mAP"] = float(labels[chosen].mean() * 100)
        found[kind.value] = entry
    return found
