"""Formats of labels: which one a file has, and those that are lines of text.

In: a file of ELAN (see `elan`), Praat (see `textgrid`), Audacity, AVA-ActiveSpeaker or RTTM. Out:
for each clip that it marks its possible names, and spans in seconds from the beginning of the clip.
Audacity and RTTM mark speech, and all else is silence; AVA-ActiveSpeaker marks silence too.

    read = reader_of(Path("anna_0000.eaf"), fix="write another file")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from asdtune.core.csv_files import read_csv, read_text, to_number
from asdtune.core.evaluation.elan import read_elan
from asdtune.core.evaluation.marked_clips import MarkedClip, Tier, listed, marked_span, names_of
from asdtune.core.evaluation.spans import Span, silent_elsewhere
from asdtune.core.evaluation.textgrid import read_praat
from asdtune.core.rates import VIDEO_FPS
from asdtune.errors import AsdtuneError

_AVA_COLUMNS = ("video_id", "frame_timestamp", "x1", "y1", "x2", "y2", "label", "entity_id")
# The benchmark counts as not speaking what cannot be heard.
_AVA_LABELS = {"SPEAKING_AUDIBLE": True, "SPEAKING_NOT_AUDIBLE": False, "NOT_SPEAKING": False}
_AUDACITY = "write start, tab, end, tab, label on each line, in seconds, as Audacity exports them"
_AVA = f"write the columns {','.join(_AVA_COLUMNS)}, with a label of {', '.join(_AVA_LABELS)}"
_RTTM = "write SPEAKER <clip> 1 <start> <duration> <NA> <NA> <name> <NA> <NA> for each stretch"
_T = TypeVar("_T")


def reader_of(path: Path, *, fix: str) -> Callable[[Path], list[MarkedClip]] | None:
    """Find out which format a file has; None is the CSV of asdtune itself.

    Raises:
        AsdtuneError: It cannot be read; `fix` is what to do then.
    """
    suffix = path.suffix.lower()
    if suffix not in (".eaf", ".textgrid", ".rttm"):
        words = set(_first_line(path, fix).replace('"', "").split())
        if words & {"frame_timestamp", *(label.casefold() for label in _AVA_LABELS)}:
            return read_ava
        if "start_second" in words:
            return None
    return _READERS.get(suffix)


def read_audacity(path: Path) -> list[MarkedClip]:
    """Read a label track: who has a label speaks, unless it says silence. Its text may be empty.

    Raises:
        AsdtuneError: It is missing, or no such file.
    """
    spans: list[Span] = []
    for where, line in _lines(path, _AUDACITY):
        start, end, text = [*line.split("\t"), "", ""][:3]
        if start != "\\":  # the line of frequencies below a label
            stretch = _seconds(start, where, _AUDACITY), _seconds(end, where, _AUDACITY)
            spans += marked_span(*stretch, text.strip() or "speech", where)
    return [MarkedClip(names_of(path), [Tier(path.stem, silent_elsewhere(spans))])]


def read_rttm(path: Path) -> list[MarkedClip]:
    """Read the `SPEAKER` lines of an RTTM file, of one name for each clip.

    Raises:
        AsdtuneError: It is missing, no such file, or a clip has several names.
    """
    spans_of: dict[str, dict[str, list[Span]]] = {}
    for where, line in _lines(path, _RTTM):
        kind, *fields = line.split()
        if kind != "SPEAKER":
            continue
        if len(fields) < 7:
            raise AsdtuneError(f"{len(fields) + 1} fields, not 10", where=where, fix=_RTTM)
        clip, _, start, duration, _, _, name, *_ = fields
        begin = _seconds(start, where, _RTTM)
        span = marked_span(begin, begin + _seconds(duration, where, _RTTM), "speech", where)
        spans_of.setdefault(clip, {}).setdefault(name, []).extend(span)
    marked = []
    for clip, names in spans_of.items():
        fix = "write a file for each person, or keep the lines of the person who is shown"
        name, spans = _only(names, "names", clip, path, fix)
        marked.append(MarkedClip([clip], [Tier(name, silent_elsewhere(spans))]))
    return marked


def read_ava(path: Path) -> list[MarkedClip]:
    """Read a CSV of AVA-ActiveSpeaker: a label lasts until the next frame, the last for 1/25 s.

    Raises:
        AsdtuneError: It is no such file, or a clip has several faces.
    """
    names = () if "frame_timestamp" in _first_line(path, _AVA) else _AVA_COLUMNS
    required = ("video_id", "frame_timestamp", "label", "entity_id")
    frames_of: dict[str, dict[str, dict[float, bool]]] = {}
    for where, row in read_csv(path, required, fix=_AVA, names=names).records():
        clip, second, label, face = (row[column] for column in required)
        if label.upper() not in _AVA_LABELS:
            told = f"the label must be one of {', '.join(_AVA_LABELS)}, not {label!r}"
            raise AsdtuneError(told, where=where, fix=_AVA)
        frames = frames_of.setdefault(clip, {}).setdefault(face, {})
        frames[_seconds(second, where, _AVA)] = _AVA_LABELS[label.upper()]
    marked = []
    for clip, faces in frames_of.items():
        fix = "keep the lines of the face that the clip shows"
        face, frames = _only(faces, "faces", clip, path, fix)
        seconds = sorted(frames)
        ends = [*seconds[1:], seconds[-1] + 1 / VIDEO_FPS]
        spans = [Span(at, end, frames[at]) for at, end in zip(seconds, ends, strict=True)]
        marked.append(MarkedClip([clip], [Tier(face, spans)]))
    return marked


def _seconds(text: str, where: str, fix: str) -> float:
    try:
        seconds = to_number(text)
    except ValueError:
        seconds = float("nan")
    if not 0 <= seconds < float("inf"):
        raise AsdtuneError(f"{text!r} is no time in seconds", where=where, fix=fix)
    return seconds


def _lines(path: Path, fix: str) -> Iterator[tuple[str, str]]:
    """Give where each line stands that is not empty, and the line."""
    for i, line in enumerate(read_text(path, fix=fix).splitlines()):
        if line.strip():
            yield f"{path}, line {i + 1}", line


def _first_line(path: Path, fix: str) -> str:
    """Give the words of the first line with spaces between them, in lower case."""
    return re.sub(r"[,;\t|]", " ", read_text(path, fix=fix).partition("\n")[0]).casefold()


def _only(of: dict[str, _T], what: str, clip: str, where: Path, fix: str) -> tuple[str, _T]:
    """Give the one name or face of a clip and what belongs to it."""
    if len(of) > 1:
        raise AsdtuneError(
            f"{clip} has {len(of)} {what} ({listed(of)}), and nothing tells who is shown",
            where=where, fix=fix,
        )  # fmt: skip
    return next(iter(of.items()))


_READERS = {
    ".eaf": read_elan,
    ".textgrid": read_praat,
    ".txt": read_audacity,
    ".rttm": read_rttm,
}
SUFFIXES = (".csv", ".tsv", *_READERS)
