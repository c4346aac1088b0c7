"""The score from which on the toolkit says that somebody speaks: how it is written and told of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from asdtune.core.corpus import Split

TOOLKIT_THRESHOLD = 0.04  # what the toolkit's own files have
_HIGHEST = float(np.nextafter(np.float32(1), np.float32(0)))  # a score of 1 is above it
_N_DIGITS = 4


def threshold_for_toolkit(report: Mapping[str, Any] | None) -> str:
    """Give the threshold of the best F1 as the toolkit scores; the toolkit's own without one."""
    found = _in_toolkit(report)
    return written_out(found["best_f1"]["threshold"] if found else TOOLKIT_THRESHOLD)


def written_out(threshold: float) -> str:
    """Write a threshold for a YAML file, within [0, 1).

    Four digits of the distance from 0 or from 1, whichever is nearer: a network that is sure of
    itself has its scores close to both. Without an exponent: PyYAML takes `1e-05` for a text.

    Examples:
        >>> written_out(0.123456), written_out(0.999961234), written_out(-0.001), written_out(1.0)
        ('0.1235', '0.99996123', '0.0', '0.9999999404')
    """
    value = min(max(threshold, 0.0), _HIGHEST)
    distance = min(value, 1 - value)
    if distance > 0:
        value = round(value, _N_DIGITS - 1 - math.floor(math.log10(distance)))
    return np.format_float_positional(value, trim="0")


def origin_of_threshold(report: Mapping[str, Any] | None, *, by_hand: bool = False) -> str:
    """Say in the pull request where the threshold comes from."""
    if report is None or not _in_toolkit(report):
        if by_hand:
            return "The threshold was set by hand: nobody has looked for the best one."
        return "The threshold is that of the English file: nobody has looked for a better one."
    split = report["checkpoint"].get("in_toolkit", {}).get("found_on", report["split"])
    found = "The threshold is where"
    if by_hand:
        found = f"The threshold was set by hand. {threshold_for_toolkit(report)} is where"
    found += (
        f" scores of clips of the {split} split, made as the toolkit makes them, have the best F1"
    )
    if split == Split.VALIDATION:
        return f"{found}; these speakers chose the best epoch, too."
    return f"{found}."


def threshold_in_eval_mode(report: Mapping[str, Any] | None) -> str:
    """Say which threshold suits the network by itself; nothing where nobody knows."""
    found = {} if report is None else report["checkpoint"].get("thresholds", {})
    if not found:
        return ""
    return f"""
For a first idea: on single windows, in eval mode and not smoothed, the best F1 of this checkpoint
is at {written_out(found["best_f1"]["threshold"])}.
"""


def _in_toolkit(report: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the thresholds for scores as the toolkit makes them; empty where there are none."""
    found: dict[str, Any] = (report or {}).get("checkpoint", {}).get("thresholds_in_toolkit", {})
    return found
