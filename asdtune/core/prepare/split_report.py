"""What the windows of a split are like: counts, silence, padding, motion, and what was left out.

A network must not tell a kind of window from the positives by such things alone: how well a
logistic regression does so is `shortcut_AUC`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from asdtune.core.arrays import map_data
from asdtune.core.prepare.candidates import Candidate, Candidates
from asdtune.core.prepare.silent_faces import find_pauses
from asdtune.core.rates import MFCC_PER_FRAME, seconds_of_frames
from asdtune.core.splits import MISMATCHES, Window, WindowKind
from asdtune.errors import AsdtuneError

_LEAST_FOR_SHORTCUT = 20  # windows of either kind
_LEAST_GROUPS = 2
_FOLDS = 5
_MAX_POINTS = 2  # of silence, between positives and a kind of mismatch
_MAX_SHORTCUT = 60  # AUC of a kind of mismatch
_N_LABELS = 2


def describe(
    windows: Sequence[Window],
    candidates: Candidates,
    csv_dir: Path,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Tell what the windows of a split are like, by kind.

    Args:
        windows: Of the split.
        candidates: The clips that they are of.
        csv_dir: What their paths are relative to.
        notes: What else a user should know.
    """
    clips = candidates.usable
    kinds = _describe_kinds(windows, clips, csv_dir)
    pauses = find_pauses(clips)
    n_windows = Counter(PurePosixPath(window.video_path).parent.name for window in windows)
    by_speaker: dict[str, list[Candidate]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.clip.speaker, []).append(clip)
    return {
        "n_windows": len(windows),
        "n_clips": len(clips),
        "minutes": _minutes(clips),
        "kinds": kinds,
        "pauses": {
            "n_pauses": len(pauses),
            "n_speakers": len({pause.clip.clip.speaker for pause in pauses}),
            "seconds": round(seconds_of_frames(sum(pause.n_frames for pause in pauses)), 1),
        },
        "speakers": {
            name: {"n_clips": len(own), "minutes": _minutes(own), "n_windows": n_windows[name]}
            for name, own in by_speaker.items()
        },
        "left_out": _as_entries(candidates.left_out),
        "failed": _as_entries(candidates.failed),
        "notes": [*notes, *_warnings(kinds, windows, clips)],
    }


def errors_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, AsdtuneError]:
    """Give clips of a report with what is wrong with them."""
    return {
        entry["clip"]: AsdtuneError(entry["problem"], where=entry["where"], fix=entry["fix"])
        for entry in entries
    }


def _as_entries(errors: Mapping[str, AsdtuneError]) -> list[dict[str, Any]]:
    return [
        {
            "clip": clip,
            "problem": error.problem,
            "where": None if error.where is None else str(error.where),
            "fix": error.fix,
        }
        for clip, error in errors.items()
    ]


def _describe_kinds(
    windows: Sequence[Window], clips: Sequence[Candidate], csv_dir: Path
) -> dict[str, dict[str, Any]]:
    looks = _looks_of(windows, clips, csv_dir)
    kinds = np.array([window.kind for window in windows])
    shown = np.array([window.video_path for window in windows])
    speakers = np.array([PurePosixPath(path).parent.name for path in shown])
    is_positive = kinds == WindowKind.POSITIVE.value
    described = {}
    for kind in WindowKind:
        is_kind = kinds == kind.value
        of_kind = looks[is_kind]
        groups = speakers if kind is WindowKind.SILENT else shown
        described[kind.value] = {
            "n_windows": len(of_kind),
            "silence_percent": _mean(100 * (1 - of_kind[:, 0]), 2),
            "padding_percent": _mean(100 * of_kind[:, 1], 2),
            "motion": _mean(of_kind[:, 2], 3),
            "shortcut_AUC": None
            if kind is WindowKind.POSITIVE
            else _shortcut(looks, groups, is_positive, is_kind),
        }
    return described


def _looks_of(
    windows: Sequence[Window], clips: Sequence[Candidate], csv_dir: Path
) -> npt.NDArray[np.float64]:
    """Give share of speech, share of padding and motion of each window, (N, 3); NaN if unknown."""
    of_name = {(clip.clip.speaker, clip.clip.name): clip for clip in clips}
    motion_of: dict[str, npt.NDArray[np.float64]] = {}
    looks = np.empty((len(windows), 3))
    for i, window in enumerate(windows):
        sound = of_name[PurePosixPath(window.audio_path).parent.name, window.audio_id]
        centre = window.audio_window_center // MFCC_PER_FRAME
        speech = sound.speech[centre] if sound.knows_speech else np.nan
        if window.video_path not in motion_of:
            motion_of[window.video_path] = _motion(csv_dir / window.video_path)
        start = window.video_window_center - sound.window_size // 2
        motion = motion_of[window.video_path][start : start + sound.window_size - 1].mean()
        looks[i] = speech, sound.padding[centre], motion
    return looks


def _motion(crops_path: Path) -> npt.NDArray[np.float64]:
    """Give the mean change of grey from each picture to the next, (T - 1,), on every 4th pixel."""
    crops = np.asarray(map_data(crops_path)[:, ::4, ::4], np.int16)
    return np.asarray(np.abs(np.diff(crops, axis=0)).mean((1, 2)))


def _shortcut(
    looks: npt.NDArray[np.float64],
    groups: npt.NDArray[np.str_],
    is_positive: npt.NDArray[np.bool_],
    is_kind: npt.NDArray[np.bool_],
) -> float | None:
    """Give the AUC, in percent, with which speech, padding and motion tell positives from a kind.

    Each clip (or speaker, as `groups` tells) counts among the positives as much as among the kind,
    or those who move much would tell it: every clip has as many mismatches as positives, if not of
    each kind. None of too few windows.
    """
    n_of = Counter(groups[is_kind])
    is_positive = is_positive & np.isin(groups, list(n_of))
    if min(is_positive.sum(), is_kind.sum()) < _LEAST_FOR_SHORTCUT or len(n_of) < _LEAST_GROUPS:
        return None
    n_positive_of = Counter(groups[is_positive])
    weights = np.array([n_of[name] / n_positive_of[name] for name in groups[is_positive]])
    weights = np.concatenate([weights, np.ones(is_kind.sum())])
    seen = np.nan_to_num(np.concatenate([looks[is_positive], looks[is_kind]]))
    labels = np.repeat([1, 0], [is_positive.sum(), is_kind.sum()])
    of_groups = np.concatenate([groups[is_positive], groups[is_kind]])
    guesses = np.zeros(len(seen))
    # Each clip (or speaker) is judged by what the others teach: few windows are learned by heart.
    for others, own in GroupKFold(min(_FOLDS, len(n_of))).split(seen, labels, of_groups):
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(seen[others], labels[others], logisticregression__sample_weight=weights[others])
        guesses[own] = model.decision_function(seen[own])
    return round(100 * float(roc_auc_score(labels, guesses, sample_weight=weights)), 1)


def _warnings(
    kinds: Mapping[str, Mapping[str, Any]], windows: Sequence[Window], clips: Sequence[Candidate]
) -> list[str]:
    """Say what may spoil the training."""
    warnings = []
    n_unknown = sum(not clip.knows_speech for clip in clips)
    if n_unknown:
        warnings.append(
            f"{n_unknown} clips do not tell where there is speech: all their sound counts"
        )
    if len({window.label for window in windows}) < _N_LABELS:
        warnings.append("it has not both labels: ask for more windows, or add clips")
    silence_of = {name: kind["silence_percent"] for name, kind in kinds.items()}
    of_positives = silence_of[WindowKind.POSITIVE]
    for kind in MISMATCHES:
        silence, shortcut = silence_of[kind], kinds[kind]["shortcut_AUC"]
        if None not in (silence, of_positives) and abs(silence - of_positives) > _MAX_POINTS:
            warnings.append(
                f"{kind} has {silence:.1f} % silence, positive {of_positives:.1f} %: more than "
                f"{_MAX_POINTS} points apart, as few clips can give it; add longer clips"
            )
        if shortcut is not None and shortcut > _MAX_SHORTCUT:
            warnings.append(
                f"silence and motion alone tell {kind} from positive (AUC {shortcut:.0f}): "
                "a network may learn that instead of who speaks; add clips"
            )
    shown = [(w.video_path, w.video_window_center) for w in windows if w.label]
    if (n_repeated := len(shown) - len(set(shown))) > 0:
        warnings.append(
            f"{n_repeated} of {len(shown)} positive windows repeat others: the clips hold no more"
        )
    return warnings


def _minutes(clips: Sequence[Candidate]) -> float:
    return round(seconds_of_frames(sum(clip.n_frames for clip in clips)) / 60, 2)


def _mean(values: npt.NDArray[np.float64], n_digits: int) -> float | None:
    """Give the mean of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), n_digits) if len(known) else None
