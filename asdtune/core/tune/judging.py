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
from asdtune.core.tune.dataset import WindowDataset
from asdtune.core.tune.intervals import MIN_SPEAKERS, draw_speakers, draws_of, interval_of
from asdtune.core.tune.metrics import judge, summarize_kinds
from asdtune.core.tune.scoring import Scores
from asdtune.core.tune.thresholds import find_thresholds

_N_PARTS = 3  # into which clips are sorted by the size of the face

Entry = dict[str, Any]  # of a report: numbers, None where there is none


def judge_networks(
    windows: WindowDataset, scores_of: Mapping[str, Scores]
) -> tuple[dict[str, Entry], Entry]:
    """Judge the scores of one network, and of another that it is compared with.

    Args:
        windows: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).

    Returns:
        For each role: all of `metrics.judge`, `by_kind`, `by_speaker`, `by_face_height`,
        `thresholds`, and `intervals` by figure. And the figures of the checkpoint minus those of
        the baseline, each with its interval; empty without one. In percent.
    """
    drawn = draw_speakers(windows.speakers)
    n_speakers = drawn.n_speakers
    draws = {role: draws_of(windows.labels, scores, drawn) for role, scores in scores_of.items()}
    entries: dict[str, Entry] = {}
    for role, scores in scores_of.items():
        of_frames = np.repeat(windows.labels, windows.window_size)
        entries[role] = {
            **judge(windows.labels, scores),
            "intervals": {
                name: _as_pair(figures, n_speakers) for name, figures in draws[role].items()
            },
            "by_kind": summarize_kinds(windows.kinds, windows.labels, scores),
            "by_speaker": {
                name: _judge_some(windows.labels, scores, windows.speakers == name)
                for name in np.unique(windows.speakers)
            },
            "by_face_height": list(_by_face_height(windows, scores)),
            "thresholds": {
                name: asdict(each)
                for name, each in find_thresholds(of_frames, scores.reshape(-1)).items()
            },
        }
    difference = {}
    if "baseline" in entries:
        for name, figures in draws["checkpoint"].items():
            low, high = _as_pair(figures - draws["baseline"][name], n_speakers) or (None, None)
            value = entries["checkpoint"][name] - entries["baseline"][name]
            difference[name] = {"value": value, "low": low, "high": high}
    return {role: without_nan(entry) for role, entry in entries.items()}, without_nan(difference)


def verdict_of(difference: Entry, n_speakers: int, *, has_failed: bool = False) -> str:
    """Say in a sentence whether the new network is better, and how sure that is."""
    if has_failed:
        return "The baseline could not be read, so there is nothing to compare with."
    if not difference:
        return "There is nothing to compare with: give --baseline."
    of_map = difference["mAP"]
    if of_map["value"] is None:
        return "Neither network has a mAP here: the windows have one label only."
    side = "higher" if of_map["value"] >= 0 else "lower"
    apart = f"its mAP is {abs(of_map['value']):.1f} points {side} than the baseline's"
    if of_map["low"] is None:
        return (
            f"It is not sure which network is better: on the {n_speakers} speakers of this split "
            f"{apart}, and fewer than {MIN_SPEAKERS} do not tell how sure that is."
        )
    between = f"95 % interval {of_map['low']:+.1f} to {of_map['high']:+.1f}"
    on = f"on {n_speakers} speakers {apart} ({between})"
    if of_map["low"] > 0:
        return f"The new network is better: {on}."
    if of_map["high"] < 0:
        return f"The new network is worse: {on}."
    return f"It is not sure which network is better: {on}."


def without_nan(entry: Any) -> Any:
    """Put None in the place of every number that is none, as JSON wants it."""
    if isinstance(entry, dict):
        return {key: without_nan(value) for key, value in entry.items()}
    if isinstance(entry, (list, tuple)):
        return [without_nan(value) for value in entry]
    return None if isinstance(entry, float) and not math.isfinite(entry) else entry


def _as_pair(figures: npt.NDArray[np.float64], n_speakers: int) -> list[float] | None:
    found = interval_of(figures, n_speakers)
    return None if found is None else [found.low, found.high]


def _judge_some(
    labels: npt.NDArray[np.int64], scores: Scores, chosen: npt.NDArray[np.bool_]
) -> Entry:
    return {"n_windows": int(chosen.sum()), **judge(labels[chosen], scores[chosen])}


def _by_face_height(windows: WindowDataset, scores: Scores) -> Iterator[Entry]:
    """Judge windows apart by the size of the face in the video, in about equal parts."""
    heights = _face_heights(windows.video_paths)
    known = np.isfinite(heights)
    if len(np.unique(heights[known])) < _N_PARTS:
        return
    bounds = np.unique(np.quantile(heights[known], np.linspace(0, 1, _N_PARTS + 1)))
    for low, high in pairwise(bounds):
        is_last = high == bounds[-1]
        chosen = known & (heights >= low) & ((heights < high) | (is_last & (heights <= high)))
        if not chosen.any():
            continue
        part = _judge_some(windows.labels, scores, chosen)
        yield {"from_pixels": float(low), "to_pixels": float(high), **part}


def _face_heights(video_paths: list[Path]) -> npt.NDArray[np.float64]:
    """Give the median height of the face in the clip of each window; NaN where nobody noted it."""
    height_of: dict[Path, float] = {}
    for root in {path.parents[2] for path in video_paths if len(path.parents) > 2}:
        try:
            table = pd.read_csv(root / QUALITY_CSV)
            for clip, height in zip(table["clip"], table["face_height_pixels"], strict=True):
                height_of[root / f"{clip}.npz"] = float(height)
        except (OSError, ValueError, KeyError):
            continue
    return np.array([height_of.get(path, math.nan) for path in video_paths])
