"""The window-level CSV of a split: one row is one window, in and out.

Columns, in this order: `video_id,audio_id,label,video_window_center,video_path,audio_path,
audio_window_center,kind`. Ids are clip names, centres are indices in video frames (25/s) and MFCC
frames (100/s), paths are relative to the CSV's own folder, with `/`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from operator import attrgetter
from pathlib import Path, PurePosixPath

import pandas as pd

from asdtune.core.csv_files import read_csv
from asdtune.core.files import write_text
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.errors import AsdtuneError

logger = logging.getLogger(__name__)

REPORT_JSON = "report.json"  # beside the splits
DATA_HTML = "data.html"  # also there
_RUN_SPLITS = "run asdtune splits first, in the project's folder, or name the file"
_N_NAMED = 3  # how many faulty rows or files an error names


class WindowKind(str, Enum):
    """How the sound of a window goes with its pictures."""

    POSITIVE = "positive"
    TEMPORAL = "temporal_mismatch"  # same clip, another time
    PARTIAL = "partial_speaker_mismatch"  # same speaker, another clip
    COMPLETE = "complete_speaker_mismatch"  # another speaker
    SILENT = "silent_face"  # a moment without speech, under another's speech or another silence

    def __str__(self) -> str:
        return self.value


MISMATCHES = (WindowKind.TEMPORAL, WindowKind.PARTIAL, WindowKind.COMPLETE)
NEGATIVE_KINDS = (*MISMATCHES, WindowKind.SILENT)
NOT_COUNTED = -100  # the label of a frame from which nothing is learned


@dataclass(frozen=True)
class Window:
    """One row: W video frames, 4W MFCC frames, and whether they belong together."""

    video_id: str
    audio_id: str
    label: int
    video_window_center: int
    video_path: str
    audio_path: str
    audio_window_center: int
    kind: str


COLUMNS = tuple(field.name for field in fields(Window))
_INTEGERS = ("label", "video_window_center", "audio_window_center")
_REQUIRED = ("video_id", "audio_id", "label", "video_path", "audio_path")  # as `_kind_of` takes


def write_windows(path: Path, windows: Sequence[Window]) -> None:
    """Write a split, whole or not at all."""
    row_of = attrgetter(*COLUMNS)  # dataclasses.astuple copies every value: ten times as slow
    table = pd.DataFrame([row_of(window) for window in windows], columns=list(COLUMNS))
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_windows(path: Path) -> pd.DataFrame:
    """Read a split; `video_path` and `audio_path` become paths that can be opened.

    Files of upstream's scripts are read too: the column `window_center` stands for both centres,
    and the kind follows from the label and the clips. There a negative may name another clip's
    `audio_id` and still point to its own sound; the file of `audio_id` is put in its place.

    Returns:
        One row per window with the columns of `Window`.

    Raises:
        AsdtuneError: The file is missing, empty, no such CSV, or names files that are not there.
    """
    read = read_csv(path, (), fix=_RUN_SPLITS)
    table = pd.DataFrame(read.rows, columns=read.columns)
    if "window_center" in table and "video_window_center" not in table:
        table = table.rename(columns={"window_center": "video_window_center"})
    missing = [name for name in (*_REQUIRED, "video_window_center") if name not in table]
    if missing:
        raise AsdtuneError(
            f"the column{'s' * (len(missing) > 1)} {', '.join(missing)} missing: "
            f"found {', '.join(map(str, table.columns))}",
            where=path,
            fix=f"a split needs the header {','.join(COLUMNS)}",
        )
    if table.empty:
        raise AsdtuneError("no windows in this split", where=path, fix=_RUN_SPLITS)
    has_audio_centres = "audio_window_center" in table
    if not has_audio_centres:
        centres = _integers(table, "video_window_center", path)
        table["audio_window_center"] = centres * MFCC_PER_FRAME
    for name in _INTEGERS:
        table[name] = _integers(table, name, path)
    if not table["label"].isin([0, 1]).all():
        raise AsdtuneError("labels must be 0 or 1", where=path, fix="mend the column label")
    if not has_audio_centres:
        table = _without_unshifted(table, path)
    table = _with_own_sound(table, path)
    if "kind" not in table:
        columns = (table[name] for name in _REQUIRED)
        table["kind"] = [_kind_of(*row) for row in zip(*columns, strict=True)]
    _check_kinds(table, path)
    _resolve_paths(table, path)
    return table[list(COLUMNS)].reset_index(drop=True)


def _integers(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    numbers = pd.to_numeric(table[column], errors="coerce")
    wrong = numbers.isna() | (numbers % 1 != 0)
    if wrong.any():
        i_row = int(wrong.to_numpy().argmax())
        raise AsdtuneError(
            f"{column} must be a whole number, found {table[column].iloc[i_row]!r}",
            where=f"{path}, line {i_row + 2}",
            fix="make the split again with splits",
        )
    return numbers.astype("int64")


def _without_unshifted(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Leave out negatives of one clip without a centre of their sound: it would be in sync."""
    in_sync = (table.label == 0) & (table.video_id == table.audio_id)
    if in_sync.any():
        logger.warning(
            "%s: %d negatives are of a single clip and do not say where their sound is; left out",
            path, int(in_sync.sum()),
        )  # fmt: skip
    return table[~in_sync].reset_index(drop=True)


def _with_own_sound(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Let every `audio_path` be the file of its `audio_id` (upstream's negatives do not)."""
    is_own = [
        PurePosixPath(p).stem == i for p, i in zip(table.audio_path, table.audio_id, strict=True)
    ]
    wrong = ~pd.Series(is_own, index=table.index)
    if not wrong.any():
        return table
    paths_of = table[~wrong].groupby("audio_id").audio_path.agg(set)
    path_of = {name: next(iter(paths)) for name, paths in paths_of.items() if len(paths) == 1}
    unknown = sorted(set(table.audio_id[wrong]) - set(path_of))
    if unknown:
        raise AsdtuneError(
            f"audio_path is not the file of audio_id in {int(wrong.sum())} rows, and no other row "
            f"tells for certain where the sound of {', '.join(unknown[:_N_NAMED])} lies",
            where=path,
            fix="make the split again with splits",
        )
    logger.warning(
        "%s: in %d rows audio_path is not the file of audio_id; the file of audio_id is used",
        path, int(wrong.sum()),
    )  # fmt: skip
    table.loc[wrong, "audio_path"] = table.audio_id[wrong].map(path_of)
    return table


def _kind_of(video_id: str, audio_id: str, label: int, video_path: str, audio_path: str) -> str:
    if label == 1:
        return str(WindowKind.POSITIVE)
    if video_id == audio_id:
        return str(WindowKind.TEMPORAL)
    speakers = {PurePosixPath(path).parent.name for path in (video_path, audio_path)}
    return str(WindowKind.PARTIAL if len(speakers) == 1 else WindowKind.COMPLETE)


def _check_kinds(table: pd.DataFrame, path: Path) -> None:
    kinds = [kind.value for kind in WindowKind]
    if not table["kind"].isin(kinds).all():
        raise AsdtuneError(
            f"unknown kinds of windows: {', '.join(sorted({*table.kind} - {*kinds}))[:80]!r}",
            where=path,
            fix=f"mend the column kind: {', '.join(kinds)}; or delete the column",
        )
    is_torn = (table["kind"] == WindowKind.POSITIVE.value) != (table["label"] == 1)
    if is_torn.any():
        row = table[is_torn].iloc[0]
        raise AsdtuneError(
            f"window {is_torn.argmax() + 1} has kind {row['kind']} and label {row['label']}",
            where=path,
            fix="positive windows have label 1, all others 0: mend one of the two columns",
        )


def _resolve_paths(table: pd.DataFrame, csv_path: Path) -> None:
    missing: list[Path] = []
    for column in ("video_path", "audio_path"):
        resolved = {name: csv_path.parent / name for name in table[column].unique()}
        missing += [path for path in resolved.values() if not path.is_file()]
        table[column] = table[column].map({name: str(path) for name, path in resolved.items()})
    if missing:
        more = f" and {len(missing) - _N_NAMED} more" if len(missing) > _N_NAMED else ""
        names = ", ".join(str(path) for path in missing[:_N_NAMED])
        raise AsdtuneError(
            f"the split names files that are not there: {names}{more}",
            where=csv_path,
            fix="run crops and mfcc again, then splits; paths are relative to the CSV's folder",
        )


def window_size_of(csv_path: Path) -> int | None:
    """Read for which windows a split was made; None where the report beside it does not tell."""
    try:
        report = json.loads((csv_path.parent / REPORT_JSON).read_bytes())
        is_of_it = csv_path.stem in report["splits"]
        return int(report["settings"]["window_size"]) if is_of_it else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
