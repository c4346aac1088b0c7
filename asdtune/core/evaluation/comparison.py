"""What the scores of networks say: figures, how sure they are, and how far two are apart.

The toolkit asks a network who on screen is speaking. Two abilities answer that, and each is a
figure of its own: to tell a silent face from one that talks, and to tell sound that belongs to the
lips from sound that does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from asdtune.core.evaluation.bootstrap import (
    Draws,
    Figures,
    draw_speakers,
    draws_of,
    draws_of_kinds,
    interval_of,
)
from asdtune.core.evaluation.labelled_clips import Evaluated
from asdtune.core.evaluation.thresholds import find_thresholds
from asdtune.core.metrics import SYNC, WHO, abilities, summarize, summarize_kinds
from asdtune.core.training.scoring import Scores

Entry = dict[str, Any]  # of a report: numbers, None where there is none


def compare_networks(
    evaluated: Evaluated, scores_of: Mapping[str, Scores]
) -> tuple[dict[str, Entry], Entry]:
    """Compute the figures of one network, and of another that it is compared with.

    Args:
        evaluated: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).

    Returns:
        For each role: `who_is_speaking`, `sync`, `mAP` and `accuracy`, `intervals` of these,
        `by_kind`, `by_speaker` and `thresholds`. And the figures of the checkpoint minus those of
        the baseline, each with its interval; empty without one. In percent.
    """
    drawn = draw_speakers(evaluated.speakers)
    found = {role: _figures_of(evaluated, scores, drawn) for role, scores in scores_of.items()}
    difference = {}
    if "baseline" in found:
        (new, new_draws), (old, old_draws) = found["checkpoint"], found["baseline"]
        for name, of_draws in new_draws.items():
            value, apart = new[name] - old[name], of_draws - old_draws[name]
            low, high = interval_of(value, apart, drawn.n_speakers, least=-100) or (None, None)
            difference[name] = {"value": value, "low": low, "high": high}
    entries = {role: without_nan(entry) for role, (entry, _) in found.items()}
    return entries, without_nan(difference)


def _figures_of(
    evaluated: Evaluated, scores: Scores, drawn: Draws
) -> tuple[Entry, dict[str, Figures]]:
    """Give a network's entry of the report, and its figures of every draw of speakers."""
    labels, kinds, speakers = evaluated.frame_labels, evaluated.kinds, evaluated.speakers
    by_kind: dict[str, Entry] = dict(summarize_kinds(kinds, speakers, labels, scores))
    draws_by_kind = draws_of_kinds(kinds, speakers, scores, drawn)
    figures, draws = summarize(labels, scores), draws_of(labels, scores, drawn)
    if by_kind:
        auc_of = {kind: each["AUC"] for kind, each in by_kind.items() if "AUC" in each}
        figures, draws = {**abilities(auc_of), **figures}, {**abilities(draws_by_kind), **draws}
    else:  # labelled clips have no kinds: their mAP is the question itself
        figures = {WHO: figures["mAP"], SYNC: math.nan, **figures}
        draws = {WHO: draws["mAP"], SYNC: draws["mAP"] * math.nan, **draws}
    for kind, of_kind in draws_by_kind.items():
        interval = interval_of(by_kind[kind]["AUC"], of_kind, drawn.n_speakers)
        by_kind[kind]["intervals"] = {"AUC": interval}
    thresholds = find_thresholds(labels.reshape(-1), scores.reshape(-1))
    rows_of = {name: speakers == name for name in np.unique(speakers)}
    entry = {
        **figures,
        "intervals": {
            name: interval_of(value, draws[name], drawn.n_speakers)
            for name, value in figures.items()
        },
        "by_kind": by_kind,
        "by_speaker": {
            name: {"n_windows": int(rows.sum()), **summarize(labels[rows], scores[rows])}
            for name, rows in rows_of.items()
        },
        "thresholds": {name: asdict(each) for name, each in thresholds.items()},
    }
    return entry, draws


def without_nan(entry: Any) -> Any:
    """Put None in the place of every number that is none, as JSON wants it."""
    if isinstance(entry, dict):
        return {key: without_nan(value) for key, value in entry.items()}
    if isinstance(entry, (list, tuple)):
        return [without_nan(value) for value in entry]
    return None if isinstance(entry, float) and not math.isfinite(entry) else entry
