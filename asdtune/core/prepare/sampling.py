"""Which positive and mismatched windows a split gets: how many of each kind, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.prepare.candidates import ALIKE, Candidate
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.splits import MISMATCHES, Window, WindowKind

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.candidates import Centres

_MOST_TRIED = 32  # clips that are looked at for sound that suits a window
_SETTLING_ROUNDS = 10
_SETTLING_STEP = 0.1  # by how much the share of speech of one window may change at once
_SETTLED = 0.05  # windows too much or too few with speech, in all
_WANTED_BY = {
    WindowKind.TEMPORAL: "it needs clips of at least one and a half windows",
    WindowKind.PARTIAL: "it needs speakers with two clips or more",
    WindowKind.COMPLETE: "it needs two speakers or more in the split",
}


def draw_windows(
    clips: Sequence[Candidate],
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
    usual = _usual_speech(clips, n_positive, may_have[:, 0])

    positives = [_draw_positives(clip, n, rng) for clip, n in zip(clips, n_positive, strict=True)]
    _settle([draw for draws in positives for draw in draws], usual, rng)
    negatives = [
        _draw_negatives(i, clips, [draw.centre for draw in positives[i]], n, window_size, rng)
        for i, n in enumerate(n_of_kind)
    ]
    for kind in MISMATCHES:
        of_kind = [draw for draws in negatives for draw in draws if draw.kind is kind]
        _settle(of_kind, usual, rng)

    # Once per clip, not per window: putting paths together is slow.
    video_path_of = {c.clip: c.clip.path(Path(face_crops_dir)).as_posix() for c in clips}
    audio_path_of = {c.clip: c.clip.path(Path(mfccs_dir)).as_posix() for c in clips}
    windows = [
        Window(
            video_id=draw.video.clip.name,
            audio_id=draw.audio.clip.name,
            label=int(draw.kind is WindowKind.POSITIVE),
            video_window_center=int(draw.centre),
            video_path=video_path_of[draw.video.clip],
            audio_path=audio_path_of[draw.audio.clip],
            audio_window_center=int(draw.audio_centre) * MFCC_PER_FRAME,
            kind=draw.kind.value,
        )
        for of_clip in zip(positives, negatives, strict=True)
        for draws in of_clip
        for draw in draws
    ]
    return windows, notes


@dataclass
class _Draw:
    """A window that is being drawn; `options` are the centres at which its sound may lie."""

    kind: WindowKind
    video: Candidate
    centre: int
    audio: Candidate
    audio_centre: int
    options: Centres

    @property
    def speech(self) -> float:
        """Give the share of speech in its sound."""
        return float(self.audio.speech[self.audio_centre])

    def move(self, audio_centre: int) -> None:
        """Take other sound; a positive takes its pictures along."""
        self.audio_centre = audio_centre
        if self.kind is WindowKind.POSITIVE:
            self.centre = audio_centre


def _draw_positives(clip: Candidate, n: int, rng: np.random.Generator) -> list[_Draw]:
    """Draw windows of one clip, none twice before all were drawn."""
    rounds = [
        rng.permutation(clip.positive_centres) for _ in range(-(-n // len(clip.positive_centres)))
    ]
    centres = np.concatenate([clip.positive_centres[:0], *rounds])[:n]
    return [_Draw(WindowKind.POSITIVE, clip, c, clip, c, clip.positive_centres) for c in centres]


def _draw_negatives(
    i_clip: int,
    clips: Sequence[Candidate],
    positives: Sequence[int],
    n_of_kind: npt.NDArray[np.int64],
    window_size: int,
    rng: np.random.Generator,
) -> list[_Draw]:
    """Draw other sound to pictures of one clip's positives, with as much speech as they had."""
    clip = clips[i_clip]
    pool = np.array(positives if len(positives) else [rng.choice(clip.positive_centres)])
    is_same = np.array([other.clip.speaker == clip.clip.speaker for other in clips])
    others = {
        WindowKind.PARTIAL: np.flatnonzero(is_same & (np.arange(len(clips)) != i_clip)),
        WindowKind.COMPLETE: np.flatnonzero(~is_same),
    }
    can_shift = clip.positive_centres[clip.can_shift(window_size)]
    able = np.intersect1d(pool, can_shift) if np.isin(pool, can_shift).any() else can_shift
    # From much speech to little the kinds take turns, so that each gets its share of both.
    shown = np.resize(rng.permutation(pool), int(n_of_kind.sum()))
    shown = shown[np.argsort(clip.speech[shown], kind="stable")]
    draws = []
    for i_kind, centre in zip(_take_turns(n_of_kind, rng), shown, strict=True):
        kind = MISMATCHES[i_kind]
        if kind is WindowKind.TEMPORAL:
            if not len(clip.shifted(centre, window_size)):
                centre = rng.choice(able)
            audio, options = clip, clip.shifted(centre, window_size)
        else:
            audio = _draw_clip(clips, others[kind], clip.speech[centre], rng)
            options = audio.audio_centres
        audio_centre = audio.draw_alike(options, clip.speech[centre], rng)
        draws.append(_Draw(kind, clip, centre, audio, audio_centre, options))
    return draws


def _usual_speech(
    clips: Sequence[Candidate],
    n_positive: npt.NDArray[np.int64],
    can_shift: npt.NDArray[np.bool_],
) -> float:
    """Give the mean share of speech at which all kinds meet.

    It is that of the clips long enough for temporal mismatches, which have least choice.
    """
    of_clips = np.array([clip.speech[clip.positive_centres].mean() for clip in clips])
    weights = n_positive * (can_shift if (n_positive * can_shift).any() else 1)
    return float(np.average(of_clips, weights=weights)) if weights.any() else 1.0


def _settle(draws: Sequence[_Draw], mean: float, rng: np.random.Generator) -> None:
    """Move windows to sound with a little more or less speech, until their mean is as it should be.

    Otherwise silence would tell which windows are positive: the kinds come from different clips.
    """
    used = Counter((id(draw.video), draw.centre) for draw in draws)
    n_of = Counter(id(draw.video) for draw in draws)
    surplus = sum(draw.speech - mean for draw in draws)
    for i in np.tile(rng.permutation(len(draws)), _SETTLING_ROUNDS):
        if abs(surplus) < _SETTLED:
            return
        draw = draws[i]
        wanted = draw.speech - float(np.clip(surplus, -_SETTLING_STEP, _SETTLING_STEP))
        audio_centre = draw.audio.draw_alike(draw.options, wanted, rng)
        moved = surplus - draw.speech + float(draw.audio.speech[audio_centre])
        is_free = draw.kind is not WindowKind.POSITIVE or not used[id(draw.video), audio_centre]
        if abs(moved) < abs(surplus) and (is_free or n_of[id(draw.video)] > len(draw.options)):
            used[id(draw.video), draw.centre] -= 1
            draw.move(audio_centre)
            used[id(draw.video), draw.centre] += 1
            surplus = moved


def _draw_clip(
    clips: Sequence[Candidate],
    others: npt.NDArray[np.int64],
    speech: float,
    rng: np.random.Generator,
) -> Candidate:
    """Draw one of some clips, of those that have sound with nearly this share of speech."""
    n_tried = min(_MOST_TRIED, len(others))
    drawn = [clips[i] for i in rng.choice(others, n_tried, replace=False)]
    distances = []
    for clip in drawn:
        distances.append(clip.distance_to(speech))
        if distances[-1] <= ALIKE:
            break
    nearest: Candidate = drawn[int(np.argmin(distances))]
    return nearest


def _kinds_possible(clips: Sequence[Candidate], window_size: int) -> npt.NDArray[np.bool_]:
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
    counts = np.zeros(may_have.shape, np.int64)
    target = int(n_negative.sum()) / len(MISMATCHES)
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
    for kind, n_windows in zip(MISMATCHES, counts.sum(0), strict=True):
        if n_windows < 0.94 * target - 1:
            notes.append(
                f"only {int(n_windows)} of {round(target)} windows are {kind}: {_WANTED_BY[kind]}"
            )
    return counts, notes


def _take_turns(counts: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Give each index as often as its count says, all spread evenly over the whole.

    Examples:
        >>> _take_turns(np.array([2, 2, 0]), np.random.default_rng(0)).tolist()
        [1, 0, 1, 0]
    """
    places = np.concatenate([(np.arange(n) + rng.random()) / max(n, 1) for n in counts])
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(places, kind="stable")]


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


def spread(total: int, n_clips: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Divide a number of windows among clips as evenly as can be."""
    counts = np.full(n_clips, total // n_clips)
    if n_over := total % n_clips:
        counts[rng.permutation(n_clips)[:n_over]] += 1
    return counts
