"""What the windows of a corpus are like: counts, silence, padding, motion, and what was left out.

A network must not tell a kind of window from the positives by such things alone: how well a
logistic regression does so is `shortcut_AUC`.

`report.json` is for people and programs. Beside it, hidden, lies the mark of the inputs it was made
of, by which a later run sees that there is nothing to do.
"""

from __future__ import annotations

import json
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
from asdtune.core.corpus import Clip
from asdtune.core.files import content_hash, relative, settings_hash, write_json
from asdtune.core.prepare.candidates import Candidate, Candidates
from asdtune.core.prepare.records import RECORDS_DIR, size_and_time
from asdtune.core.prepare.silent_faces import find_pauses
from asdtune.core.rates import MFCC_PER_FRAME, seconds_of_frames
from asdtune.core.splits import Window, WindowKind
from asdtune.errors import AsdtuneError

_RECORD = f"{RECORDS_DIR}/splits.json"
_LEAST_FOR_SHORTCUT = 20  # windows of either kind
_LEAST_GROUPS = 2
_FOLDS = 5


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
    looks = _looks_of(windows, clips, csv_dir)
    kinds = np.array([window.kind for window in windows])
    shown = np.array([window.video_path for window in windows])
    speakers = np.array([PurePosixPath(path).parent.name for path in shown])
    is_positive = kinds == WindowKind.POSITIVE.value
    of_kinds = {}
    for kind in WindowKind:
        is_kind = kinds == kind.value
        of_kind = looks[is_kind]
        of_kinds[kind.value] = {
            "n_windows": len(of_kind),
            "silence_percent": _mean_percent(1 - of_kind[:, 0]),
            "padding_percent": _mean_percent(of_kind[:, 1]),
            "motion": _mean(of_kind[:, 2]),
            "shortcut_AUC": None
            if kind is WindowKind.POSITIVE
            else _shortcut(
                looks, speakers if kind is WindowKind.SILENT else shown, is_positive, is_kind
            ),
        }
    pauses = find_pauses(clips)
    return {
        "n_windows": len(windows),
        "n_clips": len(clips),
        "minutes": _minutes(clips),
        "kinds": of_kinds,
        "pauses": {
            "n_pauses": len(pauses),
            "n_speakers": len({pause.clip.clip.speaker for pause in pauses}),
            "seconds": round(seconds_of_frames(sum(pause.n_frames for pause in pauses)), 1),
        },
        "speakers": _of_speakers(windows, clips),
        "left_out": _as_entries(candidates.left_out),
        "failed": _as_entries(candidates.failed),
        "notes": list(notes),
    }


def _looks_of(
    windows: Sequence[Window], clips: Sequence[Candidate], csv_dir: Path
) -> npt.NDArray[np.float64]:
    """Give share of speech, share of padding and motion of each window, (N, 3); NaN if unknown."""
    of_name = {(clip.clip.speaker, clip.clip.name): clip for clip in clips}
    motion_of: dict[str, npt.NDArray[np.float64]] = {}
    size = 0 if not clips else clips[0].window_size
    looks = np.empty((len(windows), 3))
    for i, window in enumerate(windows):
        sound = of_name[PurePosixPath(window.audio_path).parent.name, window.audio_id]
        centre = window.audio_window_center // MFCC_PER_FRAME
        speech = sound.speech[centre] if sound.knows_speech else np.nan
        if window.video_path not in motion_of:
            motion_of[window.video_path] = _motion(csv_dir / window.video_path)
        start = window.video_window_center - size // 2
        motion = motion_of[window.video_path][start : start + size - 1].mean()
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


def errors_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, AsdtuneError]:
    """Give clips of a report with what is wrong with them."""
    return {
        entry["clip"]: AsdtuneError(entry["problem"], where=entry["where"], fix=entry["fix"])
        for entry in entries
    }


def inputs_mark(
    settings: Mapping[str, Any], clips: Mapping[Path, Sequence[Clip]], *, relative_to: Path
) -> str:
    """Fingerprint what splits are made of: settings, and size and time of every file."""
    files = {
        relative(root, relative_to): [
            (str(clip), _size_and_time(clip.path(root))) for clip in found
        ]
        for root, found in clips.items()
    }
    return settings_hash({**settings, "files": files})


def fresh_report(output_dir: Path, report_name: str, mark: str) -> dict[str, Any] | None:
    """Give the report of an earlier run if it holds for these inputs and all is still there."""
    try:
        record = json.loads((output_dir / _RECORD).read_bytes())
        if record["inputs"] != mark:
            return None
        if any(content_hash(output_dir / name) != h for name, h in record["outputs"].items()):
            return None
        report: dict[str, Any] = json.loads((output_dir / report_name).read_bytes())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report


def forget(output_dir: Path) -> None:
    """Let no later run take for fresh what is about to be made anew."""
    (output_dir / _RECORD).unlink(missing_ok=True)


def remember(output_dir: Path, mark: str, outputs: Iterable[str]) -> None:
    """Keep the fingerprint of the inputs, and of what was made of them."""
    hashes = {name: content_hash(output_dir / name) for name in outputs}
    write_json(output_dir / _RECORD, {"inputs": mark, "outputs": hashes})


def _size_and_time(path: Path) -> dict[str, int] | None:
    try:
        return size_and_time(path)
    except OSError:  # a link that leads nowhere: its clip fails by name
        return None


def _of_speakers(windows: Sequence[Window], clips: Sequence[Candidate]) -> dict[str, Any]:
    by_speaker: dict[str, list[Candidate]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.clip.speaker, []).append(clip)
    n_windows = Counter(PurePosixPath(window.video_path).parent.name for window in windows)
    return {
        speaker: {
            "n_clips": len(own),
            "minutes": _minutes(own),
            "n_windows": n_windows[speaker],
        }
        for speaker, own in by_speaker.items()
    }


def _minutes(clips: Sequence[Candidate]) -> float:
    return round(seconds_of_frames(sum(clip.n_frames for clip in clips)) / 60, 2)


def _mean_percent(shares: npt.NDArray[np.float64]) -> float | None:
    mean = _mean(100 * shares)
    return None if mean is None else round(mean, 2)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Give the mean of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 3) if len(known) else None


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
