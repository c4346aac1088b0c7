"""Where somebody has marked in whole clips who speaks when.

In: a CSV with the columns `clip` (`anna_0000`, or `test/anna/anna_0000`), `start_second`,
`end_second` and `speaking` (1 or 0, or TRUE or FALSE); or one of these; or a folder of all such:

- ELAN `.eaf`: the clip is called like the file or its media; what is not annotated is silence.
- Praat `.TextGrid`: the clip is called like the file; a label that is empty or `sil` is silence.
- Audacity `.txt`: the clip is called like the file; what has no label is silence.
- AVA-ActiveSpeaker CSV: `video_id` is the clip, of one face; a label lasts until the next frame.
- RTTM: the second field is the clip, of one name; all else is silence.

Of several tiers the one called like the clip's speaker counts. Silence lasts to the clip's end.

    spans = read_spans(Path("labels.csv"))["anna_0000"]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asdtune.core.corpus import Clip, find_files
from asdtune.core.csv_files import read_csv, spelled, to_number, to_truth
from asdtune.core.evaluation.label_formats import SUFFIXES, reader_of
from asdtune.core.evaluation.spans import Span
from asdtune.errors import AsdtuneError

COLUMNS = ("clip", "start_second", "end_second", "speaking")
_HOW = f"write a CSV whose first line is {','.join(COLUMNS)}, with a line for each span"


def label_files(path: Path) -> list[Path]:
    """List the files with labels of a folder and those below it, or give the file itself.

    Raises:
        AsdtuneError: The folder holds none.
    """
    if not path.is_dir():
        return [path]
    return [path / each for each in find_files(path, SUFFIXES, what="labels")]


def read_spans(path: Path, clips: Sequence[Clip] = ()) -> dict[str, list[Span]]:
    """Read the spans of each clip, by the name that the file gives it, or by its place.

    Args:
        path: A file.
        clips: What there is: tells which name of a clip to take, and which tier is its speaker's.

    Raises:
        AsdtuneError: The file is missing, is none of the formats, marks nothing, or does not tell
            which of its tiers, names or faces is the person who is shown.
    """
    read = reader_of(path, fix=_HOW)
    if read is None:
        return _read_spans_of_csv(path)
    spans_of: dict[str, list[Span]] = {}
    for marked in read(path):
        called = [clips_called(name, clips) for name in marked.names]
        clip = next((found[0] for found in called if len(found) == 1), None)
        spans = marked.spans_of_speaker(clip, path)
        spans_of.setdefault(str(clip or marked.names[0]), []).extend(spans)
    if not spans_of:
        raise AsdtuneError("it marks nothing", where=path, fix=_HOW)
    return spans_of


def clips_called(name: str, clips: Sequence[Clip]) -> list[Clip]:
    """Find clips by a name, or by a place, though another system has spelled it."""
    written = spelled(name)
    return [clip for clip in clips if written in (spelled(clip.name), spelled(str(clip)))]


def _read_spans_of_csv(path: Path) -> dict[str, list[Span]]:
    table = read_csv(path, COLUMNS, fix=_HOW)
    if not table.rows:
        raise AsdtuneError("it marks nothing", where=path, fix=_HOW)
    spans_of: dict[str, list[Span]] = {}
    for where, row in table.records():
        clip, *values = (row[column] for column in COLUMNS)
        spans_of.setdefault(clip, []).append(_span(*values, where=where))
    return spans_of


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
