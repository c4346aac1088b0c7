"""The curves of a report: what training did, and how scores lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from asdtune.core.evaluation.charts import Axis, Line, line_chart, step_chart
from asdtune.core.evaluation.evaluation_sets import EvaluationSet
from asdtune.core.evaluation.labelled_clips import LabelledClips
from asdtune.core.evaluation.strips import KINDS
from asdtune.core.metrics import N_BINS, calibration_bins
from asdtune.core.training.scoring import Scores

_N_SCORE_BINS = 25


def learning_curves(epochs: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Draw training loss and validation score by epoch, where there are two epochs or more."""
    if len(epochs) < 2:
        return
    at = np.array([each["epoch"] for each in epochs])
    loss = np.array([each["loss"] for each in epochs])
    found = np.array([each["validation_score"] for each in epochs])
    x = Axis("epoch", 1, int(at[-1]))
    best = int(at[found.argmax()])
    yield '<div class="charts">'
    yield _figure(
        line_chart([Line(at, loss, "new")], x, Axis("training loss", 0, _above(loss.max()), 2),
                   label=f"Training loss by epoch, from {loss[0]:.2f} to {loss[-1]:.2f}"),
        "Training loss by epoch.",
    )  # fmt: skip
    yield _figure(
        line_chart([Line(at, found, "new")], x, Axis("validation score", 0, 100),
                   label=f"Validation score by epoch; best {found.max():.1f} in epoch {best}"),
        f"Validation score by epoch, the mean of silent faces and sync. Epoch {best} is the best.",
    )  # fmt: skip
    yield "</div>"


def score_curves(evaluated: EvaluationSet, scores_of: Mapping[str, Scores]) -> Iterator[str]:
    """Draw precision against recall, calibration, and how scores are spread; all by frames."""
    labels = evaluated.frame_labels.reshape(-1)
    if len(np.unique(labels)) < 2:
        return
    css = {"checkpoint": "new", "baseline": "old"}
    percent = Axis("", 0, 100)
    yield '<div class="charts">'
    lines = []
    for role, scores in scores_of.items():
        precision, recall, _ = precision_recall_curve(labels, scores.reshape(-1))
        lines.append(Line(recall * 100, precision * 100, css[role]))
    share = 100 * labels.mean()
    chance = Line(np.array([0.0, 100.0]), np.full(2, share), "chance")
    yield _figure(
        line_chart([*lines, chance], Axis("recall, %", 0, 100), Axis("precision, %", 0, 100),
                   label="Precision against recall of frames; " + ", ".join(
                       f"{role}: {100 * np.interp(0.9, *_rising(labels, scores)):.0f} percent "
                       "precise where 90 percent are found" for role, scores in scores_of.items())),
        f"Precision against recall of frames. {legend(scores_of)} {legend_of('chance', 'chance')}",
    )  # fmt: skip
    yield _figure(
        line_chart([*_calibration(labels, scores_of, css),
                    Line(percent.ticks(), percent.ticks(), "chance")],
                   Axis("mean score, %", 0, 100), Axis("speaking, %", 0, 100),
                   label="Share of frames with speech against their score"),
        f"How often frames of a score are of a speaker. {legend(scores_of)} "
        f"{legend_of('chance', 'well calibrated')}",
    )  # fmt: skip
    edges = np.linspace(0, 1, _N_SCORE_BINS + 1)
    for name, chosen in _sorts(evaluated):
        heights = [
            (np.histogram(scores[chosen], edges)[0] / scores[chosen].size * 100, css[role])
            for role, scores in scores_of.items()
        ]
        top = _above(max(each.max() for each, _ in heights))
        yield _figure(
            step_chart(edges, heights, Axis("score", 0, 1, 2), Axis("frames, %", 0, top, 1),
                       label=f"Scores of frames: {name}"),
            f"Scores of frames: {name}. {legend(scores_of)}",
        )  # fmt: skip
    yield "</div>"


def _sorts(evaluated: EvaluationSet) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Give the windows of each kind, or of each label where there are no kinds."""
    sorts = {name: evaluated.kinds == kind for kind, name in KINDS.items()}
    if isinstance(evaluated, LabelledClips):
        sorts = {"speaking": evaluated.labels == 1, "not speaking": evaluated.labels == 0}
    return ((name, chosen) for name, chosen in sorts.items() if chosen.any())


def _rising(
    labels: np.ndarray[Any, Any], scores: Scores
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Give recall, from 0 to 1, and the precision at it."""
    precision, recall, _ = precision_recall_curve(labels, scores.reshape(-1))
    return recall[::-1], precision[::-1]


def _calibration(
    labels: np.ndarray[Any, Any], scores_of: Mapping[str, Scores], css: Mapping[str, str]
) -> Iterator[Line]:
    for role, scores in scores_of.items():
        bins = calibration_bins(labels, scores.reshape(-1))
        seen = bins.n > labels.size / N_BINS / 100  # a handful of frames says nothing
        yield Line(bins.mean_score[seen] * 100, bins.positive_share[seen] * 100, css[role])


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{caption}</figcaption></figure>"


def legend(scores_of: Mapping[str, Scores]) -> str:
    """Explain the lines of the networks."""
    names = {"checkpoint": ("new", "new network"), "baseline": ("old", "baseline")}
    return " ".join(legend_of(*names[role]) for role in scores_of)


def legend_of(css: str, name: str) -> str:
    """Explain a line of a class."""
    return f'<span><span class="key {css}" aria-hidden="true"></span>{name}</span>'


def _above(value: float) -> float:
    """Give a round number that is not below."""
    step = 10 ** np.floor(np.log10(max(value, 1e-6)))
    return float(np.ceil(value / step * 2) / 2 * step)
