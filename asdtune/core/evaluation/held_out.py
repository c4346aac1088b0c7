"""Whether a network met the speakers it is judged on, by the record of the run that made it.

What a file is called tells nothing: any split may be a copy of another. `train` writes into
`run.json` which speakers it learned from and which chose the best epoch. Where there is no such
record, as of published weights, the name of the split has to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asdtune.core.corpus import Split
from asdtune.core.evaluation.labelled_clips import LABELS, Evaluated
from asdtune.core.training.run_state import speakers_met

_MET_IN = (Split.TRAINING.value, Split.VALIDATION.value)  # what says least of others comes first
_HOW_MET = {
    Split.TRAINING.value: "it was trained on",
    Split.VALIDATION.value: "that chose its best epoch",
}
_ABOUT_MET = {
    Split.TRAINING.value: "The network was trained on {who}: on others it is worse.",
    Split.VALIDATION.value: "The best epoch was chosen by {who}: on others the network may be "
    "worse.",
}
_UNKNOWN = (
    "These speakers are of {splits}; whether the network met them while it learned is not known."
)
_ABOUT_OTHERS = {
    "run": "By the record of its run, the network met none of these speakers while it learned.",
    "split": "Splits that asdtune makes have no speaker of the test split in training or "
    "validation.",
}


def know_speakers(checkpoint: Path, evaluated: Evaluated) -> dict[str, Any]:
    """Find out, for the report, whether a network met the speakers that it is judged on.

    `speakers_are` is `training` (it was trained on some of them), `validation` (some of them chose
    its best epoch) or `test`; `n_speakers_met` is how many of them that holds for;
    `speakers_known_by` is `run` or `split`.
    """
    judged = {str(name) for name in evaluated.speakers}
    recorded = speakers_met(checkpoint)
    if recorded is None:
        of_split = _split_of(evaluated.about())
        n_met = {split: len(judged) * (split == of_split) for split in _MET_IN}
    else:
        n_met = {split: len(judged.intersection(recorded.get(split, ()))) for split in _MET_IN}
    met_in = next((split for split in _MET_IN if n_met[split]), None)
    return {
        "speakers_are": met_in or Split.TEST.value,
        "n_speakers_met": n_met[met_in] if met_in else 0,
        "speakers_known_by": "split" if recorded is None else "run",
    }


def speakers_are(report: Mapping[str, Any]) -> str:
    """Tell which speakers a report is of: `training`, `validation` or `test`."""
    return str(report.get("speakers_are") or _split_of(report))


def is_held_out(report: Mapping[str, Any]) -> bool:
    """Tell whether the network met none of the speakers while it learned, as far as is known."""
    return speakers_are(report) not in _MET_IN


def about_speakers(report: Mapping[str, Any]) -> str:
    """Say what to think of figures, by the speakers that they are of."""
    if is_held_out(report):
        return _ABOUT_OTHERS[report.get("speakers_known_by", "split")]
    if report.get("speakers_known_by") == "split":
        return _UNKNOWN.format(splits=" and ".join(_splits_of(report)))
    n, n_met = report["n_speakers"], report.get("n_speakers_met")
    who = f"{n_met} of these {n} speakers" if n_met not in (None, n) else "these speakers"
    return _ABOUT_MET[speakers_are(report)].format(who=who)


def whose(report: Mapping[str, Any]) -> str:
    """Name the speakers within a sentence, such as `6 speakers it never met`."""
    n, n_met = report["n_speakers"], report["n_speakers_met"]
    text = "1 speaker" if n == 1 else f"{n} speakers"
    if is_held_out(report):
        return f"{text} it never met" if report["speakers_known_by"] == "run" else text
    if report["speakers_known_by"] == "split":
        return f"{text} of {' and '.join(_splits_of(report))}"
    how = _HOW_MET[speakers_are(report)]
    return f"{text} {how}" if n_met == n else f"{text} ({n_met} {how})"


def _splits_of(about: Mapping[str, Any]) -> list[str]:
    """Name the splits that speakers are in."""
    return list(about.get("splits_of_clips") or [about["split"]])


def _split_of(about: Mapping[str, Any]) -> str:
    """Name the split that speakers are in; of labelled clips in several, the least telling."""
    if about.get("of") != LABELS:
        return str(about["split"])
    splits = about.get("splits_of_clips", ())
    return next((name for name in _MET_IN if name in splits), Split.TEST.value)
