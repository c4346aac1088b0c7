"""The tables beside the chunks: `chunks.csv`, and `speakers.csv` with the split of every speaker.

A row of `chunks.csv` says of a chunk where it lies, from where in which video it was cut, with
which settings, and size and BLAKE2b hash of that video. `settings` is empty while it is being cut.
Whoever was put into a split stays in `speakers.csv`, though their videos go.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from asdtune.core.corpus import Split
from asdtune.core.files import write_text
from asdtune.errors import AsdtuneError

CHUNKS_CSV = "chunks.csv"
SPEAKERS_CSV = "speakers.csv"
_COLUMNS = ("clip", "split", "speaker", "source", "start_seconds", "n_frames")
_MADE_OF = ("settings", "source_frames", "source_bytes", "source_blake2b")
_NUMBERS = ("n_frames", "source_frames", "source_bytes")

Row = dict[str, Any]  # `settings` as a dict, numbers as int


def read_chunks(video_dir: Path) -> dict[str, list[Row]]:
    """Read the rows of `chunks.csv` by their source; none where it is not there.

    Raises:
        AsdtuneError: It is not as `collect-chunk` wrote it.
    """
    rows_of: dict[str, list[Row]] = {}
    for i_line, row in enumerate(_read(video_dir / CHUNKS_CSV, _COLUMNS), start=2):
        row = {**dict.fromkeys(_MADE_OF), **row}
        try:
            Split(row["split"])
            row["settings"] = json.loads(row["settings"] or "null")
            row |= {name: int(row[name] or 0) for name in _NUMBERS}
        except ValueError as error:
            raise _unreadable(video_dir / CHUNKS_CSV, f"line {i_line}: {error}") from error
        rows_of.setdefault(row["source"], []).append(row)
    return rows_of


def write_chunks(video_dir: Path, rows_of: Mapping[str, list[Row]]) -> None:
    """Write `chunks.csv`, by split, speaker and clip."""
    rows = [row for rows in rows_of.values() for row in rows]
    rows.sort(key=lambda row: (row["split"], row["speaker"], row["clip"]))
    texts = (json.dumps(row["settings"], sort_keys=True) for row in rows)
    filled = [
        {**row, "settings": "" if text == "null" else text}
        for row, text in zip(rows, texts, strict=True)
    ]
    _write(video_dir / CHUNKS_CSV, (*_COLUMNS, *_MADE_OF), filled)


def chunk_path(video_dir: Path, row: Row) -> Path:
    """Give where a chunk lies."""
    return video_dir.joinpath(row["split"], row["speaker"], f"{row['clip']}.mp4")


def read_speakers(video_dir: Path, rows_of: Mapping[str, list[Row]]) -> dict[str, Split]:
    """Read the split of every speaker who ever was there; without the table, those of chunks.

    Raises:
        AsdtuneError: `speakers.csv` cannot be read.
    """
    split_of = {row["speaker"]: Split(row["split"]) for rows in rows_of.values() for row in rows}
    path = video_dir / SPEAKERS_CSV
    for i_line, row in enumerate(_read(path, ("speaker", "split")), start=2):
        try:
            split_of[row["speaker"]] = Split(row["split"].strip())
        except ValueError as error:
            raise _unreadable(path, f"line {i_line}: {error}") from error
    return split_of


def write_speakers(video_dir: Path, split_of: Mapping[str, Split]) -> None:
    """Write `speakers.csv`."""
    rows = ({"speaker": name, "split": str(split_of[name])} for name in sorted(split_of))
    _write(video_dir / SPEAKERS_CSV, ("speaker", "split"), rows)


def _read(path: Path, columns: tuple[str, ...]) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except FileNotFoundError:
        return []
    except csv.Error as error:
        raise _unreadable(path, str(error)) from error
    if any(row.get(name) is None for row in rows for name in columns):
        raise _unreadable(path, f"it must have the columns {', '.join(columns)}")
    return rows


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def _unreadable(path: Path, reason: str) -> AsdtuneError:
    return AsdtuneError(
        f"not as collect-chunk wrote it ({reason})",
        where=path,
        fix="mend it, or bring back an earlier copy: it says which speaker is in which split",
    )
