"""The model card: what the network is, what it learned from, how good it is, and what is not known.

`MODEL_CARD.md` is the README of a Hugging Face repository, too: it begins with the metadata that
the Hub reads (https://huggingface.co/docs/hub/model-cards), `model-index` with the results among
them. What is not known stays out of the metadata, and the text asks for it by a mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import yaml

from asdtune.core.networks.catalogue import SCRATCH, STARTS
from asdtune.core.share.detector import Place, filled
from asdtune.core.share.figures import number
from asdtune.core.share.findings import (
    NO_AUTHORS,
    NO_CONSENT,
    NO_DATA,
    NO_LICENSE,
    NO_ORIGIN,
    NO_RECIPE,
    NO_RECORDINGS,
    NO_RESULTS,
    Declared,
    Findings,
    Quality,
)
from asdtune.core.share.languages import Language
from asdtune.core.share.licences import licence_on_hub
from asdtune.core.share.threshold import written_out
from asdtune.core.tune.held_out import about_speakers, is_held_out
from asdtune.core.tune.runs import TrainingSettings

_FIGURES = {  # of a report, as the Hub and as people call them
    "who_is_speaking": ("roc_auc", "area under the ROC curve, silent faces"),
    "sync": ("roc_auc", "area under the ROC curve, mismatched sound"),
    "mAP": ("average_precision", "mAP over frames (AVA-ActiveSpeaker)"),
    "accuracy": ("accuracy", "accuracy over frames at 0.5"),
    "F1": ("f1", "F1 over frames at 0.5"),
    "calibration_error": ("expected_calibration_error", "calibration error over frames"),
}
_OF_THRESHOLD = ("precision", "recall", "f1", "accuracy")


def model_card(
    language: Language,
    place: Place,
    findings: Findings,
    declared: Declared,
    *,
    name: str,
    words: Mapping[str, str],
) -> str:
    """Write the model card.

    Args:
        language: Of the videos.
        place: Of the network.
        findings: What is known of the checkpoint.
        declared: What its makers say.
        name: Of the checkpoint, without its ending.
        words: What the other files of the export say, too: window size, link, ...
    """
    return filled(
        "MODEL_CARD.md",
        **words,
        metadata=_metadata(language, place, findings, declared, name=name),
        authors="; ".join(declared.authors) or NO_AUTHORS,
        consent=declared.consent or NO_CONSENT,
        data=_data_table(findings.data, findings.quality),
        license=declared.license or NO_LICENSE,
        derived_from=_derived_from(place, findings.started_from),
        recipe=_recipe_table(findings),
        recordings=declared.recordings or NO_RECORDINGS,
    )


def results_table(report: Mapping[str, Any] | None, *, threshold_by_hand: str | None = None) -> str:
    """Write what `evaluate` found as Markdown, with 95 % intervals where there are.

    Args:
        report: Of `evaluate`, if there is one.
        threshold_by_hand: What somebody has set in the YAML instead of what was found.
    """
    if report is None:
        return NO_RESULTS
    lines = [
        f"On the {report['split']} split: {report['n_windows']} windows of "
        f"{report['n_speakers']} speakers. In percent; by chance mAP would be "
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
    lines += ["", "| windows | mAP | mAP by chance | accuracy |", "| --- | --- | --- | --- |"]
    for kind, entry in report["by_kind"].items():
        figures = " | ".join(number(entry.get(key)) for key in ("mAP", "chance_mAP", "accuracy"))
        lines.append(f"| {kind} ({entry['n_windows']}) | {figures} |")
    lines += _toolkit_table(judged, threshold_by_hand)
    if report.get("difference"):
        verdict = report["verdict"]  # a text in reports of earlier versions
        text = verdict if isinstance(verdict, str) else verdict["text"]
        lines += ["", f"Compared with {report['baseline']['name']}: {text}"]
    return "\n".join([*lines, "", about_speakers(report)]).rstrip()


def _toolkit_table(judged: Mapping[str, Any], by_hand: str | None) -> list[str]:
    """Say how good the threshold that was found is, and on how much; nobody has tried another."""
    found = judged.get("thresholds_in_toolkit", {}).get("best_f1")
    if found is None:
        return []
    on = judged.get("in_toolkit")
    where = "" if on is None else f", on {on['n_frames']} frames (found on {on['found_on']})"
    threshold = "the threshold in the YAML"
    if by_hand is not None:
        best = written_out(found["threshold"])
        threshold = f"{best}, the threshold of the best F1 (the YAML has {by_hand}, set by hand)"
    return [
        "",
        f"At {threshold}, on whole clips as the toolkit scores them{where}:",
        "",
        "| precision | recall | F1 | accuracy |",
        "| --- | --- | --- | --- |",
        f"| {' | '.join(number(found.get(key)) for key in _OF_THRESHOLD)} |",
    ]


def _metadata(
    language: Language, place: Place, findings: Findings, declared: Declared, *, name: str
) -> str:
    """Write what the Hub reads, as YAML."""
    data: dict[str, Any] = {
        "language": [language.iso],
        **({} if declared.license is None else licence_on_hub(declared.license)),
        "tags": ["active-speaker-detection", "audio-visual", "annotheia", place.key],
    }
    is_known = findings.started_from != NO_ORIGIN
    origin = f": it started from {_origin(findings.started_from)}" if is_known else ""
    results = [] if findings.results is None else [*_results(findings.results)]
    if results:
        data["metrics"] = [*dict.fromkeys(each["type"] for each in results)]
        data["model-index"] = [_model_index(language, findings.results or {}, results, name)]
    comments = [
        f"# No base_model, which would be the name of a repository on the Hub{origin}.",
        *([] if declared.license else ["# No license: it is not known yet."]),
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
    language: Language, report: Mapping[str, Any], results: list[dict[str, Any]], name: str
) -> dict[str, Any]:
    about = {key: report[key] for key in ("n_windows", "n_speakers", "window_size")}
    return {
        "name": name,
        "results": [
            {
                "task": {"type": "active-speaker-detection", "name": "Active speaker detection"},
                "dataset": {
                    "type": "windows-of-own-videos",
                    "name": f"Windows of {language.title} videos, speakers held out"
                    if is_held_out(report)
                    else f"Windows of {language.title} videos",
                    "split": report["split"],
                    "args": about,
                },
                "metrics": results,
            }
        ],
    }


def _data_table(data: Mapping[str, Any] | None, quality: Quality | None) -> str:
    """Say how much it learned from; the names of speakers stay at home."""
    if data is None:
        return NO_DATA
    lines = ["| split | speakers | clips | minutes | windows |", "| --- | --- | --- | --- | --- |"]
    for split, each in data.items():
        minutes = number(each["minutes"])
        lines.append(
            f"| {split} | {len(each['speakers'])} | {each['n_clips']} | {minutes} "
            f"| {each['n_windows']} |"
        )
    n_out = sum(len(each["left_out"]) + len(each["failed"]) for each in data.values())
    lines += ["", "No speaker is in two splits."]
    if n_out:
        lines[-1] += f" {n_out} further clips were left out, or could not be read."
    silence = data.get("training", {}).get("kinds", {}).get("positive", {}).get("silence_percent")
    if silence is not None:
        lines[-1] += f" Of the frames of positive windows, {number(silence)} % are silent."
    if quality is not None:
        lines[-1] += (
            f" The speaker's face is seen in {number(quality.face_percent)} % of the frames of "
            f"all {quality.n_clips} clips, {quality.face_height_pixels:.0f} pixels high (median)."
        )
    return "\n".join(lines)


def _recipe_table(findings: Findings) -> str:
    """Write the settings of the run that do something."""
    if findings.run is None:
        return NO_RECIPE
    lines = ["| setting | value |", "| --- | --- |"]
    for each in fields(TrainingSettings):
        value = findings.run.get(each.name)
        if each.name == "checkpoint":
            value = findings.started_from
        if each.name == "seed" or value not in (None, False, 0, "none"):
            lines.append(f"| `{each.name}` | {value} |")
    result = findings.run.get("result")
    if result:
        best = f"Of its epochs, number {result['best_epoch']} is the best: validation mAP "
        lines += ["", f"{best}{number(result['validation_mAP'])}."]
    return "\n".join(lines)


def _derived_from(place: Place, started_from: str) -> str:
    """Say whose work it is made of, and under which licences."""
    network = f"The network is {place.title} (MIT)."
    if started_from == SCRATCH:
        return f"{network} Its weights were drawn at random and derive from no others."
    if started_from == NO_ORIGIN:
        return f"{network} {NO_ORIGIN}."
    if started_from not in STARTS:
        return f"{network} Its weights derive from {started_from}, whose licence holds too."
    return (
        f"{network} Its weights derive from {_origin(started_from)} "
        f"({'Apache-2.0' if place.key == 'talknet' else 'MIT'})."
    )


def _origin(started_from: str) -> str:
    """Say what it started from, with the address where it is published."""
    if started_from in STARTS:
        return f"{started_from}, {STARTS[started_from].file.url}"
    return "weights drawn at random" if started_from == SCRATCH else started_from


def _interval(pair: list[float] | None) -> str:
    return "too few speakers to tell" if pair is None else f"{pair[0]:.1f} to {pair[1]:.1f}"
