"""The figures of a report as tables and notes, for pages and terminals alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asdtune.core.evaluation.bootstrap import MIN_SPEAKERS
from asdtune.core.evaluation.held_out import about_speakers, is_held_out
from asdtune.core.evaluation.labelled_clips import LABELS
from asdtune.core.evaluation.thresholds import tells_nothing
from asdtune.core.metrics import SYNC, WHO
from asdtune.core.windows import WindowKind

Table = list[list[str]]  # the header first

KINDS = {  # short, for a table of 80 columns
    WindowKind.POSITIVE.value: "own sound",
    WindowKind.TEMPORAL.value: "own sound, shifted",
    WindowKind.PARTIAL.value: "other clip's sound",
    WindowKind.COMPLETE.value: "other speaker's sound",
    WindowKind.SILENT.value: "silent face",
}
_OF_SPLIT = {WHO: "silent faces, AUC", SYNC: "sync, AUC"}
_OF_FRAMES = {"mAP": "mAP over frames", "accuracy": "accuracy at 0.5"}
_THRESHOLDS = {"half_way": "half way", "recall_95": "recall 95 %"}
_CHANCE_AUC = 50


def figures_table(report: Mapping[str, Any]) -> Table:
    """Lay out all figures, those of the baseline beside; with 95 % intervals where there are some.

    Who is speaking comes first.
    """
    new, old, apart = (report.get(key, {}) for key in ("checkpoint", "baseline", "difference"))
    has_intervals = any(new["intervals"].values())
    beside = ["baseline", "difference", *["95 %"] * has_intervals] if old else []
    table = [["percent", "new", *["95 %"] * has_intervals, *beside]]
    names = _OF_FRAMES if report.get("of") == LABELS else {**_OF_SPLIT, **_OF_FRAMES}
    for key, name in names.items():
        row = [name, number(new[key])] + [_between(new["intervals"][key])] * has_intervals
        if old:
            value, low, high = (apart[key][part] for part in ("value", "low", "high"))
            row += [number(old[key]), "" if value is None else f"{value:+.1f}"]
            row += ["" if low is None else f"{low:+.1f} to {high:+.1f}"] * has_intervals
        table.append(row)
    return table


def kinds_table(report: Mapping[str, Any]) -> Table:
    """Lay out how well each kind of window is told from the positive ones."""
    new, old = report["checkpoint"]["by_kind"], report.get("baseline", {}).get("by_kind")
    intervals = {kind: entry.get("intervals", {}).get("AUC") for kind, entry in new.items()}
    beside, sure = ["baseline"] * bool(old), ["95 %"] * any(intervals.values())
    table = [["windows", "n", "AUC", *sure, *beside, "accuracy", *beside]]
    for kind, entry in new.items():
        auc, accuracy = (
            [number(each[kind].get(key)) for each in (new, old) if each]
            for key in ("AUC", "accuracy")
        )
        auc[1:1] = [_between(intervals[kind])] * len(sure)
        table.append([KINDS[kind], str(entry["n_windows"]), *auc, *accuracy])
    return table


def speakers_table(report: Mapping[str, Any]) -> Table:
    """Lay out the figures of each speaker."""
    new, old = report["checkpoint"]["by_speaker"], report.get("baseline", {}).get("by_speaker")
    beside = ["baseline"] * bool(old)
    unit = "frames" if report.get("of") == LABELS else "windows"
    table = [["speaker", unit, "mAP", *beside, "accuracy", *beside]]
    for name, entry in new.items():
        row = [name, str(entry["n_windows"])]
        for key in ("mAP", "accuracy"):
            row += [number(each[name][key]) for each in (new, old) if each]
        table.append(row)
    return table


def thresholds_table(report: Mapping[str, Any]) -> Table:
    """Lay out the thresholds and what they give, of the networks and as the toolkit scores."""
    rows = [
        [f"{_THRESHOLDS[name]}, {place}", number(each["threshold"], 3),
         *(number(each[part]) for part in ("precision", "recall", "f1", "accuracy"))]
        for place, thresholds in _thresholds_of(report).items()
        for name, each in thresholds.items()
    ]  # fmt: skip
    return [["threshold for", "score", "precision", "recall", "F1", "accuracy"], *rows]


def notes_of(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what stands between these figures and a claim."""
    new = report["checkpoint"]
    if not is_held_out(report):
        yield about_speakers(report)
    if report["n_speakers"] < MIN_SPEAKERS:
        yield (
            f"speakers: {report['n_speakers']}; fewer than {MIN_SPEAKERS} do not tell how sure "
            "these figures are"
        )
    elif (new["intervals"][SYNC] or [100])[0] <= _CHANCE_AUC:
        yield "sync: it is not shown to be better than chance, for the interval holds 50"
    if "in_toolkit" in new and not new["thresholds_in_toolkit"]:
        yield (
            "no threshold for the toolkit was found: all frames of the clips of "
            f"{new['in_toolkit']['found_on']} have the same label. Have they been marked for "
            "speech? asdtune mfcc does it"
        )
    for place, thresholds in _thresholds_of(report).items():
        if "half_way" in thresholds and tells_nothing(thresholds["half_way"]):
            yield (
                f"nearly all frames or none count as speaking at the threshold half way ({place}): "
                "nothing is told apart there"
            )


def _thresholds_of(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Give the thresholds by what they are for."""
    new, old = report["checkpoint"], report.get("baseline", {})
    return {
        f"{'new network' if old else 'network'} by itself": new["thresholds"],
        "baseline by itself": old.get("thresholds", {}),
        "as the toolkit scores": new.get("thresholds_in_toolkit", {}),
    }


def number(value: float | None, digits: int = 1) -> str:
    """Write a figure; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def _between(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.1f} to {pair[1]:.1f}"
