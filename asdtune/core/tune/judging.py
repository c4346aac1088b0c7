"""What the scores of an evaluation say: figures, how sure they are, and the verdict.

The toolkit asks a network who on screen is speaking. Two abilities answer that, and a verdict
speaks of both: to tell a silent face from one that talks, and to tell sound that belongs to the
lips from sound that does not. A network that gains the second and loses the first is useless.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.splits import MISMATCHES, WindowKind
from asdtune.core.tune.evaluation_sets import EvaluationSet
from asdtune.core.tune.intervals import (
    MIN_SPEAKERS,
    Figures,
    draw_speakers,
    draws_of,
    draws_of_kinds,
    interval_of,
)
from asdtune.core.tune.metrics import judge, summarize_kinds
from asdtune.core.tune.scoring import Scores
from asdtune.core.tune.thresholds import find_thresholds

WHO, SYNC = "who_is_speaking", "sync"  # the two abilities, each a figure of a report
MAX_LOSS = 2.0  # points by which who is speaking may be told worse than before

Entry = dict[str, Any]  # of a report: numbers, None where there is none


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
    labels, n_speakers = evaluated.frame_labels, drawn.n_speakers
    entries: dict[str, Entry] = {}
    draws: dict[str, Mapping[str, Figures]] = {}
    for role, scores in scores_of.items():
        figures, of_frames = judge(labels, scores), draws_of(labels, scores, drawn)
        by_kind = summarize_kinds(evaluated.kinds, evaluated.speakers, labels, scores)
        of_kinds = draws_of_kinds(evaluated.kinds, evaluated.speakers, scores, drawn)
        auc_of = {kind: entry["AUC"] for kind, entry in by_kind.items() if "AUC" in entry}
        figures = {**_abilities(auc_of, figures["mAP"]), **figures}
        draws[role] = {**_abilities(of_kinds, of_frames["mAP"]), **of_frames}
        entries[role] = {
            **figures,
            "intervals": {
                name: _bounds(figures[name], of_draws, n_speakers, least=0)
                for name, of_draws in draws[role].items()
            },
            "by_kind": _with_intervals(by_kind, of_kinds, n_speakers),
            "by_speaker": {
                name: _judge_some(labels, scores, evaluated.speakers == name)
                for name in np.unique(evaluated.speakers)
            },
            "thresholds": {
                name: asdict(each)
                for name, each in find_thresholds(labels.reshape(-1), scores.reshape(-1)).items()
            },
        }
    difference = {}
    if "baseline" in entries:
        for name, of_new in draws["checkpoint"].items():
            value = entries["checkpoint"][name] - entries["baseline"][name]
            apart = _bounds(value, of_new - draws["baseline"][name], n_speakers)
            low, high = apart or (None, None)
            difference[name] = {"value": value, "low": low, "high": high}
    return {role: without_nan(entry) for role, entry in entries.items()}, without_nan(difference)


@dataclass(frozen=True)
class Verdict:
    """What an evaluation comes to.

    Attributes:
        side: `better`, `worse`, or `unsure`.
        lost: It tells who is speaking worse than before: it must not be submitted.
        text: That in words; what was lost comes first.
    """

    side: str
    lost: bool
    text: str


def verdict_of(report: Entry, *, whose: str, has_failed: bool) -> Verdict:
    """Say whether a network is better than the one it is compared with, and how sure that is.

    Args:
        report: What `evaluate` found.
        whose: The speakers it was judged on, such as `6 speakers it never met`.
        has_failed: The other could not be read.
    """
    if not report["difference"]:
        alone = f"On {whose}, {_alone(report)}."
        if has_failed:
            return Verdict("unsure", False, f"{alone} The baseline could not be read.")
        return Verdict(
            "unsure",
            False,
            f"{alone} Whether that is better than another network, --baseline tells.",
        )
    who, sync = (report["difference"].get(key, {}) for key in (WHO, SYNC))
    other, where = report["baseline"]["name"], f"on {whose}"
    is_lost = who.get("value") is not None and who["value"] < -MAX_LOSS
    of_sync = _side(sync)
    if is_lost:
        text = f"Do not submit this network: {where}, {_what(report)} worse than {other} "
        text += f"({_apart(report, WHO)})."
        if sync.get("value") is not None:
            text += f" Sync: {_apart(report, SYNC)}."
        return Verdict("worse", True, text)
    kept = f"{_what(report)} {'better' if _side(who) == 'better' else 'as well'}"
    kept += f" ({_apart(report, WHO)})" if who.get("value") is not None else ""
    if sync.get("value") is None:  # labelled clips have no mismatches
        if who.get("value") is None:
            return Verdict("unsure", False, f"It cannot be told {where}: there is one label only.")
        how = {"better": "better than", "worse": "worse than", "unsure": "as well as"}[_side(who)]
        text = f"{where.capitalize()}, {_what(report)} {how} {other} ({_apart(report, WHO)})."
        return Verdict(_side(who), False, text)
    sure = {
        "better": f"it tells sync better than {other} ({_apart(report, SYNC)})",
        "worse": f"it tells sync worse than {other} ({_apart(report, SYNC)})",
        "unsure": f"it is not sure that it tells sync better than {other} ({_apart(report, SYNC)})",
    }[of_sync]
    if who.get("value") is None:
        return Verdict(
            "unsure",
            False,
            f"Whether it still tells who is speaking is not known, for there are no silent faces; "
            f"{where}, {sure}.",
        )
    return Verdict(of_sync, False, f"{where.capitalize()}, {sure}, and {kept}.")


def _abilities(auc_of: Mapping[str, Any], of_map: Any) -> dict[str, Any]:
    """Give both abilities, or those of every draw; NaN where what was scored does not tell.

    Args:
        auc_of: By kind of negative. Labelled clips have no kinds: their mAP is the question itself.
        of_map: The mAP over all frames.
    """
    if not auc_of:
        return {WHO: of_map, SYNC: math.nan * of_map}
    unknown = math.nan * next(iter(auc_of.values()))
    of_mismatches = [auc_of[kind] for kind in MISMATCHES if kind in auc_of]
    sync = sum(of_mismatches) / len(of_mismatches) if of_mismatches else unknown
    return {WHO: auc_of.get(WindowKind.SILENT, unknown), SYNC: sync}


def _side(difference: Mapping[str, Any]) -> str:
    """Tell whether a difference is sure; of fewer than six speakers nothing is."""
    if difference.get("low") is None:
        return "unsure"
    return "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "unsure"


def _what(report: Entry) -> str:
    return "it tells silent faces" if report["by_kind"] else "it tells who is speaking"


def _apart(report: Entry, key: str) -> str:
    """Write a figure of both networks, and how sure their difference is."""
    name = "AUC" if report["by_kind"] else "mAP"
    new, old, apart = (report[of][key] for of in ("checkpoint", "baseline", "difference"))
    text = f"{name} {new:.1f}, was {old:.1f}"
    if apart["low"] is None:
        return f"{text}; fewer than {MIN_SPEAKERS} speakers do not tell how sure that is"
    return f"{text}; 95 % interval of the difference {apart['low']:+.1f} to {apart['high']:+.1f}"


def _alone(report: Entry) -> str:
    """Say how good a network is that is compared with nothing but chance."""
    new = report["checkpoint"]
    if report["by_kind"]:
        known = {"silent faces": new[WHO], "sync": new[SYNC]}
        told = [f"{name} with an AUC of {each:.1f}" for name, each in known.items() if each]
        return f"it tells {' and '.join(told) or 'nothing'} (chance: 50)"
    if new["mAP"] is None:
        return "there is one label only"
    return f"its mAP is {new['mAP']:.1f} (a constant score has {report['chance_mAP']:.1f})"


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


def _with_intervals(
    by_kind: dict[str, Entry], of_kinds: Mapping[str, Figures], n_speakers: int
) -> dict[str, Entry]:
    """Add the interval of each kind's AUC, if there are speakers enough."""
    for kind, figures in of_kinds.items():
        pair = _bounds(by_kind[kind]["AUC"], figures, n_speakers, least=0)
        by_kind[kind]["intervals"] = {"AUC": pair}
    return by_kind
