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
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from asdtune.core.arrays import map_data
from asdtune.core.prepare.candidates import Candidate, Candidates
from asdtune.core.prepare.silent_faces import find_pauses
from asdtune.core.rates import MFCC_PER_FRAME, seconds_of_frames
from asdtune.core.windows import MISMATCHES, Window, WindowKind
from asdtune.errors import AsdtuneError

_LOOKS = ["speech", "padding", "motion"]
_LEAST_FOR_SHORTCUT = 20  # windows of either kind
_LEAST_GROUPS = 2
_FOLDS = 5
_MAX_SHORTCUT = 60  # AUC of a kind of mismatch
_MAX_POINTS = 2  # of silence, between positives and a kind of mismatch
_N_LABELS = 2


def describe(
    windows: Sequence[Window], candidates: Candidates, csv_dir: Path, notes: Sequence[str]
) -> dict[str, Any]:
    """Tell what the windows of a split are like, by kind; their paths are relative to `csv_dir`."""
    clips = candidates.usable
    looks = _look_at(windows, clips, csv_dir)
    kinds = {kind.value: _describe_kind(looks, kind) for kind in WindowKind}
    pauses = find_pauses(clips)
    n_windows = Counter(looks.speaker)
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
        "notes": [*notes, *_warnings(kinds, looks, clips)],
    }


def errors_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, AsdtuneError]:
    """Give clips of a report with what is wrong with them."""
    return {
        entry["clip"]: AsdtuneError(entry["problem"], where=entry["where"], fix=entry["fix"])
        for entry in entries
    }


def _as_entries(errors: Mapping[str, AsdtuneError]) -> list[dict[str, Any]]:
    return [
        {"clip": clip, "problem": error.problem, "where": error.where, "fix": error.fix}
        for clip, error in errors.items()
    ]


def _look_at(windows: Sequence[Window], clips: Sequence[Candidate], csv_dir: Path) -> pd.DataFrame:
    """Give speech, padding (shares of the sound's frames) and motion of each window, by clip."""
    of_name = {(clip.clip.speaker, clip.clip.name): clip for clip in clips}
    motion_of: dict[str, npt.NDArray[np.float64]] = {}
    rows = []
    for window in windows:
        sound = of_name[PurePosixPath(window.audio_path).parent.name, window.audio_id]
        centre = window.audio_window_center // MFCC_PER_FRAME
        speech = sound.speech[centre] if sound.knows_speech else np.nan
        shown = window.video_path
        if shown not in motion_of:
            motion_of[shown] = _motion(csv_dir / shown)
        start = window.video_window_center - sound.window_size // 2
        motion = motion_of[shown][start : start + sound.window_size - 1].mean()
        speaker = PurePosixPath(shown).parent.name
        place = f"{shown} {window.video_window_center}"
        rows.append(
            (
                window.kind,
                window.label,
                shown,
                speaker,
                place,
                speech,
                sound.padding[centre],
                motion,
            )
        )
    return pd.DataFrame(rows, columns=["kind", "label", "clip", "speaker", "place", *_LOOKS])


def _motion(crops_path: Path) -> npt.NDArray[np.float64]:
    """Give the mean change of grey from each picture to the next, (T - 1,), on every 4th pixel."""
    crops = np.asarray(map_data(crops_path)[:, ::4, ::4], np.int16)
    return np.asarray(np.abs(np.diff(crops, axis=0)).mean((1, 2)))


def _describe_kind(looks: pd.DataFrame, kind: WindowKind) -> dict[str, Any]:
    own, positives = looks[looks.kind == kind.value], looks[looks.label == 1]
    by = "speaker" if kind is WindowKind.SILENT else "clip"
    return {
        "n_windows": len(own),
        "silence_percent": _mean(100 - 100 * own.speech),
        "padding_percent": _mean(100 * own.padding),
        "motion": _mean(own.motion),
        "shortcut_AUC": None if kind is WindowKind.POSITIVE else _shortcut(positives, own, by),
    }


def _shortcut(positives: pd.DataFrame, own: pd.DataFrame, by: str) -> float | None:
    """Give the AUC, in percent, with which speech, padding and motion tell positives from a kind.

    Each clip (or speaker, as `by` tells) counts among the positives as much as among the kind,
    or those who move much would tell it: every clip has as many mismatches as positives, if not of
    each kind. None of too few windows.
    """
    n_of = own[by].value_counts()
    positives = positives[positives[by].isin(n_of.index)]
    if min(len(positives), len(own)) < _LEAST_FOR_SHORTCUT or len(n_of) < _LEAST_GROUPS:
        return None
    weights = positives[by].map(n_of / positives[by].value_counts())
    both = pd.concat([positives.assign(weight=weights), own.assign(weight=1.0)])
    seen = both[_LOOKS].fillna(0).to_numpy(np.float64)
    seen = (seen - seen.mean(0)) / np.maximum(seen.std(0), np.finfo(float).tiny)
    labels, weight = both.label.to_numpy(), both.weight.to_numpy()
    guesses = np.zeros(len(both))
    # Each clip (or speaker) is judged by what the others teach: few windows are learned by heart.
    for others, judged in GroupKFold(min(_FOLDS, len(n_of))).split(seen, labels, both[by]):
        model = LogisticRegression().fit(seen[others], labels[others], weight[others])
        guesses[judged] = model.decision_function(seen[judged])
    return round(100 * float(roc_auc_score(labels, guesses, sample_weight=weight)), 1)


def _warnings(
    kinds: Mapping[str, Mapping[str, Any]], looks: pd.DataFrame, clips: Sequence[Candidate]
) -> list[str]:
    """Say what may spoil the training."""
    warnings = []
    n_unknown = sum(not clip.knows_speech for clip in clips)
    if n_unknown:
        warnings.append(
            f"{n_unknown} clips do not tell where there is speech: all their sound counts"
        )
    if looks.label.nunique() < _N_LABELS:
        warnings.append("it has not both labels: ask for more windows, or add clips")
    of_positives = kinds[WindowKind.POSITIVE]["silence_percent"]
    for kind in MISMATCHES:
        silence, shortcut = kinds[kind]["silence_percent"], kinds[kind]["shortcut_AUC"]
        if None not in (silence, of_positives) and abs(silence - of_positives) > _MAX_POINTS:
            warnings.append(
                f"{kind} has {silence:.1f} % silence, positive {of_positives:.1f} %: more than "
                f"{_MAX_POINTS} points apart, which happens where clips are few; add longer ones"
            )
        if shortcut is not None and shortcut > _MAX_SHORTCUT:
            warnings.append(
                f"silence and motion alone tell {kind} from positive (AUC {shortcut:.0f}): "
                "a network may learn that instead of who speaks; add clips"
            )
    shown = looks.place[looks.label == 1]
    if n_repeated := int(shown.duplicated().sum()):
        warnings.append(
            f"{n_repeated} of {len(shown)} positive windows repeat others: the clips hold no more"
        )
    return warnings


def _minutes(clips: Sequence[Candidate]) -> float:
    return round(seconds_of_frames(sum(clip.n_frames for clip in clips)) / 60, 2)


def _mean(values: pd.Series) -> float | None:
    """Give the mean of what is known; None where nothing is."""
    mean = float(values.mean())
    return None if np.isnan(mean) else round(mean, 3)
