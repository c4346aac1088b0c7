"""The windows of a split as batches of arrays, sliced from clips that are mapped into memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.arrays import content_mark
from asdtune.core.corpus import Split
from asdtune.core.files import content_hash, text_hash
from asdtune.core.prepare.mfcc import HOP_SAMPLES, n_mfcc_frames, n_samples_of_rows
from asdtune.core.prepare.quality import has_speech
from asdtune.core.rates import CROP_SIZE, MFCC_PER_FRAME, N_MFCC
from asdtune.core.training.clips import ClipFiles
from asdtune.core.windows import NOT_COUNTED, WindowKind, read_windows, window_size_of
from asdtune.errors import AsdtuneError

Rows = npt.NDArray[np.int64]  # of a split

_N_NAMED = 3
_N_LABELS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Windows side by side: what a network takes, and what it should say.

    Attributes:
        pictures: Shape (B, W, 112, 112) uint8, face crops; or what a frozen part of the network
            makes of them, (B, W, C) floating point.
        sound: Shape (B, 4W, 13) float32, MFCC.
        labels: Shape (B, W), int64, of each frame: 1, 0, or `NOT_COUNTED`.
    """

    pictures: npt.NDArray[Any]
    sound: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Voices:
    """The sound of windows as it was recorded.

    Attributes:
        samples: Shape (B, n + 1), int16: one sample before the first MFCC frame of the window, and
            all that its 4W frames look at; zeros where the clip has not begun or has ended.
        n_samples: Shape (B,): how many there are from the first MFCC frame to the end of the clip;
            0 where the clip's sound was not kept or does not cover the window.
        begins_clip: Shape (B,): nothing is before the first MFCC frame.
    """

    samples: npt.NDArray[np.int16]
    n_samples: npt.NDArray[np.int64]
    begins_clip: npt.NDArray[np.bool_]

    def __getitem__(self, rows: Rows) -> Voices:
        """Give some of them."""
        return Voices(self.samples[rows], self.n_samples[rows], self.begins_clip[rows])


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
        self.clips = ClipFiles()
        self._half = window_size // 2
        self._check(csv_path)
        made_for = window_size_of(csv_path)
        if made_for not in (None, window_size):
            logger.warning(
                "%s was made for windows of %d frames, and is used for %d: give --window-size %d, "
                "or write it into the project file",
                csv_path, made_for, window_size, made_for,
            )  # fmt: skip
        self.video_paths = _paths(self.table.video_path)
        self.audio_paths = _paths(self.table.audio_path)
        self.video_starts = self.table.video_window_center.to_numpy() - self._half
        self.audio_starts = self.table.audio_window_center.to_numpy() - self._half * MFCC_PER_FRAME
        self.fingerprint = _fingerprint(csv_path, self.table)
        self.labels: npt.NDArray[np.int64] = self.table.label.to_numpy(np.int64)
        self.kinds: npt.NDArray[np.str_] = self.table.kind.to_numpy(str)
        self.speakers = np.array([path.parent.name for path in self.video_paths])

    def __len__(self) -> int:
        return len(self.table)

    def batch(self, rows: Sequence[int] | Rows) -> Batch:
        """Gather windows by their row in the split."""
        chosen = np.asarray(rows)
        return Batch(self.crops(chosen), self.mfcc(chosen), self.learned_labels[chosen])

    @cached_property
    def frame_labels(self) -> npt.NDArray[np.int64]:
        """The label of each frame, (N, W): in positive windows 0 where the sound has no speech.

        Where nobody listened for speech, all frames of a positive window count as speaking.
        """
        labels = np.repeat(self.labels[:, None], self.window_size, 1)
        speech_of: dict[Path, npt.NDArray[np.bool_] | None] = {}
        for i in np.flatnonzero(self.labels == 1):
            path, start = self.audio_paths[i], self.audio_starts[i] // MFCC_PER_FRAME
            if path not in speech_of:
                speech_of[path] = has_speech(path)
            speech = speech_of[path]
            if speech is not None:
                labels[i] = speech[start : start + self.window_size]
        return labels

    @cached_property
    def learned_labels(self) -> npt.NDArray[np.int64]:
        """The label of each frame that is learned, (N, W).

        Frames of positive windows without speech are not speaking; nothing is learned from them,
        for to learn them as such brought nothing (tests/bench/README.md).
        """
        is_pause = (self.labels == 1)[:, None] & (self.frame_labels == 0)
        return np.where(is_pause, NOT_COUNTED, self.frame_labels)

    def crops(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Gather the face crops of windows, shape (B, W, 112, 112)."""
        crops = np.empty((len(rows), self.window_size, CROP_SIZE, CROP_SIZE), np.uint8)
        for target, i in zip(crops, rows, strict=True):
            start = self.video_starts[i]
            target[:] = self.clips.crops(self.video_paths[i])[start : start + self.window_size]
        return crops

    def mfcc(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Gather the MFCC of windows, shape (B, 4W, 13)."""
        n_rows = self.window_size * MFCC_PER_FRAME
        mfcc = np.empty((len(rows), n_rows, N_MFCC), np.float32)
        for target, i in zip(mfcc, rows, strict=True):
            start = self.audio_starts[i]
            target[:] = self.clips.mfcc(self.audio_paths[i])[start : start + n_rows]
        return mfcc

    def voices(self, rows: Rows) -> Voices:
        """Gather the sound of windows."""
        n_rows = self.window_size * MFCC_PER_FRAME
        n = n_samples_of_rows(n_rows)
        samples = np.zeros((len(rows), n + 1), np.int16)
        counts = np.zeros(len(rows), np.int64)
        for k, i in enumerate(rows):
            whole = self.clips.waveform(self.audio_paths[i])
            if self.audio_starts[i] + n_rows > n_mfcc_frames(len(whole)):
                continue
            first = int(self.audio_starts[i]) * HOP_SAMPLES
            has_before = first > 0
            part = whole[first - has_before : first + n]
            samples[k, 1 - has_before : 1 - has_before + len(part)] = part
            counts[k] = len(part) - has_before
        return Voices(samples, counts, self.audio_starts[rows] == 0)

    def mark_of_waveforms(self) -> str:
        """Tell the content of the sound that was kept beside the MFCC; warn where there is none."""
        marks = {path: content_mark(path, "waveform") for path in sorted(set(self.audio_paths))}
        n_without = sum(not mark for mark in marks.values())
        if n_without:
            logger.warning(
                "the sound of %d of %d clips was not kept, and cannot be mixed: run mfcc again",
                n_without, len(marks),
            )  # fmt: skip
        return text_hash("\n".join(marks.values()))

    def _check(self, csv_path: Path) -> None:
        table, size = self.table, self.window_size
        n_video = table.video_path.map(
            {name: len(self.clips.crops(Path(name))) for name in table.video_path.unique()}
        )
        n_audio = table.audio_path.map(
            {name: len(self.clips.mfcc(Path(name))) for name in table.audio_path.unique()}
        )
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


def check_splits(windows: Mapping[str, WindowDataset], paths: Mapping[str, Path]) -> None:
    """Refuse splits from which nothing can be learned, or that would flatter the result.

    Args:
        windows: By split; `test` may be missing.
        paths: Where each was read from, for the errors.

    Raises:
        AsdtuneError: The windows of a split have one label only, or speakers are in two splits.
    """
    uses = {"training": "to learn from", "validation": "to choose an epoch", "test": "to judge"}
    for name in windows:
        if len(np.unique(windows[name].labels)) < _N_LABELS:
            raise AsdtuneError(
                f"the {name} split needs windows of both labels {uses[name]}",
                where=paths[name],
                fix=f"add speakers or longer clips to the {name} split, and run splits again",
            )
    clips = {name: set(each.video_paths) for name, each in windows.items()}
    for one, other in combinations(windows, 2):
        shared = sorted(set(windows[one].speakers) & set(windows[other].speakers))
        folders = {path.parent for path in clips[one] | clips[other]}
        # All clips may lie in one folder, which is no speaker's; a speaker's lies in a split's.
        is_flat = len(folders) == 1 and folders.pop().parent.name not in {*map(str, Split)}
        if clips[one] & clips[other] or (shared and not is_flat):
            raise AsdtuneError(
                f"speakers are in both the {one} and the {other} split: {', '.join(shared)}; the "
                "result would say nothing of speakers that the network never saw",
                where=paths[other],
                fix="name splits of different speakers, as the command splits makes them",
            )


def _paths(names: pd.Series) -> list[Path]:
    """Make one `Path` of each name, not of each row: they are many."""
    path_of = {name: Path(name) for name in names.unique()}
    return [path_of[name] for name in names]


def _fingerprint(csv_path: Path, table: pd.DataFrame) -> str:
    """Tell the windows and the content of the files they are cut from."""
    paths = sorted({*table.video_path, *table.audio_path})
    return text_hash("\n".join([content_hash(csv_path), *(content_mark(Path(p)) for p in paths)]))
