"""What the AnnoTheia toolkit is given of a network: language file, pull request, detector.

What these files and the model card tell is in a `Submission`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from asdtune.core.export.detector_module import (
    DETECTORS_DIR,
    Place,
    detector_module,
    filled,
    registering_patch,
)
from asdtune.core.export.languages import Language
from asdtune.core.export.provenance import NO_LINK, Provenance

PULL_REQUEST = "PULL_REQUEST.md"
_UPSTREAM_NOTE = "UPSTREAM_NOTE.md"
_TOOLKIT_THRESHOLD = 0.04  # what the toolkit's own files have
_HIGHEST = float(np.nextafter(np.float32(1), np.float32(0)))  # a score of 1 is above it
_N_DIGITS = 4


@dataclass(frozen=True)
class Submission:
    """What all files of a submission tell of.

    Attributes:
        language: Of the videos.
        place: Of the network.
        window_size: W, which the network was trained with.
        known: What is known of the checkpoint.
        sha256: Of the checkpoint.
        link: Where it can be downloaded; None while nobody knows.
    """

    language: Language
    place: Place
    window_size: int
    known: Provenance
    sha256: str
    link: str | None

    @property
    def name(self) -> str:
        """Name the checkpoint, without its ending."""
        return f"{self.language.slug}_{self.place.folder.replace('_', '')}_{self.window_size}frames"

    @property
    def title(self) -> str:
        """Name it for people."""
        return f"{self.place.title} for {self.language.title}, {self.window_size} frames"

    @property
    def weights(self) -> str:
        """Where the checkpoint lies in the toolkit."""
        return f"{self.place.weights_dir}/{self.name}.pth"

    @property
    def twin(self) -> str:
        """Where the same tensors lie as safetensors."""
        return self.weights.replace(".pth", ".safetensors")

    @property
    def config(self) -> str:
        """Where the language file lies in the toolkit."""
        return f"configs/annotheia_pipeline_{self.language.slug}.yaml"

    @property
    def words(self) -> dict[str, str]:
        """Give what several files tell, for their templates."""
        return {
            "checkpoint_name": f"{self.name}.pth",
            "checkpoint_path": f"./{self.weights}",
            "checkpoint_sha256": self.sha256,
            "download": self.link or NO_LINK,
            "language": self.language.slug,
            "language_title": self.language.title,
            "network": self.place.title,
            "threshold": _threshold_for_toolkit(self.known.results),
            "twin_name": f"{self.name}.safetensors",
            "window_size": str(self.window_size),
        }


def language_file(submission: Submission) -> str:
    """Write the YAML of the toolkit for a language."""
    return filled(
        "annotheia_pipeline.yaml",
        **submission.words,
        detector=submission.place.key,
        lang=submission.language.code,
    )


def detector_files(submission: Submission) -> dict[str, str]:
    """Write what the toolkit needs for a network it lacks, or a note on how it uses its own."""
    place = submission.place
    if place.sources:
        return {place.module: detector_module(place), place.patch: registering_patch(place)}
    by_itself = _threshold_by_itself(submission.known.results)
    return {_UPSTREAM_NOTE: filled(_UPSTREAM_NOTE, **submission.words, eval_threshold=by_itself)}


def pull_request(submission: Submission, *, results: str) -> str:
    """Write the pull request, and how to open it; `results` as the model card tells them."""
    place = submission.place
    differs = note = apply_patch = ""
    folder = f"{DETECTORS_DIR}/{place.folder}"
    if place.sources:
        differs = "detector, "
        note = f"""
The toolkit has no {place.title} yet: `{place.module}` is its detector,
in one file with the network, and `{place.patch}` registers it.
"""
        apply_patch = f"""\
       git apply FOLDER/{place.patch}     # FOLDER is this one
       mkdir {folder} && cp FOLDER/{place.module} {folder}/
       git add tasks {DETECTORS_DIR}/__init__.py {place.module}
"""
    return filled(
        PULL_REQUEST,
        **submission.words,
        results=results,
        detector_differs=differs,
        detector_note=note,
        apply_patch=apply_patch,
        threshold_note=_origin_of_threshold(submission.known.results),
        toolkit_threshold=str(_TOOLKIT_THRESHOLD),
        whisper_note=whisper_note(submission.language),
    )


def whisper_note(language: Language) -> str:
    """Say what `lang` holds where Whisper has no code for a language; else nothing."""
    if language.variety_of is not None:
        return f"""
Whisper has no code for {language.title}: `lang` holds `{language.code}`, that of \
{language.variety_of}.
"""
    if language.is_in_whisper:
        return ""
    return f"""
Whisper does not know {language.title}: `lang` holds its ISO code `{language.code}`, with which the
recogniser `whisper` stops. Who speaks is found without it; to transcribe, the toolkit needs another
recogniser (models of Meta's MMS know 1,107 languages), in `automatic_speech_recognition` and
`automatic_speech_recognition_conf` of the YAML: name it in the copy that you commit.
"""


def _threshold_for_toolkit(report: Mapping[str, Any] | None) -> str:
    """Give the threshold that was found as the toolkit scores; the toolkit's own without one."""
    found = in_toolkit(report)
    return _written_out(_TOOLKIT_THRESHOLD if found is None else found["threshold"])


def _written_out(threshold: float) -> str:
    """Write a threshold for a YAML file, within [0, 1).

    Four digits of the distance from 0 or from 1, whichever is nearer: a network that is sure of
    itself has its scores close to both. Without an exponent: PyYAML takes `1e-05` for a text.

    Examples:
        >>> _written_out(0.123456), _written_out(0.999961234), _written_out(1.0)
        ('0.1235', '0.99996123', '0.9999999404')
    """
    value = min(max(threshold, 0.0), _HIGHEST)
    distance = min(value, 1 - value)
    if distance > 0:
        value = round(value, _N_DIGITS - 1 - math.floor(math.log10(distance)))
    return np.format_float_positional(value, trim="0")


def _origin_of_threshold(report: Mapping[str, Any] | None) -> str:
    """Say in the pull request where the threshold comes from."""
    found = in_toolkit(report)
    if report is None or found is None:
        return "The threshold is that of the English file: nobody has looked for a better one."
    on = report["checkpoint"].get("in_toolkit", {}).get("found_on", report["split"])
    return (
        f"The threshold was found on clips of the {on} speakers and on silent faces, scored as the "
        "toolkit scores them: half way between speaking and silent frames."
    )


def _threshold_by_itself(report: Mapping[str, Any] | None) -> str:
    """Say which threshold suits the network in eval mode; nothing where nobody knows."""
    found = {} if report is None else report["checkpoint"].get("thresholds", {})
    if not found:
        return ""
    return f"""
For a first idea: on single windows, in eval mode and not smoothed, the threshold of this
checkpoint is {_written_out(found["half_way"]["threshold"])}.
"""


def in_toolkit(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Give the threshold for scores as the toolkit makes them, and what it gives; None of none."""
    found = (report or {}).get("checkpoint", {}).get("thresholds_in_toolkit", {})
    chosen: dict[str, Any] | None = found.get("half_way")
    return chosen
