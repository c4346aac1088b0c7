"""What the windows of a corpus are like: counts, silence, padding, and what was left out.

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

from asdtune.core.corpus import Clip
from asdtune.core.files import content_hash, relative, settings_hash, write_json
from asdtune.core.prepare.candidates import Candidate, Candidates
from asdtune.core.prepare.records import RECORDS_DIR, size_and_time
from asdtune.core.rates import MFCC_PER_FRAME, seconds_of_frames
from asdtune.core.splits import Window, WindowKind
from asdtune.errors import AsdtuneError

_RECORD = f"{RECORDS_DIR}/splits.json"


def describe(
    windows: Sequence[Window],
    candidates: Candidates,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Tell what the windows of a split are like; silence and padding are those of their sound."""
    clips = candidates.usable
    of_name = {(clip.clip.speaker, clip.clip.name): clip for clip in clips}
    kinds = {}
    for kind in WindowKind:
        silence, padding = [], []
        of_kind = [window for window in windows if window.kind == kind.value]
        for window in of_kind:
            sound = of_name[PurePosixPath(window.audio_path).parent.name, window.audio_id]
            centre = window.audio_window_center // MFCC_PER_FRAME
            padding.append(sound.padding[centre])
            if sound.knows_speech:
                silence.append(1 - sound.speech[centre])
        kinds[kind.value] = {
            "n_windows": len(of_kind),
            "silence_percent": _mean_percent(silence),
            "padding_percent": _mean_percent(padding),
        }
    return {
        "n_windows": len(windows),
        "n_clips": len(clips),
        "minutes": _minutes(clips),
        "kinds": kinds,
        "speakers": _of_speakers(windows, clips),
        "left_out": _as_entries(candidates.left_out),
        "failed": _as_entries(candidates.failed),
        "notes": list(notes),
    }


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


def _mean_percent(shares: Sequence[float]) -> float | None:
    return round(100 * float(np.mean(shares)), 2) if shares else None


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
