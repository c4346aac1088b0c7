"""`scores_<split>.csv`: a row for every frame of a window, with its score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from asdtune.core.files import relative, whole_file
from asdtune.core.training.scoring import Scores


def write_windows(table: pd.DataFrame, scores: Scores, path: Path) -> None:
    """Write the columns of windows, then `frame` (0..W-1) and `score`.

    Args:
        table: Of N windows, as `read_windows` gives it.
        scores: Shape (N, W).
        path: The CSV; paths in it are relative to its folder.
    """
    rows = table.copy()
    for column in ("video_path", "audio_path"):
        names = rows[column].unique()
        rows[column] = rows[column].map({name: relative(Path(name), path.parent) for name in names})
    rows = rows.loc[rows.index.repeat(scores.shape[1])]
    rows["frame"] = np.tile(np.arange(scores.shape[1]), len(table))
    write_frames(rows, scores, path)


def write_frames(rows: pd.DataFrame, scores: Scores, path: Path) -> None:
    """Write a CSV of frames with their scores as the last column."""
    rows["score"] = scores.reshape(-1)
    with whole_file(path) as beside:
        rows.to_csv(beside, index=False, lineterminator="\n", float_format="%.6f")
