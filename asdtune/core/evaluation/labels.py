"""Where somebody has marked in whole clips who speaks when.

In: a CSV with the columns `clip` (`anna_0000`, or `test/anna/anna_0000`), `start_second`,
`end_second` and `speaking` (1 or 0, or TRUE or FALSE). A frame has the label of the span in which
its middle lies; what nobody marked has none.

    labels = label_frames(read_spans(Path("labels.csv"))["anna_0000"], n_frames=500)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asdtune.core.csv_files import read_csv, to_number, to_truth
from asdtune.core.rates import VIDEO_FPS
from asdtune.errors import AsdtuneError

COLUMNS = ("clip", "start_second", "end_second", "speaking")
_HOW = f"write a CSV whose first line is {','.join(COLUMNS)}, with a line for each span"
UNKNOWN = -1  # the label of a frame that nobody marked


@dataclass(frozen=True)
class Span:
    """A stretch of a clip, from a second until before another, and whether its person speaks."""

    start_second: float
    end_second: float
    is_speaking: bool


def read_spans(path: Path) -> dict[str, list[Span]]:
    """Read the spans of each clip, by the name that the file gives it.

    Raises:
        AsdtuneError: The file is missing, or no such CSV.
    """
    table = read_csv(path, COLUMNS, fix=_HOW)
    if not table.rows:
        raise AsdtuneError("it marks nothing", where=path, fix=_HOW)
    spans_of: dict[str, list[Span]] = {}
    for where, row in table.records():
        clip, *values = (row[column] for column in COLUMNS)
        spans_of.setdefault(clip, []).append(_span(*values, where=where))
    return spans_of


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


def _span(start: str, end: str, speaking: str, *, where: str) -> Span:
    try:
        start_second, end_second = to_number(start), to_number(end)
    except ValueError:
        start_second = end_second = float("nan")
    if not 0 <= start_second < end_second < float("inf"):
        raise AsdtuneError(
            f"a span must begin at 0 or later and end later, not run from {start!r} to {end!r}",
            where=where, fix="write seconds from the beginning of the clip, such as 1.5",
        )  # fmt: skip
    try:
        return Span(start_second, end_second, to_truth(speaking))
    except ValueError as error:
        raise AsdtuneError(
            f"speaking must be 1 or 0, not {speaking!r}",
            where=where, fix="write 1 where the person on screen speaks, 0 where not",
        ) from error  # fmt: skip
