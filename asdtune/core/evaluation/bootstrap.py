"""How sure a figure is: 95 % bootstrap intervals that draw speakers, not windows.

Windows of one speaker are alike: drawing them one by one would make every interval too narrow. The
same draws serve both networks of a comparison, so that their difference is surer than either.

An interval is the figure more or less its standard error times what a t distribution asks for so
few speakers; percentiles of so few draw it too narrow. (Hesterberg, "What Teachers Should Know
About the Bootstrap", The American Statistician, 2015.) A speaker that is drawn twice brings every
score twice, which average precision hardly feels: its standard error comes out too small by up to a
tenth. So each speaker is also left out once (the jackknife), and the wider of both counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from asdtune.core.metrics import (
    area_under_roc,
    last_of_equal,
    rows_by_kind,
    sorted_average_precision,
    weights_by_speaker,
)
from asdtune.core.windows import WindowKind

N_DRAWS = 1000
CONFIDENCE = 0.95
MIN_SPEAKERS = 6  # of fewer, an interval holds the truth less often than it says

Figures = npt.NDArray[np.float64]  # (D + S,), one of each draw


@dataclass(frozen=True)
class Draws:
    """Speakers drawn with replacement, again and again, and at last all but one in turn.

    Attributes:
        of_speaker: Shape (D + S, S): how often each draw has each speaker; (D, 1) of only one.
        speaker: Shape (N,): the number of each window's speaker.
    """

    of_speaker: npt.NDArray[np.int64]
    speaker: npt.NDArray[np.int64]

    @property
    def n_speakers(self) -> int:
        """S."""
        return int(self.of_speaker.shape[1])

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        """Give how often each window is in one draw after the other, (N,)."""
        return (counts[self.speaker] for counts in self.of_speaker)


def draw_speakers(
    speakers: npt.NDArray[np.str_], *, n_draws: int = N_DRAWS, seed: int = 0
) -> Draws:
    """Draw as many speakers as there are, `n_draws` times; `speakers` (N,) are of windows."""
    names, of_window = np.unique(speakers, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws)
    if len(names) > 1:
        counts = np.concatenate([counts, 1 - np.eye(len(names), dtype=np.int64)])
    return Draws(counts, of_window)


def interval_of(
    value: float, figures: Figures, n_speakers: int, *, least: float = 0
) -> tuple[float, float] | None:
    """Give where a figure lies with 95 % confidence, as far as it can: from `least` to 100.

    Args:
        value: The figure itself.
        figures: Shape (D + S,): the same of every draw; NaN where all of its labels are alike.
        n_speakers: S, from how many was drawn; of fewer than six there is no interval.
        least: -100 for a difference.
    """
    if n_speakers < MIN_SPEAKERS or not np.isfinite(value):
        return None
    drawn, left_out = (
        each[np.isfinite(each)] for each in (figures[:-n_speakers], figures[-n_speakers:])
    )
    if len(drawn) < 2:
        return None
    of_bootstrap = drawn.std(ddof=1) * (n_speakers / (n_speakers - 1)) ** 0.5
    of_jackknife = left_out.std() * (n_speakers - 1) ** 0.5 if len(left_out) else 0.0
    apart = float(t.ppf((1 + CONFIDENCE) / 2, n_speakers - 1) * max(of_bootstrap, of_jackknife))
    return max(value - apart, least), min(value + apart, 100)


def draws_of(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating[Any]], draws: Draws
) -> dict[str, Figures]:
    """Compute what `metrics.summarize` gives, of every draw; labels and scores are (N, W)."""
    right = ((scores > 0.5) == (labels == 1)).mean(1)
    flat = scores.reshape(-1)
    order = np.argsort(-flat, kind="stable")  # once for all draws
    window = order // scores.shape[1]
    hits, lasts = labels.reshape(-1)[order] == 1, last_of_equal(flat[order])
    return {
        "mAP": np.array([sorted_average_precision(hits, count[window], lasts) for count in draws]),
        "accuracy": np.array([count @ right / count.sum() * 100 for count in draws]),
    }


def draws_of_kinds(
    kinds: npt.NDArray[np.str_],
    speakers: npt.NDArray[np.str_],
    scores: npt.NDArray[np.floating[Any]],
    draws: Draws,
) -> dict[str, Figures]:
    """Compute what `metrics.auc_by_kind` gives, of every draw; scores are (N, W)."""
    is_positive, means = kinds == WindowKind.POSITIVE.value, scores.mean(1)
    weights = weights_by_speaker(kinds, speakers)
    return {
        kind: np.array(
            [
                area_under_roc(is_positive[rows], means[rows], weights[rows] * count[rows])
                for count in draws
            ]
        )
        for kind, rows in rows_by_kind(kinds).items()
    }
