"""Where to draw the line between speaking and not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from asdtune.core.files import content_hash

WANTED_RECALL = 0.95
DEFAULT_THRESHOLD = 0.5
_NO_SPEECH, _ALL_SPEECH, _ALL_FRAMES = 1.0, 99.0, 98.0  # percent: nearly none, nearly all
_LEAST = 1e-6  # of a score and of its distance from 1, before the logarithm


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
    """Tell whether nearly all frames count as speaking at a threshold of a report, or none.

    Examples:
        >>> tells_nothing({"recall": 100.0, "precision": 50.1, "counted": 99.8})
        True
        >>> tells_nothing({"recall": 100.0, "precision": 90.0, "counted": 55.0})
        False
    """
    is_all = threshold["recall"] >= _ALL_SPEECH and threshold.get("counted", 0) >= _ALL_FRAMES
    return is_all or threshold["recall"] <= _NO_SPEECH


def threshold_of_report(report: Mapping[str, Any], checkpoint: Path) -> float:
    """Give the threshold that `evaluate` found for a checkpoint by itself.

    0.5 where the report is of another one, or found none.
    """
    judged = report.get("checkpoint", {})
    if judged.get("blake2b") != content_hash(checkpoint):
        return DEFAULT_THRESHOLD
    found = judged.get("thresholds", {}).get("half_way", {})
    return float(found.get("threshold", DEFAULT_THRESHOLD))


def find_thresholds(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating]
) -> dict[str, Threshold]:
    """Find the threshold half way between both labels, and the highest with a recall of 95 %.

    Half way is between the mean log-odds of the frames of either label (linear discriminant
    analysis with equal shares). Every frame has its say, and not only the few where precision and
    recall cross: over validation speakers drawn anew it varies a third as much as the best F1.

    Args:
        labels: Shape (N,), one per frame, 1 or 0.
        scores: Shape (N,), 0..1.

    Returns:
        `half_way` and `recall_95`; empty where all labels are alike.
    """
    if len(np.unique(labels)) < 2:
        return {}
    odds = logit(np.clip(scores.astype(np.float64), _LEAST, 1 - _LEAST))
    speaking, silent = (odds[labels == label] for label in (1, 0))
    lost = np.sort(scores[labels == 1])[int(len(speaking) * (1 - WANTED_RECALL))]
    found = {
        "half_way": float(expit((speaking.mean() + silent.mean()) / 2)),
        "recall_95": float(np.nextafter(lost, -1)),
    }
    return {name: judge_threshold(score, labels, scores) for name, score in found.items()}


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
