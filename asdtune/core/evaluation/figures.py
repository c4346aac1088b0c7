"""How the figures of a report are called and written, on pages and in terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asdtune.core.evaluation.labelled_clips import LABELS

_OF_SPLIT = {"who_is_speaking": "silent faces, AUC", "sync": "sync, AUC"}
_OF_FRAMES = {
    "mAP": "mAP over frames", "accuracy": "accuracy at 0.5", "F1": "F1 at 0.5",
    "calibration_error": "calibration error",
}  # fmt: skip


def figures_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Name the figures of a report, by their key; who is speaking comes first."""
    return _OF_FRAMES if report.get("of") == LABELS else {**_OF_SPLIT, **_OF_FRAMES}


def figures_table(report: Mapping[str, Any]) -> list[list[str]]:
    """Lay out all figures, those of the baseline beside; with 95 % intervals where there are some.

    Returns:
        The rows, the header first.
    """
    new, old, apart = (report.get(key, {}) for key in ("checkpoint", "baseline", "difference"))
    has_intervals = any(new["intervals"].values())
    beside = ["baseline", "difference", *["95 %"] * has_intervals] if old else []
    table = [["percent", "new", *["95 %"] * has_intervals, *beside]]
    for key, name in figures_of(report).items():
        row = [name, number(new[key])] + [between(new["intervals"][key])] * has_intervals
        if old:
            low, high = apart[key]["low"], apart[key]["high"]
            row += [number(old[key]), signed(apart[key]["value"])]
            row += ["" if low is None else f"{low:+.1f} to {high:+.1f}"] * has_intervals
        table.append(row)
    return table


def number(value: float | None, digits: int = 1) -> str:
    """Write a figure; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    """Write a difference; nothing where there is none."""
    return "" if value is None else f"{value:+.1f}"


def between(pair: Sequence[float] | None) -> str:
    """Write an interval; nothing where there is none."""
    return "" if pair is None else f"{pair[0]:.1f} to {pair[1]:.1f}"
