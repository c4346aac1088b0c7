"""The tables with which `evaluate` closes."""

from __future__ import annotations

from typing import Any

from asdtune.core.share.figures import between, figures_of, number
from asdtune.core.tune.intervals import MIN_SPEAKERS
from asdtune.core.tune.reports import is_held_out, speakers_of
from asdtune.core.tune.thresholds import tells_nothing

Table = list[list[str]]
_CHANCE_AUC = 50
_PLACES = {"thresholds": "windows", "thresholds_in_toolkit": "the toolkit"}


def tables_of(report: dict[str, Any]) -> list[Table]:
    """Lay out a report: by kind of window where there are kinds, figures, thresholds."""
    tables = [_figures_table(report), _thresholds_table(report)]
    return [_kinds_table(report), *tables] if report["by_kind"] else tables


def notes_of(report: dict[str, Any]) -> list[str]:
    """Say what stands between these figures and a claim."""
    judged, notes = report["checkpoint"], []
    if report["n_speakers"] < MIN_SPEAKERS:
        notes.append(
            f"speakers: {report['n_speakers']}; fewer than {MIN_SPEAKERS} do not tell how sure "
            "these figures are"
        )
    elif (judged["intervals"]["ROC_AUC"] or [100])[0] <= _CHANCE_AUC:
        notes.append("it is not shown to be better than chance: the interval of ROC AUC holds 50")
    if not is_held_out(report):
        notes.append(speakers_of(report))
    notes += [
        f"nearly all frames count as speaking at the threshold for the best F1 ({place}): the "
        "network tells nothing there"
        for key, place in _PLACES.items()
        if tells_nothing(judged.get(key, {}).get("best_f1", {"recall": 0}))
    ]
    return notes


def _kinds_table(report: dict[str, Any]) -> Table:
    """Lay out how good each kind of window is."""
    table = [["windows", "number", "mAP", "chance", "accuracy", "mean score"]]
    all_windows = {**report, "mean_score": None}
    for name, entry in {"all": all_windows, **report["by_kind"]}.items():
        numbers = (number(entry.get(key), 2) for key in ("mAP", "chance_mAP", "accuracy"))
        table.append([name, str(entry["n_windows"]), *numbers, number(entry["mean_score"], 3)])
    return table


def _figures_table(report: dict[str, Any]) -> Table:
    """Lay out all figures, and how far they are from those of the baseline."""
    new, old, difference = (report.get(key, {}) for key in ("checkpoint", "baseline", "difference"))
    table = [
        ["percent", "checkpoint", "95 %", *(["baseline", "difference", "95 %"] if old else [])]
    ]
    for key, name in figures_of(report).items():
        row = [name, number(new[key], 2), between(new["intervals"][key])]
        if old:
            apart = difference[key]
            pair = None if apart["low"] is None else (apart["low"], apart["high"])
            row += [number(old[key], 2), number(apart["value"], 2), between(pair)]
        table.append(row)
    return table


def _thresholds_table(report: dict[str, Any]) -> Table:
    """Lay out the thresholds, for the networks alone and as the toolkit scores."""
    header = "threshold, for, clips, frames, score, precision, recall, F1, accuracy"
    new, old = report["checkpoint"], report.get("baseline", {})
    alone = {"n_frames": report["n_frames"]}
    found = (
        (new.get("thresholds", {}), _PLACES["thresholds"], alone),
        (old.get("thresholds", {}), "baseline", alone),
        (
            new.get("thresholds_in_toolkit", {}),
            _PLACES["thresholds_in_toolkit"],
            new.get("found_in_toolkit_on", {}),
        ),
    )
    rows = [
        [name, place, *(str(found_on.get(key, "")) for key in ("n_clips", "n_frames")),
         number(each["threshold"], 3),
         *(number(each.get(part), 2) for part in ("precision", "recall", "f1", "accuracy"))]
        for thresholds, place, found_on in found
        for name, each in thresholds.items()
    ]  # fmt: skip
    return [header.split(", "), *rows]
