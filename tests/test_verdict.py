"""The verdict of an evaluation in all its branches, and the figures it speaks of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asdtune.core.evaluation.comparison import compare_networks
from asdtune.core.evaluation.verdict import Verdict, verdict_of
from asdtune.core.metrics import SYNC, WHO, average_precision

Change = tuple[float, float, float | None, float | None]  # new, old, ends of the interval

KEPT, LOST = (97.5, 98.0, -1.5, 0.5), (71.3, 98.0, -30.1, -20.0)
GAINED, UNSURE, WORSE = (80.8, 74.9, 2.0, 9.8), (76.0, 74.9, -2.0, 4.2), (60.0, 74.9, -20.0, -9.8)


def verdict(
    who: Change | None,
    sync: Change | None,
    *,
    n_speakers: int = 8,
    of_labels: bool = False,
    **changed: Any,
) -> Verdict:
    """Give the verdict of a report of which only the abilities are filled in."""
    report: dict[str, Any] = {"checkpoint": {}, "baseline": {"name": "old.pth"}, "difference": {}}
    for key, change in {WHO: who, SYNC: sync}.items():
        new, old, low, high = change or (None,) * 4
        value = None if change is None else new - old
        report["checkpoint"][key], report["baseline"][key] = new, old
        report["difference"][key] = {"value": value, "low": low, "high": high}
    report |= {"by_kind": {} if of_labels else {"positive": {}}, "chance_mAP": 35.0}
    report |= {"n_speakers": n_speakers, **changed.pop("report", {})}
    options = {"whose": "8 speakers it never met", "is_held_out": True, "has_failed": False}
    return verdict_of(report, **{**options, **changed})


def test_what_was_lost_comes_first_and_is_red() -> None:
    found = verdict(LOST, GAINED)
    assert (found.side, found.lost) == ("worse", True)
    assert found.text == (
        "Do not submit this network: on 8 speakers it never met, compared with old.pth, the "
        "network tells silent faces worse (AUC 71.3 against 98.0; 95 % interval of the difference "
        "-30.1 to -20.0) and sync better (AUC 80.8 against 74.9; 95 % interval of the difference "
        "+2.0 to +9.8)."
    )


def test_who_is_speaking_counts_as_lost_from_two_points_on() -> None:
    assert not verdict((96.0, 98.0, -3.0, -1.0), GAINED).lost
    assert verdict((95.9, 98.0, -3.0, -1.0), GAINED).lost
    assert "silent faces slightly worse (" in verdict((97.0, 98.0, -1.5, -0.5), GAINED).text


def test_kept_and_better_is_better() -> None:
    found = verdict(KEPT, GAINED)
    assert (found.side, found.lost) == ("better", False)
    assert found.text.startswith(
        "On 8 speakers it never met, compared with old.pth, the network tells silent faces perhaps "
        "worse (AUC 97.5 against 98.0; "
    )
    assert " and sync better (AUC 80.8 against 74.9; " in found.text


@pytest.mark.parametrize(
    ("sync", "side", "how"),
    [(WORSE, "worse", "worse"), (UNSURE, "unsure", "perhaps better"),
     ((74.9, 74.9, -0.2, 0.2), "unsure", "equally well")],
)  # fmt: skip
def test_kept_but_not_better_is_not_better(sync: Change, side: str, how: str) -> None:
    found = verdict(KEPT, sync)
    assert (found.side, found.lost) == (side, False)
    assert f"sync {how} (" in found.text


def test_few_speakers_are_unsure_and_still_show_a_loss() -> None:
    kept, lost = ((new, 98.0, None, None) for new in (97.5, 71.3))
    gained = (80.8, 74.9, None, None)
    found = verdict(kept, gained, n_speakers=5)
    assert (found.side, found.lost) == ("unsure", False)
    assert "sync perhaps better (AUC 80.8 against 74.9)" in found.text
    assert found.text.endswith("Fewer than 6 speakers do not tell how sure that is.")
    assert verdict(lost, gained, n_speakers=5).text.startswith("Do not submit this network")


def test_nothing_is_claimed_of_speakers_that_it_has_met() -> None:
    assert verdict(KEPT, GAINED, is_held_out=False).side == "unsure"
    assert verdict(LOST, GAINED, is_held_out=False).side == "worse"


def test_without_silent_faces_who_is_speaking_is_not_known() -> None:
    found = verdict(None, GAINED)
    assert (found.side, found.lost) == ("unsure", False)
    assert "the network tells sync better" in found.text
    assert "Whether it tells who is speaking is not known: there are no silent faces" in found.text
    assert "is not known: there are no silent faces" in verdict(
        None, GAINED, report={"difference": {}}
    ).text  # fmt: skip


def test_silent_faces_without_mismatches_decide_by_themselves() -> None:
    assert verdict((98.0, 95.0, 1.0, 5.0), None).side == "better"
    assert "sync" not in verdict(KEPT, None).text


def test_of_one_label_nothing_is_told() -> None:
    for changed in ({}, {"report": {"difference": {}}}):
        found = verdict(None, None, **changed)
        expected = "Nothing can be told on 8 speakers it never met: there is one label only."
        assert found == Verdict("unsure", False, expected)


@pytest.mark.parametrize("has_failed", [False, True])
def test_a_network_by_itself_is_compared_with_chance(has_failed: bool) -> None:
    found = verdict(KEPT, GAINED, report={"difference": {}}, has_failed=has_failed)
    assert (found.side, found.lost) == ("unsure", False)
    assert found.text.startswith(
        "On 8 speakers it never met, the network tells silent faces with AUC 97.5 (chance: 50.0) "
        "and sync with AUC 80.8 (chance: 50.0). "
    )
    assert ("The baseline could not be read." in found.text) == has_failed
    assert ("--baseline" in found.text) != has_failed


@pytest.mark.parametrize(
    ("who", "side", "start"),
    [(LOST, "worse", "Do not submit this network: on 8"), (GAINED, "better", "On 8 speakers"),
     (UNSURE, "unsure", "On 8 speakers")],
)  # fmt: skip
def test_labelled_clips_tell_who_is_speaking_by_map(who: Change, side: str, start: str) -> None:
    found = verdict(who, None, of_labels=True)
    assert found.side == side
    assert found.text.startswith(start)
    assert f"who is speaking {'worse' if who == LOST else ''}" in found.text
    assert f"(mAP {who[0]} against {who[1]}; " in found.text
    assert "silent faces" not in found.text
    alone = verdict(who, None, of_labels=True, report={"difference": {}}).text
    assert f"who is speaking with mAP {who[0]} (chance: 35.0)." in alone


KINDS = ("positive", "temporal_mismatch", "complete_speaker_mismatch", "silent_face")


def scored(kinds: tuple[str, ...], *, n_speakers: int = 8) -> tuple[Any, np.ndarray]:
    """Give windows of these kinds with scores that tell silent faces at chance and sync well."""
    rng = np.random.default_rng(0)
    kind = np.tile(kinds, 6 * n_speakers)
    labels = np.repeat((kind == "positive").astype(np.int64)[:, None], 5, 1)
    labels[::8, :2] = 0  # pauses
    means = np.where(np.isin(kind, ["positive", "silent_face"]), 0.7, 0.3)
    scores = (means + rng.uniform(-0.25, 0.25, len(kind)))[:, None].repeat(5, 1)
    speakers = np.repeat([f"s{i}" for i in range(n_speakers)], 6 * len(kinds))
    evaluated = SimpleNamespace(frame_labels=labels, kinds=kind, speakers=speakers)
    return evaluated, scores.astype(np.float32)


def test_abilities_are_the_auc_of_silent_faces_and_the_mean_of_mismatches() -> None:
    evaluated, scores = scored(KINDS)
    entries, difference = compare_networks(evaluated, {"checkpoint": scores, "baseline": scores})
    judged = entries["checkpoint"]
    of_kind = {kind: entry.get("AUC") for kind, entry in judged["by_kind"].items()}
    assert judged[WHO] == of_kind["silent_face"] < 65
    mean = (of_kind["temporal_mismatch"] + of_kind["complete_speaker_mismatch"]) / 2
    assert judged[SYNC] == pytest.approx(mean)
    assert mean > 90
    for key in (WHO, SYNC):
        low, high = judged["intervals"][key]
        assert low < judged[key] < high
        assert difference[key] == {"value": 0, "low": 0, "high": 0}
    assert judged["intervals"][WHO] == judged["by_kind"]["silent_face"]["intervals"]["AUC"]


@pytest.mark.parametrize(
    ("kinds", "known"),
    [(KINDS[:3], [SYNC]), (("positive", "silent_face"), [WHO]), (("positive",), []),
     (("temporal_mismatch", "silent_face"), [])],
)  # fmt: skip
def test_what_is_not_there_is_not_told(kinds: tuple[str, ...], known: list[str]) -> None:
    evaluated, scores = scored(kinds)
    entries, difference = compare_networks(evaluated, {"checkpoint": scores, "baseline": scores})
    for key in (WHO, SYNC):
        assert (entries["checkpoint"][key] is not None) == (key in known)
        assert (difference[key]["value"] is not None) == (key in known)


def test_labelled_clips_have_one_ability() -> None:
    evaluated, scores = scored(("",))
    evaluated.frame_labels = np.random.default_rng(1).integers(0, 2, scores.shape)
    judged = compare_networks(evaluated, {"checkpoint": scores})[0]["checkpoint"]
    assert judged[WHO] == judged["mAP"]
    assert judged["mAP"] == pytest.approx(average_precision(evaluated.frame_labels, scores))
    assert judged[SYNC] is None
    assert judged["by_kind"] == {}
