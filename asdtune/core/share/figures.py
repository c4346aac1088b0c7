"""How the figures of a report are called and written, on pages and in terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asdtune.core.tune.labelled import LABELS

FIGURES = {  # by their key in the report
    "mAP": "mAP over frames", "window_AP": "AP over windows", "ROC_AUC": "ROC AUC, windows",
    "equal_error_rate": "equal error rate", "accuracy": "accuracy at 0.5", "F1": "F1 at 0.5",
    "calibration_error": "calibration error",
}  # fmt: skip


def figures_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Name the figures of a report, by their key; of single frames, windows say nothing more."""
    if report.get("of") != LABELS:
        return FIGURES
    names = {key: name.replace(", windows", "") for key, name in FIGURES.items()}
    return {key: name for key, name in names.items() if key != "window_AP"}


def number(value: float | None, digits: int = 1) -> str:
    """Write a figure; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def between(pair: Sequence[float] | None) -> str:
    """Write an interval; nothing where there is none."""
    return "" if pair is None else f"{pair[0]:.1f} to {pair[1]:.1f}"
