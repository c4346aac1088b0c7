"""How sure a figure is: 95 % bootstrap intervals that draw speakers, not windows.

Windows of one speaker are alike, so that drawing them one by one would make every interval too
narrow. The same draws serve both networks of a comparison: what makes a draw hard is hard for both,
and their difference is surer than either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from asdtune.core.tune.metrics import area_under_roc, sorted_average_precision

N_DRAWS = 1000
CONFIDENCE = 0.95
MIN_SPEAKERS = 6  # of fewer, an interval holds the truth less often than it says

Counts = npt.NDArray[np.int64]  # (N,): how often a draw has each window
Figures = npt.NDArray[np.float64]  # (D,)


@dataclass(frozen=True)
class Draws:
    """Speakers drawn with replacement, again and again; each draw is `Counts` of windows.

    Attributes:
        of_speaker: Shape (D, S): how often each draw has each speaker.
        speaker: Shape (N,): the number of each window's speaker.
    """

    of_speaker: npt.NDArray[np.int64]
    speaker: npt.NDArray[np.int64]

    @property
    def n_speakers(self) -> int:
        """How many there are to draw from."""
        return int(self.of_speaker.shape[1])

    def __iter__(self) -> Iterator[Counts]:
        """Give the counts of one draw after the other."""
        return (counts[self.speaker] for counts in self.of_speaker)


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 % confidence."""

    low: float
    high: float


def draw_speakers(
    speakers: npt.NDArray[np.str_], *, n_draws: int = N_DRAWS, seed: int = 0
) -> Draws:
    """Draw as many speakers as there are, again and again, with their windows.

    Args:
        speakers: Shape (N,), of each window.
        n_draws: D.
        seed: Of the draws.
    """
    names, of_window = np.unique(speakers, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws)
    return Draws(counts, of_window)


def interval_of(figures: Figures, n_speakers: int) -> Interval | None:
    """Give the interval of a figure, of which there is one for each draw.

    Percentiles are moved outwards as a t distribution asks for so few speakers: plain ones are too
    narrow. (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician,
    2015: the expanded percentile interval.)

    Args:
        figures: Shape (D,); draws that have none, because all of their labels are alike, are NaN.
        n_speakers: From how many was drawn.

    Returns:
        None of fewer than six speakers, or where no draw has a figure.
    """
    found = figures[np.isfinite(figures)]
    if n_speakers < MIN_SPEAKERS or not len(found):
        return None
    spread = t.ppf((1 - CONFIDENCE) / 2, n_speakers - 1) * (n_speakers / (n_speakers - 1)) ** 0.5
    tail = float(norm.cdf(spread))
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(float(low), float(high))


def draws_of(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating], draws: Draws
) -> Mapping[str, Figures]:
    """Compute, for every draw, those figures that get an interval.

    Args:
        labels: Shape (N,), one per window.
        scores: Shape (N, W), one per frame.
        draws: D of them.

    Returns:
        By name as in `metrics.judge`, percent, each (D,).
    """
    means = scores.mean(1)
    is_right = (scores > 0.5) == (labels == 1)[:, None]
    right = is_right.mean(1)
    of_draw: dict[str, Callable[[Counts], float]] = {
        "mAP": _average_precision_of(labels, scores),
        "window_AP": _average_precision_of(labels, means[:, None]),
        "ROC_AUC": lambda count: area_under_roc(labels, means, count),
        "accuracy": lambda count: float(count @ right / count.sum() * 100),
    }
    return {name: np.array([of(count) for count in draws]) for name, of in of_draw.items()}


def _average_precision_of(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating]
) -> Callable[[Counts], float]:
    """Sort once for all draws."""
    order = np.argsort(-scores.reshape(-1), kind="stable")
    window = order // scores.shape[1]
    hits = labels[window] == 1
    return lambda count: sorted_average_precision(hits, count[window])
