"""The tables with which `evaluate` closes."""

from __future__ import annotations

from typing import Any

from asdtune.core.evaluation.bootstrap import MIN_SPEAKERS
from asdtune.core.evaluation.comparison import SYNC
from asdtune.core.evaluation.figures import figures_table, number
from asdtune.core.evaluation.held_out import about_speakers, is_held_out
from asdtune.core.evaluation.thresholds import tells_nothing

Table = list[list[str]]
_CHANCE_AUC = 50
_PLACES = {"thresholds": "windows", "thresholds_in_toolkit": "the toolkit"}


def tables_of(report: dict[str, Any]) -> list[Table]:
    """Lay out a report: figures, kinds of windows where there are some, thresholds."""
    kinds = [_kinds_table(report)] if report["by_kind"] else []
    return [figures_table(report), *kinds, _thresholds_table(report)]


def notes_of(report: dict[str, Any]) -> list[str]:
    """Say what stands between these figures and a claim."""
    judged, notes = report["checkpoint"], []
    if report["n_speakers"] < MIN_SPEAKERS:
        notes.append(
            f"speakers: {report['n_speakers']}; fewer than {MIN_SPEAKERS} do not tell how sure "
            "these figures are"
        )
    elif (judged["intervals"][SYNC] or [100])[0] <= _CHANCE_AUC:
        notes.append("sync: it is not shown to be better than chance, for the interval holds 50")
    if not is_held_out(report):
        notes.append(about_speakers(report))
    if "in_toolkit" in judged and not judged["thresholds_in_toolkit"]:
        notes.append(
            "no threshold for the toolkit was found: all frames of the clips of "
            f"{judged['in_toolkit']['found_on']} have the same label. Have they been marked for "
            "speech? asdtune mfcc does it"
        )
    notes += [
        f"nearly all frames or none count as speaking at the threshold half way ({place}): "
        "the network tells nothing there"
        for key, place in _PLACES.items()
        if tells_nothing(judged.get(key, {}).get("half_way", {"recall": 50}))
    ]
    return notes


def _kinds_table(report: dict[str, Any]) -> Table:
    """Lay out how good each kind of window is."""
    old = report.get("baseline", {}).get("by_kind", {})
    beside = ["baseline"] * bool(old)
    table = [["windows", "number", "AUC", *beside, "accuracy", *beside]]
    for name, entry in report["by_kind"].items():
        row = [name, str(entry["n_windows"])]
        for key in ("AUC", "accuracy"):
            row += [number(entry.get(key))] + [number(old.get(name, {}).get(key))] * bool(old)
        table.append(row)
    return table


def _thresholds_table(report: dict[str, Any]) -> Table:
    """Lay out the thresholds, for the networks alone and as the toolkit scores."""
    header = "threshold, for, frames, score, precision, recall, F1, accuracy"
    new, old = report["checkpoint"], report.get("baseline", {})
    found = (
        (new["thresholds"], _PLACES["thresholds"], report["n_frames"]),
        (old.get("thresholds", {}), "baseline", report["n_frames"]),
        (
            new.get("thresholds_in_toolkit", {}),
            _PLACES["thresholds_in_toolkit"],
            new.get("in_toolkit", {}).get("n_frames"),
        ),
    )
    rows = [
        [name, place, str(n_frames), number(each["threshold"], 3),
         *(number(each[part], 2) for part in ("precision", "recall", "f1", "accuracy"))]
        for thresholds, place, n_frames in found
        for name, each in thresholds.items()
    ]  # fmt: skip
    return [header.split(", "), *rows]
