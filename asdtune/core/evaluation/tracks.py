"""Face tracks with known labels: what the toolkit is asked to score, to find a threshold for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from asdtune.core.arrays import FaceCrops, Mfcc, read_npz
from asdtune.core.prepare.quality import has_speech
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.windows import WindowKind

MAX_FRAMES = 250  # of a track: 10 s
LISTENER_FRAMES = 100

Item = TypeVar("Item")


@dataclass(frozen=True)
class Track:
    """A face over time, with the sound that is heard meanwhile.

    Attributes:
        clip: Whose face crops these are.
        crops: Shape (n, 112, 112).
        mfcc: Shape (M, 13).
        labels: Shape (n,): 1 where that person speaks, else 0; -1 where no face is seen.
    """

    clip: Path
    crops: FaceCrops
    mfcc: Mfcc
    labels: npt.NDArray[np.int64]


def tracks_of(windows: WindowDataset, n_clips: int) -> Iterator[Track]:
    """Give tracks as a conversation has them: of some clips as they are, and of listeners.

    Speakers take turns. A listener is the silent face of a window under the speech that it has, or
    as much again of both where that is short. Mismatches are left out: nobody in a conversation
    talks with another's sound.

    Args:
        windows: Of a split.
        n_clips: At most so many clips, and as many listeners.
    """
    for row in _first_rows(windows, windows.labels == 1)[:n_clips]:
        yield _own_track(windows, row)
    for row in _first_rows(windows, windows.kinds == WindowKind.SILENT.value)[:n_clips]:
        yield _listener(windows, row)


def _first_rows(windows: WindowDataset, is_chosen: npt.NDArray[np.bool_]) -> list[int]:
    """Give a chosen window of each clip; first one clip of every speaker, then a second."""
    first_row: dict[Path, int] = {}
    for i in np.flatnonzero(is_chosen).tolist():
        first_row.setdefault(windows.video_paths[i], i)
    return take_turns([*first_row.values()], lambda i: str(windows.speakers[i]))


def take_turns(items: Sequence[Item], speaker_of: Callable[[Item], str]) -> list[Item]:
    """Sort by turns: first one of every speaker, then a second.

    Examples:
        >>> take_turns(["a1", "a2", "b1"], lambda each: each[0])
        ['a1', 'b1', 'a2']
    """
    by_speaker: dict[str, list[Item]] = {}
    for item in items:
        by_speaker.setdefault(speaker_of(item), []).append(item)
    turns = zip_longest(*by_speaker.values())
    return [item for turn in turns for item in turn if item is not None]


def _own_track(windows: WindowDataset, row: int) -> Track:
    """Give a clip with its own sound, up to 10 s; its person speaks where there is speech."""
    crops = windows.clips.crops(windows.video_paths[row])[:MAX_FRAMES]
    n, heard = len(crops), has_speech(windows.audio_paths[row])
    labels = np.ones(n, np.int64)
    if heard is not None:
        labels = np.pad(heard[:n], (0, max(0, n - len(heard)))).astype(np.int64)
    detected = read_npz(windows.video_paths[row], "detected").get("detected")
    if detected is not None:
        labels = np.where(np.asarray(detected)[:n], labels, -1)
    mfcc = windows.clips.mfcc(windows.audio_paths[row])
    return Track(windows.video_paths[row], np.asarray(crops), np.asarray(mfcc), labels)


def _listener(windows: WindowDataset, row: int) -> Track:
    """Give the pictures of a window, forwards and backwards for some seconds, under its sound."""
    pictures = windows.crops(np.array([row]))[0]
    there_and_back = np.concatenate([pictures, pictures[-2:0:-1]])
    start = windows.audio_starts[row]
    mfcc = windows.clips.mfcc(windows.audio_paths[row])[start:]
    n = min(max(len(mfcc) // MFCC_PER_FRAME, windows.window_size), LISTENER_FRAMES)
    crops = np.resize(there_and_back, (n, *pictures.shape[1:]))
    return Track(windows.video_paths[row], crops, np.asarray(mfcc), np.zeros(n, np.int64))
