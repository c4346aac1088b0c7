"""Stretches of a clip in which its person speaks or is silent, and labels of frames made of them.

A frame has the label of the span in which its middle lies; what nobody marked has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asdtune.core.rates import VIDEO_FPS
from asdtune.errors import AsdtuneError

UNKNOWN = -1  # the label of a frame that nobody marked


@dataclass(frozen=True)
class Span:
    """A stretch of a clip, from a second until before another, and whether its person speaks.

    Silence may end at infinity: it lasts until the end of the clip.
    """

    start_second: float
    end_second: float
    is_speaking: bool


def silent_elsewhere(spans: Sequence[Span]) -> list[Span]:
    """Give the speech among spans, and silence before, between and after it, to infinity.

    Of no spans it makes none: that nobody marked anything does not say that all is silence.

    Examples:
        >>> silent_elsewhere([Span(1.0, 2.0, True)])[1:]
        [Span(start_second=1.0, end_second=2.0, is_speaking=True),
         Span(start_second=2.0, end_second=inf, is_speaking=False)]
    """
    if not spans:
        return []
    filled, end = [], 0.0
    for span in sorted(spans, key=lambda span: span.start_second):
        if not span.is_speaking:
            continue
        if span.start_second > end:
            filled.append(Span(end, span.start_second, False))
        filled.append(span)
        end = max(end, span.end_second)
    return [*filled, Span(end, float("inf"), False)]


def check_spans(spans: Sequence[Span], *, clip: str, where: Path) -> None:
    """Refuse spans of a clip that contradict each other.

    Raises:
        AsdtuneError: The same moment is marked as speaking and as not speaking.
    """
    ends = {True: 0.0, False: 0.0}  # how far each label reaches
    for span in sorted(spans, key=lambda span: span.start_second):
        if ends[not span.is_speaking] > span.start_second:
            raise AsdtuneError(
                f"{clip} is marked as speaking and as not speaking at {span.start_second:g} s",
                where=where, fix="let spans end where the next begins",
            )  # fmt: skip
        ends[span.is_speaking] = max(ends[span.is_speaking], span.end_second)


def label_frames(spans: Sequence[Span], n_frames: int) -> npt.NDArray[np.int64]:
    """Give the label of every frame: 1, 0, or -1 where nothing is marked.

    Examples:
        >>> label_frames([Span(0.0, 0.08, True), Span(0.08, 0.13, False)], 4)
        array([ 1,  1,  0, -1])
    """
    middle = (np.arange(n_frames) + 0.5) / VIDEO_FPS
    labels = np.full(n_frames, UNKNOWN, np.int64)
    for span in spans:
        labels[(span.start_second <= middle) & (middle < span.end_second)] = span.is_speaking
    return labels
