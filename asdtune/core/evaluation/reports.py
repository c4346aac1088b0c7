"""The report of an evaluation, `report.json`: what it is called, and what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from asdtune import __version__
from asdtune.core.evaluation.comparison import compare_networks, without_nan
from asdtune.core.evaluation.held_out import is_held_out, whose
from asdtune.core.evaluation.labelled_clips import Evaluated
from asdtune.core.evaluation.verdict import verdict_of
from asdtune.core.files import content_hash
from asdtune.core.metrics import SYNC, WHO
from asdtune.core.training.scoring import Scores
from asdtune.errors import AsdtuneError

REPORT_JSON = "report.json"  # of a split
_FIGURES = 5  # raised where a figure is computed in another way than before


def report_name(*, of_labels: bool, suffix: str = ".json") -> str:
    """Name the report of a split, or that of labels."""
    return f"report_labels{suffix}" if of_labels else f"report{suffix}"


def inputs_of(checkpoints: Mapping[str, Path], **settings: Any) -> dict[str, Any]:
    """Give all that decides a report; a report keeps it, as `inputs`."""
    marks = {role: content_hash(path) for role, path in checkpoints.items()}
    return {"asdtune": __version__, "figures": _FIGURES, **settings, **marks}


def is_made_of(report: Mapping[str, Any], inputs: Mapping[str, Any], scores_path: Path) -> bool:
    """Tell whether a report has what is asked for, or that and a comparison besides."""
    if not inputs.items() <= report.get("inputs", {}).items() or report["failures"]:
        return False
    return scores_path.is_file() and content_hash(scores_path) == report["scores_blake2b"]


def make_report(
    evaluated: Evaluated,
    scores_of: Mapping[str, Scores],
    *,
    checkpoints: Mapping[str, Path],
    networks: Mapping[str, str],
    speakers: Mapping[str, Any],
    in_toolkit: Mapping[str, Any],
    failures: Mapping[str, AsdtuneError],
) -> dict[str, Any]:
    """Put all together that is known of scores.

    Args:
        evaluated: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).
        checkpoints: The files that were asked for, by role.
        networks: The names of the networks that were read from them, by role.
        speakers: Whether the network met those that were scored; see `held_out.know_speakers`.
        in_toolkit: Entries of the checkpoint about scores as the toolkit makes them.
        failures: What could not be scored, by its name.
    """
    entries, difference = compare_networks(evaluated, scores_of)
    for role, network in networks.items():
        path = checkpoints[role]
        about = {"name": path.name, "network": network, "blake2b": content_hash(path)}
        entries[role] = {**about, **entries[role]}
    entries["checkpoint"] |= without_nan(dict(in_toolkit))
    report = {
        "asdtune": __version__,
        "unit": "percent",
        "window_size": evaluated.window_size,
        **evaluated.about(),
        "chance_mAP": float(evaluated.frame_labels.mean() * 100),
        "n_speakers": len(np.unique(evaluated.speakers)),
        **speakers,
        **entries,
        **{key: entries["checkpoint"][key] for key in (WHO, SYNC, "mAP", "accuracy", "by_kind")},
        "difference": difference,
        "failures": {name: error.problem for name, error in failures.items()},
    }
    verdict = verdict_of(
        report,
        whose=whose(report),
        is_held_out=is_held_out(report),
        has_failed=checkpoints.keys() != networks.keys(),
    )
    return {"verdict": asdict(verdict), **report}


def read_report(path: Path) -> dict[str, Any]:
    """Read a report; empty where there is none.

    Raises:
        AsdtuneError: The file is something else.
    """
    try:
        report = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        report = None
    if not isinstance(report, dict) or not {"mAP", "checkpoint", "by_kind"} <= report.keys():
        raise AsdtuneError(
            "not a report of evaluate", where=path, fix="delete it and run evaluate again"
        )
    return report
