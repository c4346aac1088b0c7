"""Face crops and MFCC to window-level splits.

In: face crops and MFCC laid out as `<split>/<speaker>/<clip>.npz`. Out: `training.csv`,
`validation.csv` and `test.csv` with one row per window (see `asdtune.core.splits`).

Half of the windows of every clip are positive. Each negative shows the pictures of a positive with
other sound, so that the pictures alone never tell the label: sound of the same clip that overlaps
the pictures by at most half, of another clip of the same speaker, or of another speaker, a third
each. Every window lies inside its clip, on frames with a face and on sound that is its own.

    for result in make_splits(Path("face_crops"), Path("mfccs"), Path("splits"), ...):
        print(result.split, len(result.windows), result.left_out)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import check_face_crops, check_mfcc, map_data, n_video_frames, read_npz
from asdtune.core.corpus import Clip, Split, find_clips
from asdtune.core.files import relative
from asdtune.core.rates import MFCC_PER_FRAME, check_window_size
from asdtune.core.splits import Window, WindowKind, write_windows
from asdtune.errors import AsdtuneError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    Centres = npt.NDArray[np.int64]  # (N,), video frames

_NEGATIVES = (WindowKind.TEMPORAL, WindowKind.PARTIAL, WindowKind.COMPLETE)
_HELD_OUT_SHARE = 0.3  # of n_samples, for validation and for test


@dataclass(frozen=True)
class SplitResult:
    """The windows of one split.

    Attributes:
        split: Which split.
        path: The CSV.
        windows: Its rows.
        left_out: Clips without a single window, each with the reason.
        notes: What a user should know, such as a kind that cannot be made of this corpus.
    """

    split: Split
    path: Path
    windows: list[Window]
    left_out: dict[str, AsdtuneError]
    notes: list[str]

    def count(self) -> Counter[str]:
        """Count the windows of each kind."""
        return Counter(window.kind for window in self.windows)


@dataclass(frozen=True)
class _Clip:
    """A clip with the centres at which its pictures and its sound fill a window."""

    clip: Clip
    video_centres: Centres
    audio_centres: Centres
    both: Centres = field(init=False)

    def __post_init__(self) -> None:
        both = np.intersect1d(self.video_centres, self.audio_centres, assume_unique=True)
        object.__setattr__(self, "both", both)

    def shifted(self, centre: int, window_size: int) -> Centres:
        """Give the centres of sound that overlaps a window of pictures by at most half."""
        return self.audio_centres[2 * np.abs(self.audio_centres - centre) >= window_size]

    def can_shift(self, window_size: int) -> npt.NDArray[np.bool_]:
        """Tell for each centre in `both` whether there is such sound."""
        spread = np.maximum(
            np.abs(self.both - self.audio_centres[0]), np.abs(self.both - self.audio_centres[-1])
        )
        return np.asarray(2 * spread >= window_size)


def make_splits(
    face_crops_dir: Path,
    mfccs_dir: Path,
    output_dir: Path,
    *,
    window_size: int,
    windows_per_sample: int | None,
    n_samples: int | None,
    seed: int,
) -> Iterator[SplitResult]:
    """Draw the windows of every split that has clips, and write them.

    Args:
        face_crops_dir: The face crops.
        mfccs_dir: The MFCC.
        output_dir: Where the CSVs go.
        window_size: W, in video frames; odd, so that a window has a centre.
        windows_per_sample: Windows of every clip; None where `n_samples` says how many.
        n_samples: Windows for training; 0.3 times as many for validation and for test.
        seed: Same seed, same bytes.

    Yields:
        One result per split.

    Raises:
        UsageError: The window size is even, or both or neither number of windows is given.
        AsdtuneError: There are no clips, a speaker is in two splits, or no window fits.
    """
    check_window_size(window_size)
    if (windows_per_sample is None) == (n_samples is None):
        raise UsageError("give either --windows-per-sample or --n-samples")
    found = find_clips(face_crops_dir, what="face crops", made_by="crops")
    heard = find_clips(mfccs_dir, what="MFCC", made_by="mfcc")
    for i_split, split in enumerate(Split):
        of_split = [clip for clip in found if clip.split is split]
        path = output_dir / f"{split.value}.csv"
        if not of_split:
            path.unlink(missing_ok=True)  # of an earlier run on other clips
            continue
        usable, left_out = _read_clips(of_split, face_crops_dir, mfccs_dir, window_size)
        if not usable:
            reasons = "\n".join(f"{name}: {error.problem}" for name, error in left_out.items())
            raise AsdtuneError(
                f"no clip of {split} holds a window of {window_size} frames\n{reasons}",
                where=face_crops_dir / split.value,
                fix="give a smaller --window-size, or longer videos",
            )
        rng = np.random.default_rng([seed, i_split])
        if n_samples is None:
            counts = np.full(len(usable), windows_per_sample)
        else:
            share = 1.0 if split is Split.TRAINING else _HELD_OUT_SHARE
            counts = _spread(round(n_samples * share), len(usable), rng)
        windows, notes = draw_windows(
            usable,
            counts,
            window_size=window_size,
            rng=rng,
            face_crops_dir=relative(face_crops_dir, output_dir),
            mfccs_dir=relative(mfccs_dir, output_dir),
        )
        write_windows(path, windows)
        faceless = sorted(clip.name for clip in {*heard} - {*found} if clip.split is split)
        if faceless:
            notes.append(f"without face crops, so left out: {', '.join(faceless)}")
        yield SplitResult(split, path, windows, left_out, notes)


def draw_windows(
    clips: Sequence[_Clip],
    counts: npt.NDArray[np.int64],
    *,
    window_size: int,
    rng: np.random.Generator,
    face_crops_dir: str,
    mfccs_dir: str,
) -> tuple[list[Window], list[str]]:
    """Draw windows of all kinds from the clips of one split.

    Args:
        clips: Clips that hold at least one window.
        counts: Shape (n_clips,), how many windows to draw of each.
        window_size: W, in video frames.
        rng: Source of all choices.
        face_crops_dir: The folder of the face crops as the rows name it.
        mfccs_dir: The folder of the MFCC as the rows name it.

    Returns:
        The windows, clip by clip; and notes on kinds that this corpus cannot give.
    """
    # Where a count is odd, the window over is positive in one clip and negative in the next.
    n_over = np.cumsum(counts % 2) % 2 * (counts % 2)
    n_positive = counts // 2 + n_over
    may_have = _kinds_possible(clips, window_size)
    n_of_kind, notes = _divide_negatives(counts - n_positive, may_have)

    # Once per clip, not per window: putting paths together is slow.
    video_path_of = {c.clip: c.clip.path(Path(face_crops_dir)).as_posix() for c in clips}
    audio_path_of = {c.clip: c.clip.path(Path(mfccs_dir)).as_posix() for c in clips}

    def window(
        video: _Clip, centre: int, audio: _Clip, audio_centre: int, kind: WindowKind
    ) -> Window:
        return Window(
            video_id=video.clip.name,
            audio_id=audio.clip.name,
            label=int(kind is WindowKind.POSITIVE),
            video_window_center=int(centre),
            video_path=video_path_of[video.clip],
            audio_path=audio_path_of[audio.clip],
            audio_window_center=int(audio_centre) * MFCC_PER_FRAME,
            kind=kind.value,
        )

    windows: list[Window] = []
    speakers = np.array([clip.clip.speaker for clip in clips])
    for i_clip, clip in enumerate(clips):
        is_same = speakers == clip.clip.speaker
        others = {
            WindowKind.PARTIAL: np.flatnonzero(is_same & (np.arange(len(clips)) != i_clip)),
            WindowKind.COMPLETE: np.flatnonzero(~is_same),
        }
        centres = _draw_centres(clip.both, int(n_positive[i_clip]), rng)
        windows += [window(clip, c, clip, c, WindowKind.POSITIVE) for c in centres]
        kinds = np.repeat(np.arange(len(_NEGATIVES)), n_of_kind[i_clip])
        # The pictures of the negatives are those of the positives, in an order of their own.
        pool = centres if len(centres) else _draw_centres(clip.both, 1, rng)
        can_shift = clip.both[clip.can_shift(window_size)]
        able = np.intersect1d(pool, can_shift) if np.isin(pool, can_shift).any() else can_shift
        shown = np.resize(rng.permutation(pool), len(kinds))
        for i_kind, centre in zip(kinds, shown, strict=True):
            kind = _NEGATIVES[i_kind]
            audio = clip
            if kind is WindowKind.TEMPORAL:
                if not len(clip.shifted(centre, window_size)):
                    centre = rng.choice(able)
                audio_centres = clip.shifted(centre, window_size)
            else:
                audio = clips[rng.choice(others[kind])]
                audio_centres = audio.audio_centres
            windows.append(window(clip, centre, audio, rng.choice(audio_centres), kind))
    return windows, notes


def _read_clips(
    found: Sequence[Clip], face_crops_dir: Path, mfccs_dir: Path, window_size: int
) -> tuple[list[_Clip], dict[str, AsdtuneError]]:
    usable: list[_Clip] = []
    left_out: dict[str, AsdtuneError] = {}
    for clip in found:
        try:
            usable.append(_read_clip(clip, face_crops_dir, mfccs_dir, window_size))
        except AsdtuneError as error:
            left_out[str(clip)] = error
    return usable, left_out


def _read_clip(clip: Clip, face_crops_dir: Path, mfccs_dir: Path, window_size: int) -> _Clip:
    crops_path, mfcc_path = clip.path(face_crops_dir), clip.path(mfccs_dir)
    if not mfcc_path.is_file():
        raise AsdtuneError("no MFCC for this clip", where=mfcc_path, fix="run mfcc first")
    crops, mfcc = map_data(crops_path), map_data(mfcc_path)
    check_face_crops(crops, where=crops_path)
    check_mfcc(mfcc, where=mfcc_path)
    n_frames = n_video_frames(crops, mfcc)
    has_face = _key(crops_path, "detected", crops, default=True)[:n_frames]
    padded = _key(mfcc_path, "padded", mfcc, default=False)[: n_frames * MFCC_PER_FRAME]
    has_sound = np.asarray(~padded.reshape(n_frames, MFCC_PER_FRAME).any(1))
    both = _Clip(clip, _full(has_face, window_size), _full(has_sound, window_size))
    if not len(both.both):
        raise AsdtuneError(
            f"no window of {window_size} frames fits: {n_frames} frames, {int(has_face.sum())} "
            f"with a face, {int(has_sound.sum())} with sound",
            where=crops_path,
            fix="delete the clip, or give a smaller --window-size",
        )
    return both


def _key(
    path: Path, key: str, data: npt.NDArray[np.generic], *, default: bool
) -> npt.NDArray[np.bool_]:
    """Read a mark per row; a file that holds only `data` tells nothing bad of any row."""
    marks = read_npz(path, key).get(key)
    if marks is None or len(marks) != len(data):
        return np.full(len(data), default)
    return np.asarray(marks, np.bool_)


def _full(good: npt.NDArray[np.bool_], window_size: int) -> Centres:
    """Give the centres around which a whole window of frames is good."""
    if len(good) < window_size:
        return np.zeros(0, np.int64)
    n_good = np.convolve(good, np.ones(window_size, np.int64), "valid")
    return np.flatnonzero(n_good == window_size) + window_size // 2


def _kinds_possible(clips: Sequence[_Clip], window_size: int) -> npt.NDArray[np.bool_]:
    """Tell which negatives each clip can give, shape (n_clips, 3)."""
    n_clips_of = Counter(clip.clip.speaker for clip in clips)
    return np.array(
        [
            (
                bool(clip.can_shift(window_size).any()),
                n_clips_of[clip.clip.speaker] > 1,
                len(n_clips_of) > 1,
            )
            for clip in clips
        ]
    )


def _divide_negatives(
    n_negative: npt.NDArray[np.int64], may_have: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Divide each clip's negatives among the kinds, so that the kinds come out equal in all.

    The kind that fewest clips can give takes its third first, from the clips that can give it.

    Returns:
        Counts, shape (n_clips, 3), whose rows add up to `n_negative` wherever a clip can give
        any kind; and notes.
    """
    left = np.where(may_have.any(1), n_negative, 0)
    total = int(left.sum())
    counts = np.zeros(may_have.shape, np.int64)
    target = total / len(_NEGATIVES)
    capacity = may_have.T.astype(np.int64) @ left
    for i_kind in np.argsort(capacity, kind="stable"):
        able = np.where(may_have[:, i_kind], left, 0)
        counts[:, i_kind] = _proportional(able, min(round(target), int(able.sum())))
        left = left - counts[:, i_kind]
    # What rounding and scarcity leave goes to any kind that the clip can give.
    for i_clip in np.flatnonzero(left):
        able_kinds = np.flatnonzero(may_have[i_clip])
        for _ in range(int(left[i_clip])):
            i_kind = able_kinds[counts[:, able_kinds].sum(0).argmin()]
            counts[i_clip, i_kind] += 1
    notes = []
    for kind, n_windows in zip(_NEGATIVES, counts.sum(0), strict=True):
        if n_windows < 0.94 * target - 1:
            notes.append(
                f"only {int(n_windows)} of {round(target)} windows are {kind}: {_WANTED_BY[kind]}"
            )
    return counts, notes


_WANTED_BY = {
    WindowKind.TEMPORAL: "it needs clips of at least one and a half windows",
    WindowKind.PARTIAL: "it needs speakers with two clips or more",
    WindowKind.COMPLETE: "it needs two speakers or more in the split",
}


def _proportional(weights: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Divide a total in proportion to weights, in whole numbers that none exceeds.

    Examples:
        >>> _proportional(np.array([10, 0, 5]), 6).tolist()
        [4, 0, 2]
    """
    if total == 0:
        return np.zeros_like(weights)
    exact = weights * (total / weights.sum())
    shares: npt.NDArray[np.int64] = np.floor(exact).astype(np.int64)
    most_owed = np.argsort(shares - exact, kind="stable")
    shares[most_owed[: total - int(shares.sum())]] += 1
    return shares


def _draw_centres(centres: Centres, n: int, rng: np.random.Generator) -> Centres:
    """Draw centres, none twice before all were drawn."""
    rounds = [rng.permutation(centres) for _ in range(-(-n // len(centres)))]
    return np.concatenate([centres[:0], *rounds])[:n]


def _spread(total: int, n_clips: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Divide a number of windows among clips as evenly as can be."""
    counts = np.full(n_clips, total // n_clips)
    counts[rng.permutation(n_clips)[: total % n_clips]] += 1
    return counts
