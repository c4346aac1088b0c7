"""Clips as windows see them: where in a clip a window may lie, and which clips give none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import (
    check_face_crops,
    check_mfcc,
    map_data,
    n_video_frames,
    read_marks,
)
from asdtune.core.corpus import Clip
from asdtune.core.prepare.failures import read_failures
from asdtune.core.prepare.quality import has_speech, lips_in_sight, why_unfit
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import numpy.typing as npt

    Centres = npt.NDArray[np.int64]  # (N,), video frames
    Marks = npt.NDArray[np.bool_]  # (T,), one per video frame
    Shares = npt.NDArray[np.float64]  # (T,), of the window around each video frame, 0..1

ALIKE = 0.02  # shares of speech that differ by no more are as good as equal
MAX_QUIET_SPEECH = 0.2  # share of speech up to which the sound of a window is silence


@dataclass(frozen=True)
class Candidate:
    """A clip of T frames, and the centres around which its pictures and sound fill a window.

    Attributes:
        clip: The clip.
        crops_path: Its face crops.
        mfcc_path: Its MFCC.
        window_size: W, in video frames.
        min_speech_share: Share of a window's frames that must have speech, 0..1.
        shows_lips: Shape (T,).
        is_heard: Shape (T,), whether the sound is the clip's own, and no padding.
        is_speech: Shape (T,); all where it is not known.
        knows_speech: Whether it is known.
    """

    clip: Clip
    crops_path: Path
    mfcc_path: Path
    window_size: int
    min_speech_share: float
    shows_lips: Marks
    is_heard: Marks
    is_speech: Marks
    knows_speech: bool

    @property
    def n_frames(self) -> int:
        """T."""
        return len(self.shows_lips)

    @cached_property
    def speech(self) -> Shares:
        """The share of frames with speech."""
        return _share_around(self.is_speech, self.window_size)

    @cached_property
    def padding(self) -> Shares:
        """The share of frames whose sound is not all the clip's own."""
        return _share_around(~self.is_heard, self.window_size)

    @property
    def is_silent(self) -> Marks:
        """A face, and sound of the clip's own without speech; nowhere where that is not known."""
        return np.asarray(self.shows_lips & self.is_heard & ~self.is_speech)

    @cached_property
    def video_centres(self) -> Centres:
        """Where every frame has a face."""
        return _full(self.shows_lips, self.window_size)

    @cached_property
    def heard_centres(self) -> Centres:
        """Where all sound is the clip's own."""
        return _full(self.is_heard, self.window_size)

    @cached_property
    def audio_centres(self) -> Centres:
        """Where besides enough of it is speech."""
        centres = self.heard_centres
        return np.asarray(centres[self.speech[centres] >= self.min_speech_share])

    @cached_property
    def quiet_centres(self) -> Centres:
        """Where at most a fifth of it is speech."""
        centres = self.heard_centres
        return np.asarray(centres[self.speech[centres] <= MAX_QUIET_SPEECH])

    @cached_property
    def positive_centres(self) -> Centres:
        """Where a positive window may lie: a face and speech at once."""
        return np.intersect1d(self.video_centres, self.audio_centres, assume_unique=True)

    @cached_property
    def shiftable(self) -> Centres:
        """The positive centres for which `shifted` gives any."""
        centres, ends = self.positive_centres, self.audio_centres[[0, -1]]
        farthest = np.abs(centres - ends[:, None]).max(0)
        return np.asarray(centres[2 * farthest >= self.window_size])

    def shifted(self, centre: int) -> Centres:
        """Give the centres of sound that overlaps a window of pictures by at most half."""
        return self.audio_centres[2 * np.abs(self.audio_centres - centre) >= self.window_size]

    def distance_to(self, speech: float) -> float:
        """Give how near the speech of any sound here comes to a share of speech."""
        return float(np.abs(self.speech[self.audio_centres] - speech).min())

    def sample_alike(self, centres: Centres, speech: float, rng: np.random.Generator) -> int:
        """Sample the centre of sound with nearly this share of speech."""
        distance = np.abs(self.speech[centres] - speech)
        return int(rng.choice(centres[distance <= distance.min() + ALIKE]))


@dataclass(frozen=True)
class Candidates:
    """The clips of a split.

    Attributes:
        usable: Those that give windows.
        left_out: Those that are not fit, by name, with the reason.
        failed: Those whose files cannot be used.
    """

    usable: list[Candidate]
    left_out: dict[str, AsdtuneError]
    failed: dict[str, AsdtuneError]


def read_candidates(
    clips: Sequence[Clip],
    face_crops_dir: Path,
    mfccs_dir: Path,
    *,
    window_size: int,
    min_speech_share: float,
    all_clips: bool,
) -> Candidates:
    """Read what clips tell of themselves; `all_clips` takes those that are not fit, too."""
    found = Candidates([], {}, {})
    without_mfcc = {
        str(PurePosixPath(video).with_suffix("")): problem
        for video, problem in read_failures(mfccs_dir).items()
    }
    for clip in clips:
        crops_path, mfcc_path = clip.path(face_crops_dir), clip.path(mfccs_dir)
        try:
            if not mfcc_path.is_file():
                raise _no_mfcc(mfcc_path, without_mfcc.get(str(clip)))
            candidate = read_clip(clip, crops_path, mfcc_path, window_size, min_speech_share)
            unfit = why_unfit(crops_path, all_clips=all_clips) if candidate.n_frames else None
        except AsdtuneError as error:
            found.failed[str(clip)] = error
            continue
        unfit = unfit or _why_empty(candidate)
        if unfit is None:
            found.usable.append(candidate)
        else:
            found.left_out[str(clip)] = unfit
    return found


def read_clip(
    clip: Clip, crops_path: Path, mfcc_path: Path, window_size: int, min_speech_share: float
) -> Candidate:
    """Read which frames of a clip have a face, sound and speech.

    A file that holds only `data` tells nothing bad of any frame.

    Raises:
        AsdtuneError: A file is missing or is not what it should be.
    """
    crops, mfcc = map_data(crops_path), map_data(mfcc_path)
    check_face_crops(crops, where=crops_path)
    check_mfcc(mfcc, where=mfcc_path)
    n_frames = n_video_frames(crops, mfcc)
    padded = read_marks(mfcc_path, "padded", len(mfcc))
    speech = has_speech(mfcc_path)
    is_own = np.ones(len(mfcc), bool) if padded is None else np.asarray(padded == 0)
    by_frame = is_own[: n_frames * MFCC_PER_FRAME].reshape(-1, MFCC_PER_FRAME)
    return Candidate(
        clip,
        crops_path,
        mfcc_path,
        window_size,
        min_speech_share,
        shows_lips=lips_in_sight(crops_path, len(crops))[:n_frames],
        is_heard=np.asarray(by_frame.all(1)),
        is_speech=np.ones(n_frames, bool) if speech is None else speech[:n_frames],
        knows_speech=speech is not None,
    )


def _why_empty(clip: Candidate) -> AsdtuneError | None:
    if len(clip.positive_centres):
        return None
    windows = f"window of {clip.window_size} frames"
    fix = "nothing to do; or give a smaller --window-size"
    if clip.n_frames < clip.window_size:
        problem = f"no {windows} fits: {clip.n_frames} frames"
    elif not len(clip.heard_centres):
        problem = f"no {windows} has sound of its own throughout"
    elif not len(clip.audio_centres):
        problem = f"too little speech for any {windows}"
        fix = "listen to it; if that is speech all the same, give a smaller --min-speech-share"
    else:
        problem = f"no {windows} shows lips in every frame, and has speech"
    return AsdtuneError(problem, where=clip.crops_path, fix=fix)


def _no_mfcc(path: Path, problem: str | None) -> AsdtuneError:
    """Say why there is no MFCC, as far as `mfcc` has told."""
    told, fix = (f": {problem}", "mend or delete its video") if problem else ("", "run mfcc first")
    return AsdtuneError(f"no MFCC for this clip{told}", where=path, fix=fix)


def _full(good: Marks, window_size: int) -> Centres:
    """Give the centres around which a whole window of frames is good."""
    return np.flatnonzero(_share_around(good, window_size) == 1)


def _share_around(marks: Marks, window_size: int) -> Shares:
    """Give the share of marked frames in the window around each frame, (T,); 0 where none fits."""
    shares = np.zeros(len(marks))
    if len(marks) >= window_size:
        sums = np.concatenate([[0], np.cumsum(marks)])
        half = window_size // 2
        shares[half : len(marks) - half] = (sums[window_size:] - sums[:-window_size]) / window_size
    return shares
