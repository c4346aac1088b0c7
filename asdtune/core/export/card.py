"""The model card: what the network is, what it learned from, how good it is, and what is not known.

`MODEL_CARD.md` is the README of a Hugging Face repository, too: it begins with the metadata that
the Hub reads (https://huggingface.co/docs/hub/model-cards), `model-index` with the results among
them. What is not known stays out of the metadata, and the text asks for it by a mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from asdtune import __version__
from asdtune.core.evaluation.figures import number
from asdtune.core.evaluation.held_out import about_speakers, is_held_out
from asdtune.core.export.annotheia import Submission, in_toolkit
from asdtune.core.export.detector_module import filled
from asdtune.core.export.licences import licence_on_hub
from asdtune.core.export.provenance import (
    NO_AUTHORS,
    NO_CONSENT,
    NO_DATA,
    NO_LICENSE,
    NO_ORIGIN,
    NO_RECIPE,
    NO_RECORDINGS,
    NO_RESULTS,
    Provenance,
    Quality,
)
from asdtune.core.models.registry import SCRATCH, STARTS
from asdtune.core.rates import seconds_of_frames
from asdtune.core.training.settings import TrainingSettings

MODEL_CARD = "MODEL_CARD.md"
_FIGURES = {  # of a report, as the Hub and as people call them
    "who_is_speaking": ("roc_auc", "AUC of silent faces"),
    "sync": ("roc_auc", "AUC of mismatches"),
    "mAP": ("average_precision", "mAP over frames (AVA-ActiveSpeaker)"),
    "accuracy": ("accuracy", "accuracy over frames at 0.5"),
    "F1": ("f1", "F1 over frames at 0.5"),
    "calibration_error": ("expected_calibration_error", "calibration error over frames"),
}
_OF_THRESHOLD = ("precision", "recall", "f1", "accuracy")


def model_card(submission: Submission) -> str:
    """Write the model card."""
    known, place = submission.known, submission.place
    return filled(
        MODEL_CARD,
        **submission.words,
        metadata=_metadata(submission),
        authors="; ".join(known.declared.authors) or NO_AUTHORS,
        citation=place.citation,
        consent=known.declared.consent or NO_CONSENT,
        data=_data(known),
        derived_from=_derived_from(submission),
        epoch="unknown" if known.epoch is None else str(known.epoch),
        license=known.declared.license or NO_LICENSE,
        n_parameters=place.n_parameters,
        recipe=_recipe(known),
        recordings=known.declared.recordings or NO_RECORDINGS,
        results=results_table(known.results),
        started_from=known.started_from,
        version=__version__,
        window_seconds=f"{seconds_of_frames(submission.window_size):.2f}",
    )


def results_table(report: Mapping[str, Any] | None) -> str:
    """Write what `evaluate` found as Markdown, with 95 % intervals where there are."""
    if report is None:
        return NO_RESULTS
    lines = [
        f"On the {report['split']} split: {report['n_windows']} windows of "
        f"{report['n_speakers']} speakers. In percent; by chance AUC would be 50, mAP "
        f"{number(report.get('chance_mAP'))}.",
        "",
        "| figure | value | 95 % interval |",
        "| --- | --- | --- |",
    ]
    judged = report["checkpoint"]
    for key, (_, name) in _FIGURES.items():
        value = judged.get(key, report.get(key))
        if value is not None:
            interval = _interval(judged.get("intervals", {}).get(key))
            lines.append(f"| {name} | {number(value)} | {interval} |")
    lines += ["", "| windows | AUC | accuracy |", "| --- | --- | --- |"]
    for kind, entry in report["by_kind"].items():
        figures = " | ".join(number(entry.get(key)) for key in ("AUC", "accuracy"))
        lines.append(f"| {kind} ({entry['n_windows']}) | {figures} |")
    lines += _toolkit_table(report)
    if report.get("difference") and isinstance(report["verdict"], dict):
        lines += ["", report["verdict"]["text"]]
    return "\n".join([*lines, "", about_speakers(report)]).rstrip()


def _toolkit_table(report: Mapping[str, Any]) -> list[str]:
    """Say how good the threshold in the YAML is."""
    found = in_toolkit(report)
    if found is None:
        return []
    on = report["checkpoint"].get("in_toolkit")
    where = "" if on is None else f", on {on['n_frames']} frames (found on {on['found_on']})"
    return [
        "",
        f"At the threshold in the YAML, as the toolkit scores clips and silent faces{where}:",
        "",
        "| precision | recall | F1 | accuracy |",
        "| --- | --- | --- | --- |",
        f"| {' | '.join(number(found.get(key)) for key in _OF_THRESHOLD)} |",
    ]


def _metadata(submission: Submission) -> str:
    """Write what the Hub reads, as YAML."""
    known, licence = submission.known, submission.known.declared.license
    data: dict[str, Any] = {
        "language": [submission.language.iso],
        **({} if licence is None else licence_on_hub(licence)),
        "tags": ["active-speaker-detection", "audio-visual", "annotheia", submission.place.key],
    }
    results = [] if known.results is None else [*_results(known.results)]
    if known.results is not None and results:
        data["metrics"] = [*dict.fromkeys(each["type"] for each in results)]
        data["model-index"] = [_model_index(submission, known.results, results)]
    is_known = known.started_from != NO_ORIGIN
    origin = f": it started from {_origin(known.started_from)}" if is_known else ""
    comments = [
        f"# No base_model, which would be the name of a repository on the Hub{origin}.",
        *([] if licence else ["# No license: it is not known yet."]),
    ]
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return "\n".join([*comments, text.rstrip()])


def _results(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    judged = report["checkpoint"]
    for key, (kind, name) in _FIGURES.items():
        value = judged.get(key, report.get(key))
        if value is None:
            continue
        args: dict[str, Any] = {"unit": "percent"}
        interval = judged.get("intervals", {}).get(key)
        if interval is not None:
            args["interval_95"] = [round(each, 2) for each in interval]
        yield {"type": kind, "name": name, "value": round(value, 2), "args": args}


def _model_index(
    submission: Submission, report: Mapping[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    held_out = ", speakers held out" if is_held_out(report) else ""
    dataset = {
        "type": "windows-of-own-videos",
        "name": f"Windows of {submission.language.title} videos{held_out}",
        "split": report["split"],
        "args": {key: report[key] for key in ("n_windows", "n_speakers", "window_size")},
    }
    task = {"type": "active-speaker-detection", "name": "Active speaker detection"}
    return {
        "name": submission.name,
        "results": [{"task": task, "dataset": dataset, "metrics": results}],
    }


def _data(known: Provenance) -> str:
    """Say how much it learned from; the names of speakers stay at home."""
    if known.data is None:
        return known.declared.data or NO_DATA
    lines = ["| split | speakers | clips | minutes | windows |", "| --- | --- | --- | --- | --- |"]
    for split, each in known.data.items():
        minutes = number(each["minutes"])
        lines.append(
            f"| {split} | {len(each['speakers'])} | {each['n_clips']} | {minutes} "
            f"| {each['n_windows']} |"
        )
    return "\n".join([*lines, "", " ".join(_about_data(known.data, known.quality))])


def _about_data(data: Mapping[str, Any], quality: Quality | None) -> Iterator[str]:
    yield "No speaker is in two splits."
    n_out = sum(len(each["left_out"]) + len(each["failed"]) for each in data.values())
    if n_out:
        yield f"{n_out} further clips were left out, or could not be read."
    silence = data.get("training", {}).get("kinds", {}).get("positive", {}).get("silence_percent")
    if silence is not None:
        yield f"Of the frames of positive windows, {number(silence)} % are silent."
    if quality is not None:
        yield (
            f"The speaker's face is seen in {number(quality.face_percent)} % of the frames of "
            f"all {quality.n_clips} clips, {quality.face_height_pixels:.0f} pixels high (median)."
        )


def _recipe(known: Provenance) -> str:
    """Write the settings of the run that do something."""
    if known.run is None:
        return known.declared.recipe or NO_RECIPE
    lines = ["| setting | value |", "| --- | --- |"]
    for name in TrainingSettings.model_fields:
        value = known.run.get(name)
        if name == "checkpoint":
            value = known.started_from
        if name == "seed" or value not in (None, False, 0, "none"):
            lines.append(f"| `{name}` | {value} |")
    result = known.run.get("result")
    if result:
        best = f"Of its epochs, number {result['best_epoch']} is the best: validation mAP "
        lines += ["", f"{best}{number(result['validation_mAP'])}."]
    return "\n".join(lines)


def _derived_from(submission: Submission) -> str:
    """Say whose work it is made of, and under which licences."""
    place, started_from = submission.place, submission.known.started_from
    network = f"The network is {place.title} (MIT)."
    if started_from == SCRATCH:
        return f"{network} Its weights were drawn at random and derive from no others."
    if started_from == NO_ORIGIN:
        return f"{network} {NO_ORIGIN}."
    if started_from not in STARTS:
        return f"{network} Its weights derive from {started_from}, whose licence holds too."
    licence = "Apache-2.0" if place.key == "talknet" else "MIT"
    return f"{network} Its weights derive from {_origin(started_from)} ({licence})."


def _origin(started_from: str) -> str:
    """Say what it started from, with the address where it is published."""
    if started_from in STARTS:
        return f"{started_from}, {STARTS[started_from].file.url}"
    return "weights drawn at random" if started_from == SCRATCH else started_from


def _interval(pair: list[float] | None) -> str:
    return "too few speakers to tell" if pair is None else f"{pair[0]:.1f} to {pair[1]:.1f}"
