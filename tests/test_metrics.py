"""Figures of scores against computing them plainly, intervals, and thresholds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from asdtune.core.evaluation.bootstrap import draw_speakers, draws_of, draws_of_kinds, interval_of
from asdtune.core.evaluation.thresholds import find_thresholds, tells_nothing
from asdtune.core.metrics import (
    accuracy,
    area_under_roc,
    auc_by_kind,
    average_precision,
    last_of_equal,
    score_of_kinds,
    sorted_average_precision,
    summarize,
    summarize_kinds,
)
from asdtune.core.windows import MISMATCHES, NEGATIVE_KINDS, WindowKind

N_SIMULATIONS = 400


# A step-by-step rendering of the benchmark's definition, independent of our vectorised one. The
# benchmark's program steps from row to row; here each score is a step, for all rows that have it.


def slow_average_precision(labels: list[int], scores: list[float]) -> float:
    precision, recall = [], []
    for threshold in sorted(set(scores), reverse=True):
        found = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        precision.append(sum(found) / len(found))
        recall.append(sum(found) / sum(labels))
    area, last_recall = 0.0, 0.0
    for i in range(len(precision)):
        area += (recall[i] - last_recall) * max(precision[i:])
        last_recall = recall[i]
    return 100 * area


@pytest.mark.parametrize("name", ["easy", "hard", "rare", "random", "tiny"])
def test_average_precision_equals_the_golden_values(shared: Path, name: str) -> None:
    with np.load(shared / "golden" / "average_precision.npz") as golden:
        found = average_precision(golden[f"{name}_label"], golden[f"{name}_score"])
        assert found == pytest.approx(float(golden[f"{name}_ava_map"]), abs=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40).filter(
        lambda rows: any(label for label, _ in rows)
    )
)
def test_average_precision_equals_its_definition(rows: list[tuple[int, float]]) -> None:
    labels, scores = (list(column) for column in zip(*rows, strict=True))
    expected = slow_average_precision(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-9)


def test_average_precision_of_the_golden_tiny_case() -> None:
    # tiny_* of golden/average_precision.npz
    labels = [1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0]
    scores = [
        0.6146285258991306,
        0.21920545899070837,
        0.7647075852569181,
        0.7897166050729223,
        0.5534662810255614,
        0.9030023797371562,
        0.6864155021069324,
        0.8873100581968556,
        0.6005439432462638,
        0.05332715561367468,
        0.34956469772549337,
        0.06199513834712337,
    ]
    assert average_precision(labels, scores) == pytest.approx(70.63492063492063, abs=1e-9)


def test_average_precision_without_positives_is_nan_and_bad_scores_are_refused() -> None:
    assert np.isnan(average_precision([0, 0], [0.1, 0.2]))
    with pytest.raises(ValueError, match="finite"):
        average_precision([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="2 labels for 3 scores"):
        average_precision([0, 1], [0.1, 0.2, 0.3])


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_accuracy_equals_scikit_learns(rows: list[tuple[int, float]]) -> None:
    labels, scores = map(np.array, zip(*rows, strict=True))
    assert accuracy(labels, scores) == pytest.approx(100 * accuracy_score(labels, scores > 0.5))


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Give labels and scores of 300 windows, with many ties among the scores."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    return labels, np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)


def test_area_under_roc_is_the_share_of_pairs_in_order(
    scored: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = scored
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    share = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert area_under_roc(labels, scores) == pytest.approx(100 * share, abs=1e-9)


@dataclass(frozen=True)
class Windows:
    """Drawn windows of seven speakers who have from 4 to 40 of them, each (N,)."""

    kinds: np.ndarray
    speakers: np.ndarray
    scores: np.ndarray


@pytest.fixture
def drawn() -> Windows:
    rng = np.random.default_rng(0)
    speakers = np.repeat([*"abcdefg"], [4, 7, 10, 12, 20, 33, 40])
    kinds = rng.choice([kind.value for kind in WindowKind], len(speakers))
    scores = rng.normal(kinds == "positive", 1).round(1)  # many are equal
    return Windows(kinds, speakers, scores)


def test_auc_of_a_kind_equals_scikit_learns_with_weights(drawn: Windows) -> None:
    found = auc_by_kind(drawn.kinds, drawn.speakers, drawn.scores)
    assert [*found] == [kind.value for kind in NEGATIVE_KINDS]
    n_of = Counter(zip(drawn.kinds, drawn.speakers, strict=True))
    weights = np.array([1 / n_of[each] for each in zip(drawn.kinds, drawn.speakers, strict=True)])
    for kind, auc in found.items():
        rows = (drawn.kinds == kind) | (drawn.kinds == "positive")
        expected = roc_auc_score(
            drawn.kinds[rows] == "positive", drawn.scores[rows], sample_weight=weights[rows]
        )
        assert auc == pytest.approx(100 * expected, abs=1e-9)


def test_a_speaker_with_many_windows_counts_as_one_with_few(drawn: Windows) -> None:
    is_positive, of_c = drawn.kinds == "positive", drawn.speakers == "c"
    one, more = (np.where(of_c, times, 1) for times in (1, 50))
    once, often = (
        auc_by_kind(*(np.repeat(each, n) for each in (drawn.kinds, drawn.speakers, drawn.scores)))
        for n in (one, more)
    )
    assert often == pytest.approx(once, abs=1e-9)
    assert area_under_roc(is_positive, drawn.scores, more) != pytest.approx(
        area_under_roc(is_positive, drawn.scores)
    )


def test_kinds_that_are_not_there_have_no_auc(drawn: Windows) -> None:
    labels = np.repeat((drawn.kinds == "positive")[:, None], 5, 1)
    scores = np.repeat(drawn.scores[:, None], 5, 1)
    rows = np.isin(drawn.kinds, ["positive", "temporal_mismatch"])
    found = summarize_kinds(drawn.kinds[rows], drawn.speakers[rows], labels[rows], scores[rows])
    assert found.keys() == {"positive", "temporal_mismatch"}
    assert "AUC" not in found["positive"]
    rows = drawn.kinds == "temporal_mismatch"
    found = summarize_kinds(drawn.kinds[rows], drawn.speakers[rows], labels[rows], scores[rows])
    assert np.isnan(found["temporal_mismatch"]["AUC"])  # nothing to tell them from


def test_the_score_of_an_epoch_is_low_where_silent_faces_are_at_chance() -> None:
    def score(silent: float, *mismatches: float) -> float:
        of = dict(zip(MISMATCHES, mismatches, strict=False), silent_face=silent)
        return score_of_kinds({str(kind): {"AUC": auc} for kind, auc in of.items()})

    assert score(50, 100, 100, 100) == 75
    assert score(50, 100, 100, 100) < score(90, 70, 70, 70)  # though its mean over kinds is higher
    assert score(90, 60, 70, 80) == pytest.approx((90 + 70) / 2)
    assert score_of_kinds({"temporal_mismatch": {"AUC": 60}, "positive": {}}) == 60
    assert np.isnan(score_of_kinds({"positive": {}}))


def test_scores_of_one_label_have_no_curve() -> None:
    scores = np.array([[0.2, 0.9], [0.4, 0.1]])
    found = summarize(np.zeros((2, 2), int), scores)
    assert np.isnan(found["mAP"])
    assert found["accuracy"] == 75


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=1))
def test_counts_stand_for_copies(rows: list[tuple[bool, int, int]]) -> None:
    hits, scores, counts = (np.array(column) for column in zip(*rows, strict=True))
    copies = [np.repeat(each, counts) for each in (hits, scores)]
    order = np.argsort(-scores, kind="stable")
    got = sorted_average_precision(hits[order], counts[order], last_of_equal(scores[order]))
    assert got == pytest.approx(average_precision(*copies), nan_ok=True)
    got = area_under_roc(hits, scores, counts)
    assert got == pytest.approx(area_under_roc(*copies), nan_ok=True)


def test_draws_are_the_figures_of_the_windows_drawn() -> None:
    rng = np.random.default_rng(0)
    speakers, labels = np.repeat(["a", "b", "c", "d"], 6), rng.integers(0, 2, (24, 5))
    scores = rng.uniform(size=(24, 5)).round(1)  # many are equal
    draws = draw_speakers(speakers, n_draws=20)
    drawn = draws_of(labels, scores, draws)
    sizes = [count.sum() for count in draws]
    assert sizes == [24] * 20 + [18] * 4  # as many windows; and all but those of one speaker
    for i, count in enumerate(draws):
        assert all(len(set(count[speakers == name])) == 1 for name in "abcd")
        rows = np.repeat(np.arange(24), count)
        expected = summarize(labels[rows], scores[rows])
        for name, figures in drawn.items():
            assert figures[i] == pytest.approx(expected[name], nan_ok=True)


def test_draws_of_kinds_are_the_figures_of_the_speakers_drawn(drawn: Windows) -> None:
    scores = np.repeat(drawn.scores[:, None], 5, 1)
    draws = draw_speakers(drawn.speakers, n_draws=20)
    found = draws_of_kinds(drawn.kinds, drawn.speakers, scores, draws)
    for i, count in enumerate(draws):
        rows = np.repeat(np.arange(len(count)), count)
        copies = np.concatenate([np.arange(n) for n in count])  # who is drawn twice is two
        speakers = np.char.add(drawn.speakers[rows], copies.astype(str))
        expected = auc_by_kind(drawn.kinds[rows], speakers, drawn.scores[rows])
        for kind, figures in found.items():
            assert figures[i] == pytest.approx(expected.get(kind, np.nan), nan_ok=True)


@pytest.mark.parametrize("n_speakers", [6, 20])
def test_intervals_hold_a_known_difference_as_often_as_they_say(n_speakers: int) -> None:
    # Two networks, of which one is right in 60 %, the other in 70 % of windows, on speakers of
    # whom some are harder, for both, and with whom the gain differs.
    rng = np.random.default_rng(0)
    n_windows, n_held = 12, 0
    speakers = np.repeat(np.arange(n_speakers), n_windows).astype(str)
    for i in range(N_SIMULATIONS):
        hardness = rng.uniform(-0.15, 0.15, n_speakers)
        gain = rng.uniform(-0.1, 0.1, n_speakers)
        is_right = [
            rng.random((n_speakers, n_windows)) < share[:, None]
            for share in (0.6 + hardness, 0.7 + hardness + gain)
        ]
        difference = is_right[1].reshape(-1).astype(float) - is_right[0].reshape(-1)
        draws = draw_speakers(speakers, n_draws=500, seed=i)
        figures = np.array([count @ difference / count.sum() for count in draws])
        found = interval_of(difference.mean(), figures, n_speakers, least=-100)
        assert found is not None
        n_held += found[0] <= 0.1 <= found[1]
    assert 0.93 <= n_held / N_SIMULATIONS <= 0.97


@pytest.mark.parametrize("n_speakers", [6, 20])
def test_intervals_of_mean_average_precision_hold_a_known_difference(n_speakers: int) -> None:
    labels, _, scores = _two_networks(20_000, np.random.default_rng(1))
    known = _difference_of(labels, scores, np.ones(len(labels), np.int64))
    rng, n_held = np.random.default_rng(0), 0
    for i in range(N_SIMULATIONS):
        labels, speakers, scores = _two_networks(n_speakers, rng)
        draws = draw_speakers(speakers, n_draws=200, seed=i)
        figures = np.array([_difference_of(labels, scores, count) for count in draws])
        value = _difference_of(labels, scores, np.ones(len(labels), np.int64))
        found = interval_of(value, figures, n_speakers, least=-100)
        assert found is not None
        n_held += found[0] <= known <= found[1]
    assert 0.93 <= n_held / N_SIMULATIONS <= 0.97


def _two_networks(
    n_speakers: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Give 48 windows of each speaker: labels, speakers, and the scores of a network and a better.

    Some speakers are harder, some score higher throughout, and the gain differs; what makes a
    window hard is partly the same for both networks.
    """
    labels = np.tile(np.arange(48) % 2, (n_speakers, 1))
    hardness, offset, gain = rng.normal(0, [[[0.5]], [[0.5]], [[0.3]]], (3, n_speakers, 1))
    of_both, *own = rng.normal(0, 0.7, (3, *labels.shape))
    sides = 2 * labels - 1
    scores = [
        sides * (edge + hardness) / 2 + offset + of_both + noise
        for edge, noise in zip((1.0, 1.6 + gain), own, strict=True)
    ]
    speakers = np.repeat(np.arange(n_speakers), 48).astype(str)
    return labels.ravel(), speakers, (scores[0].ravel(), scores[1].ravel())


def _difference_of(
    labels: np.ndarray, scores: tuple[np.ndarray, np.ndarray], count: np.ndarray
) -> float:
    every = np.arange(len(labels))  # no two scores are equal
    orders = [np.argsort(-each, kind="stable") for each in scores]
    old, new = (sorted_average_precision(labels[each] == 1, count[each], every) for each in orders)
    return new - old


def test_few_speakers_give_no_interval() -> None:
    rng = np.random.default_rng(0)
    assert interval_of(1.0, rng.normal(size=10), 5) is None
    assert interval_of(1.0, np.full(10, np.nan), 6) is None
    assert interval_of(np.nan, rng.normal(size=10), 6) is None


def test_thresholds_are_half_way_and_the_highest_with_the_recall(
    scored: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = scored
    found = find_thresholds(labels, scores)
    odds = np.log(scores.clip(1e-6) / (1 - scores).clip(1e-6))
    means = [odds[labels == label].mean() for label in (0, 1)]
    assert found["half_way"].threshold == pytest.approx(1 / (1 + np.exp(-np.mean(means))))
    is_counted = scores > found["half_way"].threshold
    assert found["half_way"].f1 == pytest.approx(100 * f1_score(labels, is_counted))
    candidates = np.linspace(-0.005, 0.995, 101)  # between any two scores of two digits
    reached = [each for each in candidates if (scores > each)[labels == 1].mean() >= 0.95]
    assert found["recall_95"].threshold == pytest.approx(max(reached), abs=0.0051)
    assert (scores > found["recall_95"].threshold)[labels == 1].mean() * 100 == pytest.approx(
        found["recall_95"].recall
    )
    for each in found.values():
        is_counted = scores > each.threshold
        assert each.accuracy == pytest.approx(accuracy(labels, scores, each.threshold))
        assert each.counted == pytest.approx(100 * is_counted.mean())
        assert not tells_nothing(asdict(each))
    for label in (0, 1):
        assert find_thresholds(np.full(3, label), np.ones(3)) == {}


def test_a_threshold_below_all_scores_tells_nothing() -> None:
    found = find_thresholds(np.array([0, 1, 1, 0]), np.full(4, 0.7))["recall_95"]
    assert (found.recall, found.precision, found.counted, found.accuracy) == (100, 50, 100, 50)
    assert tells_nothing(asdict(found))


def test_a_score_of_zero_is_above_a_threshold_that_must_find_it() -> None:
    labels, scores = np.array([1, 1, 0]), np.array([0.0, 0.0, 0.5])
    found = find_thresholds(labels, scores)["recall_95"]
    assert (scores > found.threshold)[labels == 1].mean() * 100 == found.recall == 100
