"""Which positive and mismatched windows a split gets: how many of each kind, and where.

A mismatch shows the pictures of a positive of its clip, with other sound that has as much speech in
it. So within a clip neither pictures nor silence tell the label. Which clips give which kind is
chosen so that the kinds, too, have as much speech in all: short clips, which give no shifted sound,
may hold more of it than others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.prepare.candidates import ALIKE, Candidate
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.windows import MISMATCHES, Window, WindowKind

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.candidates import Centres

    Counts = npt.NDArray[np.int64]

_MOST_TRIED = 32  # clips that are looked at for sound that suits a window
_ROUNDS = 500  # of finding shares
_STEEP = 5.0  # at the most, for a standard deviation of the clips' speech
_FAR = 50.0  # below the likeliest kind, as an exponent
_LEAST_FITNESS = 1e-6
_TINY = 1e-100  # instead of zero, to divide by
_WANTED_BY = {
    WindowKind.TEMPORAL: "it needs clips of at least one and a half windows",
    WindowKind.PARTIAL: "it needs speakers with two clips or more",
    WindowKind.COMPLETE: "it needs two speakers or more in the split",
}


def share_out(total: int, limits: Counts, rng: np.random.Generator) -> Counts:
    """Divide windows among clips, equally as far as their limits allow; then in rounds of all.

    Examples:
        >>> share_out(10, np.array([2, 9, 9]), np.random.default_rng(0)).tolist()
        [2, 4, 4]
    """
    n_rounds, left = divmod(total, int(limits.sum()))
    counts = np.zeros_like(limits)
    while left:
        able = rng.permutation(np.flatnonzero(counts < limits))[:left]
        more = np.minimum(limits[able] - counts[able], left // len(able))
        counts[able] += more
        left -= int(more.sum())
    return counts + n_rounds * limits


def sample_windows(
    clips: Sequence[Candidate],
    counts: Counts,
    *,
    rng: np.random.Generator,
    face_crops_dir: str,
    mfccs_dir: str,
) -> tuple[list[Window], list[str]]:
    """Sample windows of all kinds but silent faces from the clips of one split.

    Args:
        clips: Clips that hold at least one window.
        counts: Shape (n_clips,), how many windows to sample of each.
        rng: Source of all choices.
        face_crops_dir: The folder of the face crops as the rows name it.
        mfccs_dir: The folder of the MFCC as the rows name it.

    Returns:
        The windows, clip by clip; and notes on kinds that this corpus cannot give.
    """
    # Where a count is odd, the window over is positive in one clip and negative in the next.
    n_over = np.cumsum(counts % 2) % 2 * (counts % 2)
    n_positive = counts // 2 + n_over
    n_of_kind, notes = _divide_mismatches(clips, counts - n_positive)
    # Once per clip, not per window: putting paths together is slow.
    video_paths = [clip.clip.path(Path(face_crops_dir)).as_posix() for clip in clips]
    audio_path_of = {clip.clip: clip.clip.path(Path(mfccs_dir)).as_posix() for clip in clips}
    speakers = np.array([clip.clip.speaker for clip in clips])
    windows = []
    for i, clip in enumerate(clips):
        centres = _sample_positives(clip, int(n_positive[i]), rng)
        sampled = [(WindowKind.POSITIVE, centre, clip, centre) for centre in centres]
        sampled += _sample_mismatches(i, clips, speakers, centres, n_of_kind[i], rng)
        windows += [
            Window(
                video_id=clip.clip.name,
                audio_id=audio.clip.name,
                label=int(kind is WindowKind.POSITIVE),
                video_window_center=int(centre),
                video_path=video_paths[i],
                audio_path=audio_path_of[audio.clip],
                audio_window_center=int(audio_centre) * MFCC_PER_FRAME,
                kind=kind.value,
            )
            for kind, centre, audio, audio_centre in sampled
        ]
    return windows, notes


def _divide_mismatches(
    clips: Sequence[Candidate], n_mismatches: Counts
) -> tuple[Counts, list[str]]:
    """Divide each clip's mismatches among the kinds: as many of each in all, with as much speech.

    Returns:
        Shape (n_clips, 3); and notes on kinds that come short.
    """
    fitness = _fitness(clips)
    speech = np.array([clip.speech[clip.positive_centres].mean() for clip in clips])
    n_of_clip = np.where(fitness.any(1), n_mismatches, 0)
    counts = _whole(_balance(n_of_clip, fitness, speech), n_of_clip)
    wanted = int(n_mismatches.sum()) / len(MISMATCHES)
    notes = [
        f"only {n} of {round(wanted)} windows are {kind}: {_WANTED_BY[kind]}"
        for kind, n in zip(MISMATCHES, counts.sum(0).tolist(), strict=True)
        if n < 0.94 * wanted - 1
    ]
    return counts, notes


def _balance(
    n_of_clip: Counts, fitness: npt.NDArray[np.float64], speech: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Share each clip's windows out among the kinds, (n_clips, 3).

    A clip's shares are in proportion to fitness * exp(a_kind + b_kind * speech_clip). In every
    round a is mended by how many windows a kind lacks, and b by how much speech it has over.
    """
    speech = (speech - speech.mean()) / max(float(speech.std()), 0.01)
    is_possible = np.asarray(fitness.any(0))
    target = max(n_of_clip.sum() / max(is_possible.sum(), 1), _TINY)
    mean = speech @ n_of_clip / max(n_of_clip.sum(), 1)
    a, b = np.where(is_possible, 0, -_FAR), np.zeros(fitness.shape[1])
    shares = fitness
    for _ in range(_ROUNDS):
        weights = fitness * np.exp(a + np.outer(speech, b))
        shares = weights * (n_of_clip / np.maximum(weights.sum(1), _TINY))[:, None]
        n_of_kind = np.maximum(shares.sum(0), _TINY)
        a = np.where(is_possible, a + np.log(target / n_of_kind), -_FAR)
        a = np.maximum(a - a.max(), -_FAR)
        b = np.clip(b - (speech @ shares / n_of_kind - mean), -_STEEP, _STEEP)
    return shares


def _fitness(clips: Sequence[Candidate]) -> npt.NDArray[np.float64]:
    """Tell how well clips suit kinds, (n_clips, 3), 0..1.

    It is 1 where there is other sound with as much speech as in the positives, 0 where is none.
    """
    size = clips[0].window_size
    names, speaker_of = np.unique([clip.clip.speaker for clip in clips], return_inverse=True)
    has_share = np.zeros((len(clips), size + 1), np.int64)  # of k / size
    for has, clip in zip(has_share, clips, strict=True):
        has[np.rint(clip.speech[clip.audio_centres] * size).astype(np.int64)] = 1
    of_speaker = np.zeros((len(names), size + 1), np.int64)
    np.add.at(of_speaker, speaker_of, has_share)
    of_all, gaps = of_speaker.sum(0), np.empty((len(clips), len(MISMATCHES)))
    for i, clip in enumerate(clips):
        same = of_speaker[speaker_of[i]]
        speech = clip.speech[_some(clip.positive_centres)]
        shifted = [
            _gap(clip.speech[[centre]], clip.speech[clip.shifted(centre)])
            for centre in _some(clip.shiftable)
        ]
        gaps[i] = (
            np.mean(shifted) if shifted else np.inf,
            _gap(speech, np.flatnonzero(same - has_share[i]) / size),
            _gap(speech, np.flatnonzero(of_all - same) / size),
        )
    return np.where(np.isinf(gaps), 0, np.maximum(np.exp(-gaps / ALIKE), _LEAST_FITNESS))


def _some(centres: Centres) -> Centres:
    return centres[:: max(1, len(centres) // _MOST_TRIED)]


def _gap(speech: npt.NDArray[np.float64], options: npt.NDArray[np.float64]) -> float:
    """Give how far the nearest options are from shares of speech, in the mean; inf if none is."""
    return float(np.abs(speech[:, None] - options).min(1, initial=np.inf).mean())


def _whole(shares: npt.NDArray[np.float64], totals: Counts) -> Counts:
    """Round shares so that rows add up to their totals, and columns nearly to theirs.

    Examples:
        >>> _whole(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([1, 1])).tolist()
        [[1, 0], [0, 1]]
    """
    counts = np.floor(shares).astype(np.int64)
    owed = np.zeros(shares.shape[1])
    for i, total in enumerate(totals):
        owed += shares[i] - counts[i]
        for _ in range(int(total - counts[i].sum())):
            i_most = int(np.where(shares[i] > 0, owed, -np.inf).argmax())
            counts[i, i_most] += 1
            owed[i_most] -= 1
    return counts


def _sample_positives(clip: Candidate, n: int, rng: np.random.Generator) -> Centres:
    """Sample centres evenly from little speech to much, none twice before all were taken."""
    centres = rng.permutation(clip.positive_centres)
    centres = centres[np.argsort(clip.speech[centres], kind="stable")]
    n_rounds, n_left = divmod(n, len(centres))
    places = (np.arange(n_left) + rng.random()) * (len(centres) / max(n_left, 1))
    return np.concatenate([np.tile(centres, n_rounds), centres[places.astype(np.int64)]])


def _sample_mismatches(
    i_clip: int,
    clips: Sequence[Candidate],
    speakers: npt.NDArray[np.str_],
    positives: Centres,
    n_of_kind: Counts,
    rng: np.random.Generator,
) -> list[tuple[WindowKind, int, Candidate, int]]:
    """Sample other sound to pictures of one clip's positives, with as much speech as they had."""
    clip = clips[i_clip]
    pool = positives if len(positives) else rng.choice(clip.positive_centres, 1)
    is_same = speakers == clip.clip.speaker
    others = {
        WindowKind.PARTIAL: np.flatnonzero(is_same & (np.arange(len(clips)) != i_clip)),
        WindowKind.COMPLETE: np.flatnonzero(~is_same),
    }
    able = np.intersect1d(pool, clip.shiftable)
    able = able if len(able) else clip.shiftable
    # From much speech to little the kinds take turns, so that each gets its share of both.
    shown = np.resize(rng.permutation(pool), int(n_of_kind.sum()))
    shown = shown[np.argsort(clip.speech[shown], kind="stable")]
    sampled = []
    for i_kind, centre in zip(_take_turns(n_of_kind, rng), shown, strict=True):
        kind = MISMATCHES[i_kind]
        if kind is WindowKind.TEMPORAL:
            if centre not in able:
                centre = clip.sample_alike(able, clip.speech[centre], rng)
            audio, options = clip, clip.shifted(centre)
        else:
            audio = _sample_clip(clips, others[kind], clip.speech[centre], rng)
            options = audio.audio_centres
        audio_centre = audio.sample_alike(options, clip.speech[centre], rng)
        sampled.append((kind, centre, audio, audio_centre))
    return sampled


def _take_turns(counts: Counts, rng: np.random.Generator) -> Counts:
    """Give each index as often as its count says, all spread evenly over the whole.

    Examples:
        >>> _take_turns(np.array([2, 1, 0]), np.random.default_rng(0)).tolist()
        [0, 1, 0]
    """
    # In the middle of the n-th parts of the whole; ties are broken by chance.
    places = np.concatenate(
        [(np.arange(n) + 0.5 + 0.01 * rng.random(n)) / max(n, 1) for n in counts]
    )
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(places, kind="stable")]


def _sample_clip(
    clips: Sequence[Candidate],
    others: Counts,
    speech: float,
    rng: np.random.Generator,
) -> Candidate:
    """Sample one of some clips, of those that have sound with nearly this share of speech."""
    n_tried = min(_MOST_TRIED, len(others))
    tried = [clips[i] for i in rng.choice(others, n_tried, replace=False)]
    distances = []
    for clip in tried:
        distances.append(clip.distance_to(speech))
        if distances[-1] <= ALIKE:
            break
    nearest: Candidate = tried[int(np.argmin(distances))]
    return nearest
