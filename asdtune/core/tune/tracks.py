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
from asdtune.core.prepare.quality import SPEECH_PROBABILITY
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.splits import NEGATIVE_KINDS, WindowKind
from asdtune.core.tune.dataset import WindowDataset

MAX_FRAMES = 500  # of a track

Item = TypeVar("Item")


@dataclass(frozen=True)
class Track:
    """The face of a clip, with its own sound or with other.

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
    """Give two tracks of each of some clips: with its own sound, and with other.

    Speakers take turns, and so do the kinds of other sound: the own sound shifted by half of the
    clip, or the sound that a negative window of the clip has.

    Args:
        windows: Of a split.
        n_clips: At most so many clips.
    """
    for turn, row in enumerate(_rows_of_clips(windows)[:n_clips]):
        yield _track(windows, row, WindowKind.POSITIVE)
        others = {
            WindowKind(windows.kinds[i]): i
            for i in reversed(range(len(windows)))  # the first of each kind stays
            if windows.labels[i] == 0 and windows.video_paths[i] == windows.video_paths[row]
        }
        wanted = np.roll(NEGATIVE_KINDS, -turn)
        kind = next((WindowKind(each) for each in wanted if each in others), None)
        if kind is not None:
            yield _track(windows, others[kind], kind)


def _rows_of_clips(windows: WindowDataset) -> list[int]:
    """Give a positive window of each clip; first one clip of every speaker, then a second."""
    first_row: dict[Path, int] = {}
    for i in np.flatnonzero(windows.labels == 1).tolist():
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


def _track(windows: WindowDataset, row: int, kind: WindowKind) -> Track:
    crops = windows.clips.crops(windows.video_paths[row])[:MAX_FRAMES]
    n = len(crops)
    mfcc = windows.clips.mfcc(windows.audio_paths[row])
    labels = np.zeros(n, np.int64)
    if kind is WindowKind.POSITIVE:
        labels = _is_speech(windows.audio_paths[row], n).astype(np.int64)
    if kind is WindowKind.TEMPORAL:
        mfcc = np.roll(mfcc, MFCC_PER_FRAME * (len(mfcc) // MFCC_PER_FRAME // 2), axis=0)
    detected = read_npz(windows.video_paths[row], "detected").get("detected")
    if detected is not None:
        labels = np.where(np.asarray(detected)[:n], labels, -1)
    return Track(windows.video_paths[row], np.asarray(crops), np.asarray(mfcc), labels)


def _is_speech(audio_path: Path, n: int) -> npt.NDArray[np.bool_]:
    """Tell in which frames somebody speaks; in all of them where nobody listened or was heard."""
    speech = read_npz(audio_path, "speech").get("speech", np.zeros(0))
    heard = np.asarray(speech) >= SPEECH_PROBABILITY
    if not heard.any():
        return np.ones(n, bool)
    return np.pad(heard[:n], (0, max(0, n - len(heard))))
