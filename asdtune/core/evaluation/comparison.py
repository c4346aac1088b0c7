"""What the scores of networks say: figures, how sure they are, and how far two are apart.

The toolkit asks a network who on screen is speaking. Two abilities answer that, and each is a
figure of its own: to tell a silent face from one that talks, and to tell sound that belongs to the
lips from sound that does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.evaluation.bootstrap import (
    Draws,
    Figures,
    draw_speakers,
    draws_of,
    draws_of_kinds,
    interval_of,
)
from asdtune.core.evaluation.evaluation_sets import EvaluationSet
from asdtune.core.evaluation.thresholds import find_thresholds
from asdtune.core.metrics import judge, summarize_kinds
from asdtune.core.splits import MISMATCHES, WindowKind
from asdtune.core.training.scoring import Scores

WHO, SYNC = "who_is_speaking", "sync"  # the two abilities, as figures of a report are called

Entry = dict[str, Any]  # of a report: numbers, None where there is none


@dataclass(frozen=True)
class _Judged:
    """A network's entry of the report, and the same figures of every draw of speakers."""

    entry: Entry
    draws: Mapping[str, Figures]


def judge_networks(
    evaluated: EvaluationSet, scores_of: Mapping[str, Scores]
) -> tuple[dict[str, Entry], Entry]:
    """Judge the scores of one network, and of another that it is compared with.

    Args:
        evaluated: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).

    Returns:
        For each role: `who_is_speaking` and `sync`, all of `metrics.judge`, `intervals` of these,
        `by_kind`, `by_speaker` and `thresholds`. And the figures of the checkpoint minus those of
        the baseline, each with its interval; empty without one. In percent.
    """
    drawn = draw_speakers(evaluated.speakers)
    judged = {role: _judge(evaluated, scores, drawn) for role, scores in scores_of.items()}
    difference = {}
    if "baseline" in judged:
        difference = _difference(judged["checkpoint"], judged["baseline"], drawn.n_speakers)
    entries = {role: without_nan(each.entry) for role, each in judged.items()}
    return entries, without_nan(difference)


def _judge(evaluated: EvaluationSet, scores: Scores, drawn: Draws) -> _Judged:
    labels, kinds, speakers = evaluated.frame_labels, evaluated.kinds, evaluated.speakers
    by_kind: dict[str, Entry] = dict(summarize_kinds(kinds, speakers, labels, scores))
    draws_by_kind = draws_of_kinds(kinds, speakers, scores, drawn)
    figures, draws = judge(labels, scores), dict(draws_of(labels, scores, drawn))
    no_draws = draws["mAP"] * math.nan
    if by_kind:
        auc_of = {kind: each["AUC"] for kind, each in by_kind.items() if "AUC" in each}
        figures = {**_abilities(auc_of, math.nan), **figures}
        draws |= _abilities(draws_by_kind, no_draws)
    else:  # labelled clips have no kinds: their mAP is the question itself
        figures = {WHO: figures["mAP"], SYNC: math.nan, **figures}
        draws |= {WHO: draws["mAP"], SYNC: no_draws}

    def interval(value: float, of_draws: Figures) -> list[float] | None:
        return _bounds(value, of_draws, drawn.n_speakers, least=0)

    for kind, of_kind in draws_by_kind.items():
        by_kind[kind]["intervals"] = {"AUC": interval(by_kind[kind]["AUC"], of_kind)}
    thresholds = find_thresholds(labels.reshape(-1), scores.reshape(-1))
    entry = {
        **figures,
        "intervals": {name: interval(value, draws[name]) for name, value in figures.items()},
        "by_kind": by_kind,
        "by_speaker": {
            name: _judge_some(labels, scores, speakers == name) for name in np.unique(speakers)
        },
        "thresholds": {name: asdict(each) for name, each in thresholds.items()},
    }
    return _Judged(entry, draws)


def _abilities(auc_of: Mapping[str, Any], unknown: Any) -> Entry:
    """Give both abilities, or those of every draw, by the AUC of each kind of negative."""
    of_mismatches = [auc_of[kind] for kind in MISMATCHES if kind in auc_of]
    return {
        WHO: auc_of.get(WindowKind.SILENT, unknown),
        SYNC: sum(of_mismatches) / len(of_mismatches) if of_mismatches else unknown,
    }


def _difference(new: _Judged, old: _Judged, n_speakers: int) -> Entry:
    """Give how far the figures of two networks are apart, each with its interval."""
    apart = {}
    for name, of_new in new.draws.items():
        value = new.entry[name] - old.entry[name]
        low, high = _bounds(value, of_new - old.draws[name], n_speakers) or (None, None)
        apart[name] = {"value": value, "low": low, "high": high}
    return apart


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


def without_nan(entry: Any) -> Any:
    """Put None in the place of every number that is none, as JSON wants it."""
    if isinstance(entry, dict):
        return {key: without_nan(value) for key, value in entry.items()}
    if isinstance(entry, (list, tuple)):
        return [without_nan(value) for value in entry]
    return None if isinstance(entry, float) and not math.isfinite(entry) else entry
