"""What the scores of a split say: figures, how sure they are, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.prepare.quality import QUALITY_CSV
from asdtune.core.tune.evaluation_sets import EvaluationSet
from asdtune.core.tune.intervals import (
    MIN_SPEAKERS,
    N_DRAWS_OF_KINDS,
    Draws,
    Figures,
    draw_speakers,
    draws_of,
    draws_of_kinds,
    interval_of,
)
from asdtune.core.tune.metrics import judge, summarize_kinds
from asdtune.core.tune.scoring import Scores
from asdtune.core.tune.thresholds import find_thresholds

QUALITIES = ("face_height_pixels", "steadiness", "speaker_seen_percent")  # of a clip's pictures
_FAMILIAR = {  # speakers that the network has met, by their split
    "training": " it was trained on",
    "validation": " that chose its best epoch",
}
_N_PARTS = 3  # into which clips are sorted by one of them

Entry = dict[str, Any]  # of a report: numbers, None where there is none


def judge_networks(
    evaluated: EvaluationSet, scores_of: Mapping[str, Scores]
) -> tuple[dict[str, Entry], Entry]:
    """Judge the scores of one network, and of another that it is compared with.

    Args:
        evaluated: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).

    Returns:
        For each role: all of `metrics.judge`, `by_kind`, `by_speaker`, `by_quality`,
        `thresholds`, and `intervals` by figure. And the figures of the checkpoint minus those of
        the baseline, each with its interval; empty without one. In percent.
    """
    drawn = draw_speakers(evaluated.speakers)
    n_speakers = drawn.n_speakers
    draws = {role: draws_of(evaluated.labels, scores, drawn) for role, scores in scores_of.items()}
    entries: dict[str, Entry] = {}
    for role, scores in scores_of.items():
        of_frames = np.repeat(evaluated.labels, evaluated.window_size)
        figures = judge(evaluated.labels, scores)
        entries[role] = {
            **figures,
            "intervals": {
                name: _bounds(figures[name], of_draws, n_speakers, least=0)
                for name, of_draws in draws[role].items()
            },
            "by_kind": _by_kind(evaluated, scores, drawn),
            "by_speaker": {
                name: _judge_some(evaluated.labels, scores, evaluated.speakers == name)
                for name in np.unique(evaluated.speakers)
            },
            "by_quality": _by_quality(evaluated, scores),
            "thresholds": {
                name: asdict(each)
                for name, each in find_thresholds(of_frames, scores.reshape(-1)).items()
            },
        }
    difference = {}
    if "baseline" in entries:
        for name, of_draws in draws["checkpoint"].items():
            value = entries["checkpoint"][name] - entries["baseline"][name]
            apart = _bounds(value, of_draws - draws["baseline"][name], n_speakers)
            low, high = apart or (None, None)
            difference[name] = {"value": value, "low": low, "high": high}
    return {role: without_nan(entry) for role, entry in entries.items()}, without_nan(difference)


def verdict_of(report: Entry, *, split: str, has_failed: bool) -> str:
    """Say in a sentence whether the new network is better, of whom, and how sure that is.

    Args:
        report: What `evaluate` found.
        split: In which the speakers are.
        has_failed: The baseline could not be read.
    """
    difference = report["difference"]
    whose = f"{report['n_speakers']} speakers{_FAMILIAR.get(split, '')}"
    if has_failed:
        return f"{_alone(report, whose)} The baseline could not be read, to compare with."
    if not difference:
        alone = _alone(report, whose)
        return f"{alone} Whether that is better than another network, --baseline tells."
    of_map = difference["mAP"]
    if of_map["value"] is None:
        return "Neither network has a mAP here: there is one label only."
    side = "higher" if of_map["value"] >= 0 else "lower"
    other = report["baseline"]["name"]
    apart = f"its mAP is {abs(of_map['value']):.1f} points {side} than that of {other}"
    if of_map["low"] is None:
        return (
            f"It is not sure which network is better: on {whose}, {apart}, and fewer than "
            f"{MIN_SPEAKERS} do not tell how sure that is."
        )
    apart += f" (95 % interval {of_map['low']:+.1f} to {of_map['high']:+.1f})"
    if of_map["low"] > 0:
        return f"The new network is better on {whose}: {apart}."
    if of_map["high"] < 0:
        return f"The new network is worse on {whose}: {apart}."
    return f"It is not sure which network is better: on {whose}, {apart}."


def _alone(report: Entry, whose: str) -> str:
    """Say how good a network is that is compared with nothing but chance."""
    if report["mAP"] is None:
        return "It has no mAP here: there is one label only."
    pair = report["checkpoint"]["intervals"]["mAP"]
    between = "" if pair is None else f"95 % interval {pair[0]:.1f} to {pair[1]:.1f}; "
    between += f"a constant score has {report['chance_mAP']:.1f}"
    return f"On {whose}, its mAP is {report['mAP']:.1f} ({between})."


def without_nan(entry: Any) -> Any:
    """Put None in the place of every number that is none, as JSON wants it."""
    if isinstance(entry, dict):
        return {key: without_nan(value) for key, value in entry.items()}
    if isinstance(entry, (list, tuple)):
        return [without_nan(value) for value in entry]
    return None if isinstance(entry, float) and not math.isfinite(entry) else entry


def _bounds(
    value: float, of_draws: Figures, n_speakers: int, *, least: float = -100
) -> list[float] | None:
    """Give the interval of a figure as far as it can lie, or of a difference of two."""
    found = interval_of(value, of_draws, n_speakers)
    return None if found is None else [max(found.low, least), min(found.high, 100)]


def _judge_some(
    labels: npt.NDArray[np.int64], scores: Scores, chosen: npt.NDArray[np.bool_]
) -> Entry:
    return {"n_windows": int(chosen.sum()), **judge(labels[chosen], scores[chosen])}


def _by_kind(evaluated: EvaluationSet, scores: Scores, draws: Draws) -> dict[str, Entry]:
    """Judge each kind of window; mAP against a kind of negative has an interval."""
    found: dict[str, Entry] = summarize_kinds(evaluated.kinds, evaluated.labels, scores)
    if not found or draws.n_speakers < MIN_SPEAKERS:
        return found
    few = draws.fewer(N_DRAWS_OF_KINDS)
    of_kinds = draws_of_kinds(evaluated.kinds, evaluated.labels, scores, few)
    for kind, figures in of_kinds.items():
        pair = _bounds(found[kind]["mAP"], figures, draws.n_speakers, least=0)
        found[kind]["intervals"] = {"mAP": pair}
    return found


def _by_quality(evaluated: EvaluationSet, scores: Scores) -> dict[str, list[Entry]]:
    """Judge windows apart by what their pictures are like, in about equal parts."""
    found = {}
    for name, values in _qualities(evaluated.video_paths).items():
        parts = [
            {"low": low, "high": high, **_judge_some(evaluated.labels, scores, chosen)}
            for low, high, chosen in _parts(values)
        ]
        if len(parts) > 1:
            found[name] = parts
    return found


def _parts(
    values: npt.NDArray[np.float64],
) -> Iterator[tuple[float, float, npt.NDArray[np.bool_]]]:
    """Part values into thirds, or fewer where many are the same; nothing where all are alike."""
    known = np.isfinite(values)
    if not known.any():
        return
    bounds = np.unique(np.quantile(values[known], np.linspace(0, 1, _N_PARTS + 1)))
    for low, high in pairwise(bounds):
        below = values <= high if high == bounds[-1] else values < high
        chosen = known & (low <= values) & below
        if chosen.any():
            yield float(low), float(high), chosen


def _qualities(video_paths: list[Path]) -> dict[str, npt.NDArray[np.float64]]:
    """Give what is known of the clip of each window, each (N,); NaN where nobody noted it."""
    known: dict[Path, Any] = {}
    for root in {path.parents[2] for path in video_paths if len(path.parents) > 2}:
        try:
            table = pd.read_csv(root / QUALITY_CSV)
            table["speaker_seen_percent"] = 100 * table.n_frames_of_speaker / table.n_frames
            rows = table[list(QUALITIES)].to_numpy(np.float64)
            for clip, row in zip(table["clip"], rows, strict=True):
                known[root / f"{clip}.npz"] = row
        except (OSError, ValueError, KeyError, AttributeError):
            continue
    nothing = np.full(len(QUALITIES), math.nan)
    values = np.array([known.get(path, nothing) for path in video_paths]).reshape(
        -1, len(QUALITIES)
    )
    return dict(zip(QUALITIES, values.T, strict=True))
