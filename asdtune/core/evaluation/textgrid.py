"""Files of Praat: who speaks is an interval with a label, on the tier of a person.

In: a `.TextGrid` as Praat saves it as text, long or short, UTF-8 or UTF-16, times in seconds. An
interval without a label, or with one that says so, is silence; points mark nothing.

    marked = read_praat(Path("anna_0000.TextGrid"))[0]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from asdtune.core.csv_files import read_text
from asdtune.core.evaluation.marked_clips import MarkedClip, Tier, marked_span, names_of
from asdtune.errors import AsdtuneError

# What Praat reads: texts in quotes, and numbers between spaces. All else explains, or is a comment.
_VALUE = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"'
    r"|(?<!\S)(?P<number>[-+]?\d{1,99}(?:\.\d*)?(?:[eE][-+]?\d\d?)?)(?!\S)|!.*"
)
_HOW = "open it with Praat and save it as text file or short text file"
_T = TypeVar("_T", float, str)


def read_praat(path: Path) -> list[MarkedClip]:
    """Read all tiers of intervals; the clip is called like the file.

    Raises:
        AsdtuneError: It is missing, or no such file.
    """
    values = _values(read_text(path, fix=_HOW))

    def take(kind: type[_T]) -> _T:
        value = next(values, None)
        if isinstance(value, kind):
            return value
        missing = "text" if kind is str else "number"
        raise AsdtuneError(
            f"no TextGrid that can be read: a {missing} is missing before "
            f"{'its end' if value is None else repr(value)}",
            where=path, fix=_HOW,
        )  # fmt: skip

    if not take(str).startswith("ooTextFile") or take(str) != "TextGrid":
        raise AsdtuneError("no TextGrid that was saved as text", where=path, fix=_HOW)
    _start, _end, n_tiers = take(float), take(float), take(float)
    tiers = []
    for _ in range(int(n_tiers)):
        kind, name, _start, _end, n = take(str), take(str), take(float), take(float), take(float)
        if kind == "TextTier":  # of points
            _points = [(take(float), take(str)) for _ in range(int(n))]
            continue
        stretches = [(take(float), take(float), take(str)) for _ in range(int(n))]
        is_marked = any(label.strip() for *_, label in stretches)
        spans = [span for stretch in stretches for span in marked_span(*stretch, path)]
        tiers.append(Tier(name, spans if is_marked else []))
    return [MarkedClip(names_of(path), tiers)]


def _values(text: str) -> Iterator[float | str]:
    for match in _VALUE.finditer(text):
        if match["text"] is not None:
            yield match["text"].replace('""', '"')
        elif match["number"]:
            yield float(match["number"])
