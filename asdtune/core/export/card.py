"""What the files of an export tell: what the network is, how good it is, and what is not known.

`MODEL_CARD.md` is the README of a Hugging Face repository, too: it begins with the metadata that
the Hub reads (https://huggingface.co/docs/hub/model-cards), `model-index` with the results among
them. What is not known stays out of the metadata, and the text asks for it by a mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from asdtune import __version__
from asdtune.core.evaluation.held_out import about_speakers, is_held_out
from asdtune.core.export.annotheia import (
    DETECTORS_DIR,
    TOOLKIT_THRESHOLD,
    Submission,
    for_yaml,
    in_toolkit,
)
from asdtune.core.export.languages import about_whisper
from asdtune.core.export.licences import licence_in_cff, licence_on_hub
from asdtune.core.export.provenance import FILL_IN, Provenance
from asdtune.core.models.registry import SCRATCH, STARTS
from asdtune.core.rates import seconds_of_frames

_FIGURES = {  # of a report, as the Hub and as people call them
    "who_is_speaking": ("roc_auc", "AUC of silent faces"),
    "sync": ("roc_auc", "AUC of mismatches"),
    "mAP": ("average_precision", "mAP over frames (AVA-ActiveSpeaker)"),
    "accuracy": ("accuracy", "accuracy over frames at 0.5"),
    "F1": ("f1", "F1 over frames at 0.5"),
    "calibration_error": ("expected_calibration_error", "calibration error over frames"),
}
_NO_SETTINGS = ("asdtune", "fingerprint", "test_fingerprint", "start_blake2b")  # of run.json


def values_for(submission: Submission) -> dict[str, Any]:
    """Give what the templates tell."""
    known, licence = submission.known, submission.known.metadata.license
    report = known.results or {}
    judged = report.get("checkpoint", {})
    start = STARTS.get(known.started_from or "")
    by_itself = judged.get("thresholds", {}).get("half_way")
    return {
        "it": submission,
        "known": known,
        "metadata": known.metadata,
        "fill_in": FILL_IN,
        "authors": [_names(author) for author in known.metadata.authors],
        "keywords": [
            "active speaker detection",
            "audio-visual speech",
            submission.place.title,
            submission.language.title,
        ],
        "cff_licence": licence_in_cff(licence) if licence else {},
        "version": __version__,
        "scratch": SCRATCH,
        "detectors_dir": DETECTORS_DIR,
        "hub_metadata": _hub_metadata(submission),
        "window_seconds": f"{seconds_of_frames(submission.window_size):.2f}",
        "start_url": None if start is None else start.file.url,
        "settings": _settings(known),
        "silence_percent": _silence_percent(known),
        "report": known.results,
        "figures": [*_figures(report)],
        "about_speakers": about_speakers(report) if report else None,
        "verdict": report["verdict"]["text"] if _is_compared(report) else None,
        "in_toolkit": in_toolkit(report),
        "scored_in_toolkit": judged.get("in_toolkit"),
        "toolkit_threshold": TOOLKIT_THRESHOLD,
        "threshold_by_itself": None if by_itself is None else for_yaml(by_itself["threshold"]),
        "about_whisper": about_whisper(submission.language),
    }


def _names(author: str) -> tuple[str, str]:
    """Split the name of a person, `Family, Given`; an institution has no second part.

    Examples:
        >>> _names("Okello, Grace"), _names("Makerere University")
        (('Okello', 'Grace'), ('Makerere University', ''))
    """
    family, _, given = author.partition(",")
    return family.strip(), given.strip()


def _figures(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the figures that a report has, each with its 95 % interval if there is one."""
    judged = report.get("checkpoint", {})
    for key, (kind, name) in _FIGURES.items():
        value = judged.get(key, report.get(key))
        if value is not None:
            interval = judged.get("intervals", {}).get(key)
            yield {"type": kind, "name": name, "value": value, "interval": interval}


def _is_compared(report: Mapping[str, Any]) -> bool:
    """Tell whether it has a verdict on a comparison; earlier versions wrote a sentence."""
    return bool(report.get("difference")) and isinstance(report.get("verdict"), dict)


def _settings(known: Provenance) -> dict[str, Any] | None:
    """Give the settings of the run that do something."""
    if known.run is None:
        return None
    of_run = {**known.run, "checkpoint": known.started_from}  # not where a file lies
    return {
        name: value
        for name, value in of_run.items()
        if name not in _NO_SETTINGS
        and not isinstance(value, dict)
        and (name == "seed" or value not in (None, False, 0, "none"))
    }


def _silence_percent(known: Provenance) -> float | None:
    kinds = (known.data or {}).get("training", {}).get("kinds", {})
    percent: float | None = kinds.get("positive", {}).get("silence_percent")
    return percent


def _hub_metadata(submission: Submission) -> str:
    """Write what the Hub reads, as YAML."""
    known, licence = submission.known, submission.known.metadata.license
    data: dict[str, Any] = {
        "language": [submission.language.iso],
        **({} if licence is None else licence_on_hub(licence)),
        "tags": ["active-speaker-detection", "audio-visual", "annotheia", submission.place.key],
    }
    if known.results is not None:
        data |= _hub_results(submission, known.results)
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return text.rstrip()


def _hub_results(submission: Submission, report: Mapping[str, Any]) -> dict[str, Any]:
    figures = [*_figures(report)]
    metrics = [
        {
            "type": each["type"],
            "name": each["name"],
            "value": round(each["value"], 2),
            "args": {"unit": "percent"}
            | ({"interval_95": [round(end, 2) for end in each["interval"]]}
               if each["interval"] else {}),
        }
        for each in figures
    ]  # fmt: skip
    held_out = ", speakers held out" if is_held_out(report) else ""
    result = {
        "task": {"type": "active-speaker-detection", "name": "Active speaker detection"},
        "dataset": {
            "type": "windows-of-own-videos",
            "name": f"Windows of {submission.language.title} videos{held_out}",
            "split": report["split"],
            "args": {key: report[key] for key in ("n_windows", "n_speakers", "window_size")},
        },
        "metrics": metrics,
    }
    return {
        "metrics": [*dict.fromkeys(each["type"] for each in figures)],
        "model-index": [{"name": submission.name, "results": [result]}],
    }
