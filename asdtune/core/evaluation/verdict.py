"""The verdict of an evaluation: the sentence with which every report begins.

It speaks of both abilities, of who is speaking first. A network that gains sync and loses who is
speaking is useless to the toolkit: the verdict says so before all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asdtune.core.evaluation.bootstrap import MIN_SPEAKERS
from asdtune.core.metrics import SYNC, WHO

MAX_LOSS = 2.0  # points by which who is speaking may be told worse than before
_NO_SILENT_FACES = (
    "Whether it tells who is speaking is not known: there are no silent faces to judge it by."
)
_NOT_COMPARED = "Name another network with --baseline to compare it with."


@dataclass(frozen=True)
class Verdict:
    """What an evaluation comes to.

    Attributes:
        side: `better`, `worse`, or `unsure`.
        lost: It tells who is speaking worse than before: it must not be submitted.
        text: That in words; what was lost comes first.
    """

    side: str
    lost: bool
    text: str


def verdict_of(
    report: dict[str, Any], *, whose: str, is_held_out: bool, has_failed: bool
) -> Verdict:
    """Say whether a network is better than the one it is compared with, and how sure that is.

    Args:
        report: What `evaluate` found.
        whose: The speakers it was judged on, such as `6 speakers it never met`.
        is_held_out: The network met none of them while it learned, as far as is known.
        has_failed: The other network could not be read.
    """
    known = [key for key in (WHO, SYNC) if report["checkpoint"][key] is not None]
    if not known:
        return Verdict("unsure", False, f"Nothing can be told on {whose}: there is one label only.")
    closing = "" if WHO in known else f" {_NO_SILENT_FACES}"
    if not report["difference"]:
        told = " and ".join(_alone(report, key) for key in known)
        next_step = "The baseline could not be read." if has_failed else _NOT_COMPARED
        text = f"On {whose}, the network tells {told}.{closing} {next_step}"
        return Verdict("unsure", False, text)

    if report["n_speakers"] < MIN_SPEAKERS:
        closing += f" Fewer than {MIN_SPEAKERS} speakers do not tell how sure that is."
    told = " and ".join(_compared(report, key) for key in known)
    told = f"compared with {report['baseline']['name']}, the network tells {told}.{closing}"
    if _is_lost(report):
        return Verdict("worse", True, f"Do not submit this network: on {whose}, {told}")
    side = _side(report["difference"][known[-1]])  # of sync, where it is known
    is_claim = is_held_out and WHO in known
    return Verdict(side if is_claim else "unsure", False, f"On {whose}, {told}")


def _is_lost(report: dict[str, Any]) -> bool:
    """Tell whether who is speaking is told worse than before, by more than is borne."""
    apart = report["difference"][WHO]["value"]
    return apart is not None and bool(apart < -MAX_LOSS)


def _side(difference: dict[str, Any]) -> str:
    """Tell whether a difference is sure; of fewer than six speakers nothing is."""
    if difference["low"] is None:
        return "unsure"
    return "better" if difference["low"] > 0 else "worse" if difference["high"] < 0 else "unsure"


def _alone(report: dict[str, Any], key: str) -> str:
    """Write an ability of a network that is compared with nothing but chance."""
    name, figure, chance = _named(report, key)
    return f"{name} with {figure} {report['checkpoint'][key]:.1f} (chance: {chance:.1f})"


def _compared(report: dict[str, Any], key: str) -> str:
    """Write an ability of both networks, and how sure their difference is."""
    name, figure, _ = _named(report, key)
    apart = report["difference"][key]
    text = f"{figure} {report['checkpoint'][key]:.1f} against {report['baseline'][key]:.1f}"
    if apart["low"] is not None:
        text += f"; 95 % interval of the difference {apart['low']:+.1f} to {apart['high']:+.1f}"
    return f"{name} {_how(report, key)} ({text})"


def _how(report: dict[str, Any], key: str) -> str:
    """Choose the word for a difference: one that is not sure is told as such."""
    apart = report["difference"][key]
    if key == WHO and _is_lost(report):
        return "worse"
    side = _side(apart)
    if side != "unsure":
        return "slightly worse" if key == WHO and side == "worse" else side
    if round(apart["value"], 1) == 0:
        return "equally well"
    return "perhaps better" if apart["value"] > 0 else "perhaps worse"


def _named(report: dict[str, Any], key: str) -> tuple[str, str, float]:
    """Name an ability, its figure, and what chance gives."""
    if report["by_kind"]:
        return ("silent faces" if key == WHO else "sync"), "AUC", 50.0
    return "who is speaking", "mAP", report["chance_mAP"]
