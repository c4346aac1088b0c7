"""The tables beside the chunks: `chunks.csv`, and `speakers.csv` with the split of every speaker.

A row of `chunks.csv` says of a chunk where it lies, from where in which video it was cut, with
which settings, and size and BLAKE2b hash of that video. `settings` is empty while it is being cut.
Whoever was put into a split stays in `speakers.csv`, though their videos go.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asdtune.core.corpus import Split
from asdtune.core.csv_files import read_csv
from asdtune.core.files import write_text
from asdtune.errors import AsdtuneError

CHUNKS_CSV = "chunks.csv"
SPEAKERS_CSV = "speakers.csv"
_COLUMNS = ("clip", "split", "speaker", "source", "start_seconds", "n_frames")
_MADE_OF = ("settings", "source_frames", "source_bytes", "source_blake2b")
_KNOWN_LATER = ("start_seconds", "n_frames")  # than the cutting begins
_NUMBERS = ("n_frames", "source_frames", "source_bytes")

_FIX = "mend it, or bring back an earlier copy: it says which speaker is in which split"

Row = dict[str, Any]  # of `chunks.csv`: `settings` as a dict, numbers as int


class ChunkTable:
    """`chunks.csv`: the rows of every video.

    Attributes:
        video_dir: The folder of chunks.
        rows_of: Rows by the name of their video, which may be gone, or not finished.

    Raises:
        AsdtuneError: The table is not as `collect-chunk` wrote it.
    """

    def __init__(self, video_dir: Path) -> None:
        self.video_dir = video_dir
        self.rows_of: dict[str, list[Row]] = {}
        path = video_dir / CHUNKS_CSV
        for where, row in _read(path, _COLUMNS):
            row = {**dict.fromkeys(_MADE_OF), **row}
            try:
                Split(row["split"])
                row["settings"] = json.loads(row["settings"] or "null")
                row |= {name: int(row[name] or 0) for name in _NUMBERS}
            except ValueError as error:
                raise _unreadable(where, str(error)) from error
            self.rows_of.setdefault(row["source"], []).append(row)

    def write(self) -> None:
        """Write it, by split, speaker and clip."""
        rows = [row for rows in self.rows_of.values() for row in rows]
        rows.sort(key=lambda row: (row["split"], row["speaker"], row["clip"]))
        texts = [row["settings"] and json.dumps(row["settings"], sort_keys=True) for row in rows]
        filled = ({**row, "settings": text} for row, text in zip(rows, texts, strict=True))
        _write(self.video_dir / CHUNKS_CSV, (*_COLUMNS, *_MADE_OF), filled)

    def paths(self, *names: str) -> list[Path]:
        """Give where the chunks of videos lie."""
        rows = [row for name in names for row in self.rows_of.get(name, [])]
        return [self._path(row) for row in rows]

    def is_cut(self, name: str) -> bool:
        """Tell whether the chunks of a video were all cut, and are all there."""
        rows = self.rows_of.get(name, [])
        return bool(rows) and all(row["settings"] and self._path(row).is_file() for row in rows)

    def replace(self, name: str, rows: Sequence[Row] = ()) -> None:
        """Put rows in the place of those of a video, and delete its chunks that are in none."""
        kept = {self._path(row) for row in rows}
        for path in {*self.paths(name)} - kept:
            path.unlink(missing_ok=True)
        self.rows_of.pop(name, None)
        if rows:
            self.rows_of[name] = list(rows)

    def _path(self, row: Row) -> Path:
        return self.video_dir.joinpath(row["split"], row["speaker"], f"{row['clip']}.mp4")


def read_speakers(table: ChunkTable) -> dict[str, Split]:
    """Read the split of every speaker who ever was there; without `speakers.csv`, those of chunks.

    Raises:
        AsdtuneError: `speakers.csv` cannot be read.
    """
    rows = [row for rows in table.rows_of.values() for row in rows]
    split_of = {row["speaker"]: Split(row["split"]) for row in rows}
    path = table.video_dir / SPEAKERS_CSV
    for where, row in _read(path, ("speaker", "split")):
        try:
            split_of[row["speaker"]] = Split(row["split"].strip())
        except ValueError as error:
            raise _unreadable(where, str(error)) from error
    return split_of


def write_speakers(video_dir: Path, split_of: Mapping[str, Split]) -> None:
    """Write `speakers.csv`."""
    rows = ({"speaker": name, "split": str(split_of[name])} for name in sorted(split_of))
    _write(video_dir / SPEAKERS_CSV, ("speaker", "split"), rows)


def _read(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    """Give for each row where it stands, and its values; nothing where there is no table."""
    if not path.exists():
        return
    for where, row in read_csv(path, columns, fix=_FIX, is_ours=True).records():
        if not all(row[name] for name in columns if name not in _KNOWN_LATER):
            raise _unreadable(where, "a value is missing")
        yield where, row


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def _unreadable(where: str, reason: str) -> AsdtuneError:
    return AsdtuneError(
        f"not as collect-chunk wrote it ({reason})",
        where=where,
        fix=_FIX,
    )
