"""The windows of a split as batches of arrays, sliced from memory-mapped files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.arrays import check_face_crops, check_mfcc, content_mark, map_data
from asdtune.core.files import content_hash, text_hash
from asdtune.core.rates import CROP_SIZE, MFCC_PER_FRAME, N_MFCC
from asdtune.core.splits import WindowKind, read_windows
from asdtune.errors import AsdtuneError

_N_NAMED = 3
_N_MAPPED = 64  # files held open at once


@dataclass(frozen=True)
class Batch:
    """Windows side by side.

    Attributes:
        crops: Shape (B, W, 112, 112), uint8.
        mfcc: Shape (B, 4W, 13), float32.
        labels: Shape (B,), int64.
    """

    crops: npt.NDArray[np.uint8]
    mfcc: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class WindowDataset:
    """The windows of one split."""

    def __init__(self, csv_path: Path, window_size: int) -> None:
        """Read a split and check every window against its files.

        Args:
            csv_path: The split.
            window_size: W, in video frames; odd.

        Raises:
            AsdtuneError: The split or a file it names is bad, or a window leaves its clip.
        """
        self.table = read_windows(csv_path)
        self.window_size = window_size
        self._half = window_size // 2
        self._map = lru_cache(maxsize=_N_MAPPED)(map_data)
        self._check(csv_path)
        self._video_paths = [Path(path) for path in self.table.video_path]
        self._audio_paths = [Path(path) for path in self.table.audio_path]
        self._video_starts = self.table.video_window_center.to_numpy() - self._half
        self._audio_starts = self.table.audio_window_center.to_numpy() - self._half * MFCC_PER_FRAME
        self.fingerprint = _fingerprint(csv_path, self.table)
        self.labels: npt.NDArray[np.int64] = self.table.label.to_numpy(np.int64)

    def __len__(self) -> int:
        return len(self.table)

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Batch:
        """Gather windows by their row in the split."""
        n, size = len(indices), self.window_size
        crops = np.empty((n, size, CROP_SIZE, CROP_SIZE), np.uint8)
        mfcc = np.empty((n, size * MFCC_PER_FRAME, N_MFCC), np.float32)
        for row, i in enumerate(indices):
            start = self._video_starts[i]
            crops[row] = self._map(self._video_paths[i])[start : start + size]
            start = self._audio_starts[i]
            mfcc[row] = self._map(self._audio_paths[i])[start : start + size * MFCC_PER_FRAME]
        return Batch(crops, mfcc, self.labels[np.asarray(indices)])

    def batches(
        self, order: Sequence[int] | npt.NDArray[np.int64], batch_size: int
    ) -> Iterator[Batch]:
        """Yield the windows in this order, the last batch as short as it comes out."""
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size])

    def _check(self, csv_path: Path) -> None:
        table, size = self.table, self.window_size
        n_video = self._lengths(table.video_path, check_face_crops)
        n_audio = self._lengths(table.audio_path, check_mfcc)
        video_start = table.video_window_center - self._half
        audio_start = table.audio_window_center - self._half * MFCC_PER_FRAME
        leaves = (
            (video_start < 0)
            | (video_start + size > n_video)
            | (audio_start < 0)
            | (audio_start + size * MFCC_PER_FRAME > n_audio)
        )
        shift = (video_start * MFCC_PER_FRAME - audio_start).abs() / MFCC_PER_FRAME
        overlaps = (table.kind == WindowKind.TEMPORAL.value) & (2 * shift < size)
        if overlaps.any():
            raise AsdtuneError(
                f"{int(overlaps.sum())} temporal mismatches overlap by more than half in windows "
                f"of {size} frames: the split was made for smaller ones",
                where=csv_path,
                fix="give the --window-size with which the split was made, or make it again with "
                "splits",
            )
        if leaves.any():
            lines = ", ".join(str(i + 2) for i in np.flatnonzero(leaves)[:_N_NAMED])
            raise AsdtuneError(
                f"{int(leaves.sum())} of {len(table)} windows of {size} frames leave their clip "
                f"(first in line {lines})",
                where=csv_path,
                fix="give the --window-size with which the split was made, or make it again with "
                "splits",
            )

    def _lengths(self, paths: pd.Series, check: Any) -> pd.Series:
        length_of = {}
        for name in paths.unique():
            data = self._map(Path(name))
            check(data, where=Path(name))
            length_of[name] = len(data)
        return paths.map(length_of)


def _fingerprint(csv_path: Path, table: pd.DataFrame) -> str:
    """Tell the windows and the content of the files they are cut from."""
    paths = sorted({*table.video_path, *table.audio_path})
    return text_hash("\n".join([content_hash(csv_path), *(content_mark(Path(p)) for p in paths)]))
