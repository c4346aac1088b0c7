"""Where somebody has marked in whole clips who speaks when.

In: a CSV with the columns `clip` (`anna_0000`, or `test/anna/anna_0000`), `start_second`,
`end_second` and `speaking` (1 or 0). A frame has the label of the span in which its middle lies;
what nobody marked has none.

    labels = label_frames(read_labels(Path("labels.csv"))["anna_0000"], n_frames=500)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.rates import VIDEO_FPS
from asdtune.errors import AsdtuneError

COLUMNS = ("clip", "start_second", "end_second", "speaking")
UNKNOWN = -1  # the label of a frame that nobody marked


@dataclass(frozen=True)
class Span:
    """A stretch of a clip, from a second until before another, and whether its person speaks."""

    start_second: float
    end_second: float
    is_speaking: bool


def read_labels(path: Path) -> dict[str, list[Span]]:
    """Read the spans of each clip, sorted by time.

    Raises:
        AsdtuneError: The file is missing or no such CSV, or spans that contradict overlap.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except FileNotFoundError as error:
        raise AsdtuneError("no such file", where=path, fix="check --labels") from error
    except (OSError, ValueError) as error:
        raise AsdtuneError(
            f"no CSV that can be read: {str(error).splitlines()[0]}", where=path, fix=_how()
        ) from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise AsdtuneError(f"no column {', '.join(missing)}", where=path, fix=_how())
    if table.empty:
        raise AsdtuneError("it marks nothing", where=path, fix=_how())
    spans_of: dict[str, list[Span]] = {}
    for line, row in enumerate(table[list(COLUMNS)].itertuples(index=False), start=2):
        clip, *values = (str(value).strip() for value in row)
        spans_of.setdefault(clip, []).append(_span(*values, where=f"{path}, line {line}"))
    for clip, spans in spans_of.items():
        spans.sort(key=lambda span: span.start_second)
        for one, other in pairwise(spans):
            if one.end_second > other.start_second and one.is_speaking != other.is_speaking:
                raise AsdtuneError(
                    f"{clip} is marked as speaking and as not speaking at {other.start_second:g} s",
                    where=path,
                    fix="let spans end where the next begins",
                )
    return spans_of


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
        start_second, end_second = float(start), float(end)
    except ValueError as error:
        raise AsdtuneError(
            f"start_second and end_second must be numbers, not {start!r} and {end!r}",
            where=where, fix="write seconds from the beginning of the clip, such as 1.5",
        ) from error  # fmt: skip
    if not 0 <= start_second < end_second < float("inf"):
        raise AsdtuneError(
            f"a span must begin at 0 or later and end after it began, not run from {start} to "
            f"{end}", where=where, fix="write seconds from the beginning of the clip",
        )  # fmt: skip
    if speaking not in ("0", "1"):
        raise AsdtuneError(
            f"speaking must be 1 or 0, not {speaking!r}",
            where=where, fix="write 1 where the person on screen speaks, 0 where not",
        )  # fmt: skip
    return Span(start_second, end_second, speaking == "1")


def _how() -> str:
    return f"write a CSV whose first line is {','.join(COLUMNS)}, with a line for each span"
