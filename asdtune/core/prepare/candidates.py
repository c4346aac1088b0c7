"""Clips as windows see them: where in a clip a window may lie, and which clips give none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import (
    check_face_crops,
    check_mfcc,
    data_shape,
    map_data,
    n_video_frames,
    read_marks,
)
from asdtune.core.corpus import Clip
from asdtune.core.prepare.failures import read_failures
from asdtune.core.prepare.quality import has_speech, why_unfit
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import numpy.typing as npt

    Centres = npt.NDArray[np.int64]  # (N,), video frames
    Marks = npt.NDArray[np.bool_]  # (T,), one per video frame


ALIKE = 0.02  # shares of speech that differ by no more are as good as equal
MAX_QUIET_SPEECH = 0.2  # share of speech up to which the sound of a window is silence


@dataclass(frozen=True)
class Candidate:
    """A clip with the centres at which its pictures and its sound fill a window.

    Attributes:
        clip: The clip.
        crops_path: Its face crops.
        mfcc_path: Its MFCC.
        n_frames: Its length.
        window_size: W.
        video_centres: Where every frame has a face.
        heard_centres: Where all sound is the clip's own.
        audio_centres: Where besides enough of it is speech.
        quiet_centres: Where at most a fifth of it is speech; none where speech is not known.
        speech: Shape (n_frames,), the share of speech in the window around each frame; 1 where
            it is not known.
        padding: Likewise the share of frames whose sound is not all the clip's own.
        is_silent: Shape (n_frames,): a face, and sound of the clip's own without speech; nowhere
            where speech is not known.
        knows_speech: Whether speech is known.
    """

    clip: Clip
    crops_path: Path
    mfcc_path: Path
    n_frames: int
    window_size: int
    video_centres: Centres
    heard_centres: Centres
    audio_centres: Centres
    quiet_centres: Centres
    speech: npt.NDArray[np.float64]
    padding: npt.NDArray[np.float64]
    is_silent: Marks
    knows_speech: bool

    @cached_property
    def positive_centres(self) -> Centres:
        """Where a positive window may lie: a face and speech at once."""
        return np.intersect1d(self.video_centres, self.audio_centres, assume_unique=True)

    def shifted(self, centre: int, window_size: int) -> Centres:
        """Give the centres of sound that overlaps a window of pictures by at most half."""
        return self.audio_centres[2 * np.abs(self.audio_centres - centre) >= window_size]

    def can_shift(self, window_size: int) -> npt.NDArray[np.bool_]:
        """Tell for each of the positive centres whether there is such sound."""
        first, last = self.audio_centres[0], self.audio_centres[-1]
        centres = self.positive_centres
        spread = np.maximum(np.abs(centres - first), np.abs(centres - last))
        return np.asarray(2 * spread >= window_size)

    def distance_to(self, speech: float) -> float:
        """Give how near the speech of any sound here comes to a share of speech."""
        return float(np.abs(self.speech[self.audio_centres] - speech).min())

    def draw_alike(self, centres: Centres, speech: float, rng: np.random.Generator) -> int:
        """Draw the centre of sound with nearly this share of speech."""
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
    """Read what clips tell of themselves.

    Args:
        clips: The clips.
        face_crops_dir: Their face crops.
        mfccs_dir: Their MFCC.
        window_size: W, in video frames.
        min_speech_share: Share of a window's frames that must have speech, 0..1.
        all_clips: Take clips with several people or too few faces too.
    """
    usable: list[Candidate] = []
    left_out: dict[str, AsdtuneError] = {}
    failed: dict[str, AsdtuneError] = {}
    without_mfcc = {each.clip: each.problem for each in read_failures(mfccs_dir, "mfcc")}
    for clip in clips:
        crops_path, mfcc_path = clip.path(face_crops_dir), clip.path(mfccs_dir)
        try:
            if not mfcc_path.is_file():
                raise _no_mfcc(mfcc_path, without_mfcc.get(str(clip)))
            candidate = read_clip(clip, crops_path, mfcc_path, window_size, min_speech_share)
            unfit = None if all_clips else _why_unfit(crops_path)
        except AsdtuneError as error:
            failed[str(clip)] = error
            continue
        unfit = unfit or _why_empty(candidate, crops_path, window_size)
        if unfit is None:
            usable.append(candidate)
        else:
            left_out[str(clip)] = unfit
    return Candidates(usable, left_out, failed)


def _why_unfit(crops_path: Path) -> AsdtuneError | None:
    """Say what speaks against a clip: several people, too few faces. Unknown is not bad."""
    n_frames = data_shape(crops_path)[0]
    n_faces = read_marks(crops_path, "n_faces", n_frames)
    detected = read_marks(crops_path, "detected", n_frames)
    problem = why_unfit(
        n_frames=n_frames,
        n_several=0 if n_faces is None else int((n_faces > 1).sum()),
        n_speaker=n_frames if detected is None else int((detected != 0).sum()),
    )
    if problem is None:
        return None
    return AsdtuneError(problem, where=crops_path, fix="--all-clips takes such clips too")


def _why_empty(clip: Candidate, crops_path: Path, window_size: int) -> AsdtuneError | None:
    if len(clip.positive_centres):
        return None
    fix = "delete the clip, or give a smaller --window-size"
    if clip.n_frames < window_size:
        problem = f"no window of {window_size} frames fits: {clip.n_frames} frames"
    elif not len(clip.heard_centres) or not len(clip.video_centres):
        problem = f"no window of {window_size} frames fits: {clip.n_frames} frames"
        problem += "" if len(clip.video_centres) else ", too few in a row with a face"
        problem += "" if len(clip.heard_centres) else ", too few in a row with sound"
    elif not len(clip.audio_centres):
        problem = f"too little speech for windows of {window_size} frames"
        fix = "listen to it; if that is speech all the same, give a smaller --min-speech-share"
    else:
        problem = f"no window of {window_size} frames has the speaker's face and speech at once"
    return AsdtuneError(problem, where=crops_path, fix=fix)


def _no_mfcc(path: Path, problem: str | None) -> AsdtuneError:
    """Say why there is no MFCC, as far as `mfcc` has told."""
    if problem is None:
        return AsdtuneError("no MFCC for this clip", where=path, fix="run mfcc first")
    return AsdtuneError(
        f"no MFCC for this clip: {problem}", where=path, fix="mend or delete its video"
    )


def read_clip(
    clip: Clip, crops_path: Path, mfcc_path: Path, window_size: int, min_speech_share: float
) -> Candidate:
    """Find where in a clip windows may lie.

    Raises:
        AsdtuneError: A file is missing or is not what it should be.
    """
    crops, mfcc = map_data(crops_path), map_data(mfcc_path)
    check_face_crops(crops, where=crops_path)
    check_mfcc(mfcc, where=mfcc_path)
    n_frames = n_video_frames(crops, mfcc)
    # A file that holds only `data` tells nothing bad of any row.
    detected = read_marks(crops_path, "detected", len(crops))
    has_face = np.ones(n_frames, bool) if detected is None else detected[:n_frames] != 0
    padded = read_marks(mfcc_path, "padded", len(mfcc))
    if padded is None:
        padded = np.zeros(len(mfcc))
    by_frame = padded[: n_frames * MFCC_PER_FRAME].reshape(n_frames, MFCC_PER_FRAME)
    is_padded = np.asarray((by_frame != 0).any(1))
    heard_speech = has_speech(mfcc_path)
    is_speech = np.ones(n_frames, bool) if heard_speech is None else heard_speech[:n_frames]
    share = _share_around(is_speech, window_size)
    heard = _full(~is_padded, window_size)
    return Candidate(
        clip,
        crops_path,
        mfcc_path,
        n_frames,
        window_size,
        video_centres=_full(has_face, window_size),
        heard_centres=heard,
        audio_centres=heard[share[heard] >= min_speech_share],
        quiet_centres=heard[share[heard] <= MAX_QUIET_SPEECH],
        speech=share,
        padding=_share_around(is_padded, window_size),
        is_silent=has_face & ~is_padded & ~is_speech,
        knows_speech=heard_speech is not None,
    )


def _full(good: Marks, window_size: int) -> Centres:
    """Give the centres around which a whole window of frames is good."""
    return np.flatnonzero(_share_around(good, window_size) == 1)


def _share_around(marks: Marks, window_size: int) -> npt.NDArray[np.float64]:
    """Give the share of marked frames in the window around each frame, (T,); 0 where none fits."""
    shares = np.zeros(len(marks))
    if len(marks) >= window_size:
        sums = np.concatenate([[0], np.cumsum(marks)])
        half = window_size // 2
        shares[half : len(marks) - half] = (sums[window_size:] - sums[:-window_size]) / window_size
    return shares
