"""The report of an evaluation: what it is called, what is in it, and what it is a report of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from asdtune import __version__
from asdtune.core.evaluation.comparison import SYNC, WHO, judge_networks, without_nan
from asdtune.core.evaluation.evaluation_sets import EvaluationSet
from asdtune.core.evaluation.held_out import is_held_out, whose
from asdtune.core.evaluation.verdict import verdict_of
from asdtune.core.files import content_hash, settings_hash
from asdtune.core.training.scoring import Scores
from asdtune.errors import AsdtuneError

REPORT_JSON = "report.json"  # of a split
_FIGURES = 5  # raised where a figure is computed in another way than before


def report_name(*, of_labels: bool, suffix: str = ".json") -> str:
    """Name the report of a split, or that of labels."""
    return f"report_labels{suffix}" if of_labels else f"report{suffix}"


def make_report(
    evaluated: EvaluationSet,
    scores_of: Mapping[str, Scores],
    *,
    contestants: Mapping[str, Path],
    names: Mapping[str, str],
    speakers: Mapping[str, Any],
    in_toolkit: Mapping[str, Any],
    failures: Mapping[str, AsdtuneError],
) -> dict[str, Any]:
    """Put all together that is known of scores.

    Args:
        evaluated: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).
        contestants: The files of the networks that were asked for, by role.
        names: Of the networks that were read, by role.
        speakers: Whether the network met those that were scored; see `held_out.know_speakers`.
        in_toolkit: Entries of the checkpoint about scores as the toolkit makes them.
        failures: What could not be scored, by its name.
    """
    entries, difference = judge_networks(evaluated, scores_of)
    for role, name in names.items():
        file = contestants[role]
        known = {"name": file.name, "network": name, "blake2b": content_hash(file)}
        entries[role] = {**known, **entries[role]}
    of_checkpoint = entries["checkpoint"]
    of_checkpoint |= without_nan(dict(in_toolkit))
    report = {
        "asdtune": __version__,
        "unit": "percent",
        "window_size": evaluated.window_size,
        **evaluated.about(),
        "chance_mAP": float(evaluated.frame_labels.mean() * 100),
        "n_speakers": len(np.unique(evaluated.speakers)),
        **speakers,
        **entries,
        **{key: of_checkpoint[key] for key in (WHO, SYNC, "mAP", "accuracy", "by_kind")},
        "difference": difference,
        "failures": {name: error.problem for name, error in failures.items()},
    }
    verdict = verdict_of(
        report,
        whose=whose(report),
        is_held_out=is_held_out(report),
        has_failed=contestants.keys() != names.keys(),
    )
    return {"verdict": asdict(verdict), **report}


def fingerprints_of(
    data: list[str], window_size: int, toolkit_clips: int, contestants: Mapping[str, Path]
) -> dict[str, str]:
    """Tell all that decides a report: as `fingerprint`, and `fingerprint_alone` of no comparison.

    Args:
        data: The fingerprints of what is scored, and of what thresholds are found on.
        window_size: W.
        toolkit_clips: As for `evaluate`.
        contestants: The files of the networks, by their role.
    """
    of_data = {
        "asdtune": __version__,
        "figures": _FIGURES,
        "window_size": window_size,
        "data": data,
        "toolkit_clips": toolkit_clips,
    }
    marks = {role: content_hash(file) for role, file in contestants.items()}
    return {
        "fingerprint": settings_hash({**of_data, **marks}),
        "fingerprint_alone": settings_hash({**of_data, "checkpoint": marks["checkpoint"]}),
    }


def tells_all(report: Mapping[str, Any], fingerprints: Mapping[str, str]) -> bool:
    """Tell whether an earlier report has what is asked for, or that and a comparison besides."""
    return fingerprints["fingerprint"] in (report.get(name) for name in fingerprints)


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
