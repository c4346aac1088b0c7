"""Where to draw the line between speaking and not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve

from asdtune.core.files import content_hash

WANTED_RECALL = 0.95
DEFAULT_THRESHOLD = 0.5
_ALL_SPEECH, _ALL_FRAMES = 99.0, 98.0  # percent from which on it is nearly all
_BELOW_ALL = 2e-3  # so that a score of 0 is above the threshold, where it must be


@dataclass(frozen=True)
class Threshold:
    """A score above which a frame counts as speaking, and what that gives, in percent.

    Attributes:
        threshold: The score.
        precision: How many of the frames that count as speaking are.
        recall: How many of the frames with speech are found.
        f1: The harmonic mean of both.
        accuracy: How many of all frames are on the right side.
        counted: How many of all frames count as speaking.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    accuracy: float
    counted: float


def tells_nothing(threshold: Mapping[str, float]) -> bool:
    """Tell whether nearly all frames count as speaking at a threshold of a report.

    Examples:
        >>> tells_nothing({"recall": 100.0, "precision": 50.1, "counted": 99.8})
        True
        >>> tells_nothing({"recall": 100.0, "precision": 90.0, "counted": 55.0})
        False
    """
    return threshold["recall"] >= _ALL_SPEECH and threshold.get("counted", 0) >= _ALL_FRAMES


def threshold_of_report(report: Mapping[str, Any], checkpoint: Path) -> float:
    """Give the threshold of the best F1 that `evaluate` found for a checkpoint by itself.

    0.5 where the report is of another one, or found none.
    """
    judged = report.get("checkpoint", {})
    if judged.get("blake2b") != content_hash(checkpoint):
        return DEFAULT_THRESHOLD
    found = judged.get("thresholds", {}).get("best_f1", {})
    return float(found.get("threshold", DEFAULT_THRESHOLD))


def find_thresholds(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating]
) -> dict[str, Threshold]:
    """Find the threshold of the best F1, and the highest with a recall of 95 %.

    Each lies half way between the lowest score that counts as speaking and the next below it: as
    far as it can from both.

    Args:
        labels: Shape (N,), one per frame, 1 or 0.
        scores: Shape (N,), 0..1.

    Returns:
        `best_f1` and `recall_95`; empty where all labels are alike.
    """
    if len(np.unique(labels)) < 2:
        return {}
    precision, recall, lowest = precision_recall_curve(labels == 1, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last stands for a score above all
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    least = 0.0 if lowest[0] > 0 else lowest[0] - _BELOW_ALL
    below = np.concatenate([[least], lowest[:-1]])
    places = {
        "best_f1": int(f1.argmax()),
        "recall_95": int(np.flatnonzero(recall >= WANTED_RECALL)[-1]),
    }
    return {
        name: judge_threshold(float((lowest[i] + below[i]) / 2), labels, scores)
        for name, i in places.items()
    }


def judge_threshold(
    threshold: float, labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating]
) -> Threshold:
    """Say what a threshold gives on frames; 0 where nothing counts as speaking.

    Args:
        threshold: The score above which a frame counts as speaking.
        labels: Shape (N,), one per frame, 1 or 0.
        scores: Shape (N,), 0..1.
    """
    is_counted, is_true = scores > threshold, labels == 1
    n_hits = float((is_counted & is_true).sum())
    precision = n_hits / max(is_counted.sum(), 1)
    recall = n_hits / max(is_true.sum(), 1)
    f1 = 2 * n_hits / max(is_counted.sum() + is_true.sum(), 1)
    n = max(len(scores), 1)
    shares = (precision, recall, f1, (is_counted == is_true).sum() / n, is_counted.sum() / n)
    return Threshold(threshold, *(float(share * 100) for share in shares))
