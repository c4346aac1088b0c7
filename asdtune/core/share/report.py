"""`report.html`: what an evaluation found, in one file that needs nothing else.

It is read offline, on a phone, on paper and aloud; there is no script in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
from sklearn.metrics import precision_recall_curve

from asdtune import __version__
from asdtune.core.share.charts import Axis, Line, line_chart, sound_chart, step_chart
from asdtune.core.splits import WindowKind
from asdtune.core.tune.dataset import WindowDataset
from asdtune.core.tune.evaluation import SPEAKERS_OF
from asdtune.core.tune.intervals import N_DRAWS
from asdtune.core.tune.metrics import N_BINS, calibration_bins
from asdtune.core.tune.scoring import Scores

REPORT_HTML = "report.html"
FIGURES = {  # by their key in the report
    "mAP": "mAP over frames", "window_AP": "AP over windows", "ROC_AUC": "ROC AUC, windows",
    "equal_error_rate": "equal error rate", "accuracy": "accuracy at 0.5", "F1": "F1 at 0.5",
    "calibration_error": "calibration error",
}  # fmt: skip
_KINDS = {
    WindowKind.POSITIVE.value: "own sound",
    WindowKind.TEMPORAL.value: "own sound, shifted",
    WindowKind.PARTIAL.value: "sound of another clip of the speaker",
    WindowKind.COMPLETE.value: "sound of another speaker",
}
Choose = Callable[[WindowDataset, "np.ndarray[Any, Any]"], Iterator[int]]
_OF_SPLIT = ("n_windows", "n_clips", "minutes", "kinds", "speakers", "left_out", "failed")
_N_MISTAKES, _N_TYPICAL = 6, 2  # windows that are shown, the latter of each kind
_N_PICTURES, _PICTURE_SIZE = 8, 56  # of a strip
_N_SCORE_BINS = 25


@dataclass(frozen=True)
class Background:
    """What a report tells beside the scores, as far as it is known.

    Attributes:
        epochs: Lines of the run's `metrics.jsonl`.
        data: What the `report.json` of `splits` tells of each split.
    """

    epochs: Sequence[Mapping[str, float]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def read_background(checkpoint: Path, dataset: Path) -> Background:
    """Read what lies beside a checkpoint and a split; nothing of what is not there or broken."""
    try:
        lines = (checkpoint.parents[1] / "metrics.jsonl").read_text().splitlines()
        epochs = [
            {key: float(line[key]) for key in ("epoch", "loss", "validation_mAP")}
            for line in map(json.loads, lines)
        ]
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        epochs = []
    try:
        splits = json.loads((dataset.parent / "report.json").read_bytes())["splits"]
        data = {name: {key: of[key] for key in _OF_SPLIT} for name, of in splits.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        data = {}
    return Background(epochs, data)


def render_report(
    report: Mapping[str, Any],
    windows: WindowDataset,
    scores_of: Mapping[str, Scores],
    background: Background,
) -> str:
    """Write the page.

    Args:
        report: As `evaluate` writes it to `report.json`.
        windows: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).
        background: What else is known.
    """
    new, scores = report["checkpoint"], scores_of["checkpoint"]
    sections = (
        _section("Figures", _figures(report)),
        _section("By kind of window, speaker, size of the face", _breakdown(new)),
        _section("Thresholds", _thresholds(new)),
        _section("Learning", _learning(background.epochs)),
        _section("Precision and recall, scores, calibration", _curves(windows, scores_of)),
        _section("Surest mistakes", _strips(windows, scores, _mistakes)),
        _section("Typical windows of each kind", _strips(windows, scores, _typical)),
        _section("The data", _data(background.data)),
    )  # fmt: skip
    network = new["network"]
    against = f", against {report['baseline']['name']}" if "baseline" in report else ""
    template = (files("asdtune.core.share") / "templates" / REPORT_HTML).read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(f"Who is speaking? {network} on the {report['split']} split"),
        subtitle=escape(
            f"{new['name']}{against}: {report['n_windows']:,} windows of {report['window_size']} "
            f"frames, {report['n_speakers']} speakers; a constant score has a mAP of "
            f"{report['chance_mAP']:.1f}"
        ),
        side=_side(report["difference"]),
        verdict=escape(report["verdict"]),
        body="\n".join(sections),
        speakers=SPEAKERS_OF[report["split"]],
        version=__version__,
        checkpoint=new["blake2b"][:16],
        n_draws=N_DRAWS,
    )


def _section(title: str, parts: Iterable[str]) -> str:
    inside = "\n".join(parts)
    return f"<section>\n<h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def _side(difference: Mapping[str, Any]) -> str:
    of_map = difference.get("mAP", {})
    if of_map.get("low") is None:
        return "unsure"
    return "better" if of_map["low"] > 0 else "worse" if of_map["high"] < 0 else "unsure"


def _figures(report: Mapping[str, Any]) -> Iterator[str]:
    new, old = report["checkpoint"], report.get("baseline")
    header = ["percent", "new", "95 %", *(["baseline", "difference", "95 %"] if old else [])]
    rows = []
    for key, name in FIGURES.items():
        row = [name, number(new[key]), _between(new["intervals"].get(key))]
        if old:
            apart = report["difference"].get(key, {})
            pair = [apart[end] for end in ("low", "high")] if apart.get("low") is not None else None
            is_known = None not in (new[key], old[key])
            row += [
                number(old[key]),
                f"{new[key] - old[key]:+.1f}" if is_known else "",
                _between(pair),
            ]
        rows.append(row)
    caption = "Over all windows; four figures with 95 % intervals over speakers"
    yield _table(caption if new["intervals"]["mAP"] else "Over all windows", header, rows)


def _breakdown(new: Mapping[str, Any]) -> Iterator[str]:
    yield _table(
        "By kind; mAP of the positives against each kind of negative",
        ["kind", "windows", "mAP", "chance", "accuracy", "mean score"],
        [
            [_KINDS[kind], str(entry["n_windows"]),
             *(number(entry.get(key)) for key in ("mAP", "chance_mAP", "accuracy")),
             f"{entry['mean_score']:.2f}"]
            for kind, entry in new["by_kind"].items()
        ],
    )  # fmt: skip
    columns = ["windows", "mAP", "ROC AUC", "accuracy"]
    keys = ("mAP", "ROC_AUC", "accuracy")
    rows = [
        [name, str(entry["n_windows"]), *(number(entry[key]) for key in keys)]
        for name, entry in new["by_speaker"].items()
    ]
    yield _table("By speaker", ["speaker", *columns], rows)
    if new["by_face_height"]:
        rows = [
            [f"{entry['from_pixels']:.0f} to {entry['to_pixels']:.0f}", str(entry["n_windows"]),
             *(number(entry[key]) for key in keys)]
            for entry in new["by_face_height"]
        ]  # fmt: skip
        yield _table("By height of the face in the video", ["pixels", *columns], rows)


def _thresholds(new: Mapping[str, Any]) -> Iterator[str]:
    names = {"best_f1": "best F1", "recall_95": "recall of 95 %"}
    places = {
        "thresholds": "the network by itself",
        "thresholds_in_toolkit": "as the toolkit scores",
    }
    rows = [
        [f"{names[name]}, {place}", f"{each['threshold']:.3f}",
         *(number(each[part]) for part in ("precision", "recall", "f1"))]
        for key, place in places.items()
        for name, each in new.get(key, {}).items()
    ]  # fmt: skip
    if rows:
        yield (
            "<p>The toolkit smooths scores, lays windows side by side, and leaves TalkNet in "
            "training mode: its threshold is another. <code>export-config</code> writes the one "
            "for the best F1 as the toolkit scores. They were found on what they are judged on "
            "here, which flatters them a little.</p>"
        )
        yield _table(
            "Thresholds and what they give",
            ["threshold for", "score", "precision", "recall", "F1"],
            rows,
        )


def _learning(epochs: Sequence[Mapping[str, float]]) -> Iterator[str]:
    if len(epochs) < 2:
        return
    at = np.array([each["epoch"] for each in epochs])
    loss = np.array([each["loss"] for each in epochs])
    found = np.array([each["validation_mAP"] for each in epochs])
    x = Axis("epoch", 1, int(at[-1]))
    best = int(at[found.argmax()])
    yield '<div class="charts">'
    yield _figure(
        line_chart([Line(at, loss, "new")], x, Axis("training loss", 0, _above(loss.max()), 2),
                   label=f"Training loss by epoch, from {loss[0]:.2f} to {loss[-1]:.2f}"),
        "Training loss by epoch.",
    )  # fmt: skip
    yield _figure(
        line_chart([Line(at, found, "new")], x, Axis("validation mAP", 0, 100),
                   label=f"Validation mAP by epoch; best {found.max():.1f} in epoch {best}"),
        f"Validation mAP by epoch. Epoch {best} is the best.",
    )  # fmt: skip
    yield "</div>"


def _curves(windows: WindowDataset, scores_of: Mapping[str, Scores]) -> Iterator[str]:
    labels = np.repeat(windows.labels, windows.window_size)
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
        f"Precision against recall of frames. {_keys(scores_of)} {_key('chance', 'chance')}",
    )  # fmt: skip
    yield _figure(
        line_chart([*_calibration(labels, scores_of, css),
                    Line(percent.ticks(), percent.ticks(), "chance")],
                   Axis("mean score, %", 0, 100), Axis("speaking, %", 0, 100),
                   label="Share of frames with speech against their score"),
        f"How often frames of a score are of a speaker. {_keys(scores_of)} "
        f"{_key('chance', 'well calibrated')}",
    )  # fmt: skip
    edges = np.linspace(0, 1, _N_SCORE_BINS + 1)
    for kind, name in _KINDS.items():
        chosen = windows.kinds == kind
        if not chosen.any():
            continue
        heights = [
            (np.histogram(scores[chosen], edges)[0] / chosen.sum() / windows.window_size * 100,
             css[role])
            for role, scores in scores_of.items()
        ]  # fmt: skip
        top = _above(max(each.max() for each, _ in heights))
        yield _figure(
            step_chart(edges, heights, Axis("score", 0, 1, 2), Axis("frames, %", 0, top, 1),
                       label=f"Scores of windows with {name}"),
            f"Scores of frames: {name}. {_keys(scores_of)}",
        )  # fmt: skip
    yield "</div>"


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


def _mistakes(windows: WindowDataset, means: np.ndarray[Any, Any]) -> Iterator[int]:
    """Give the windows that are furthest on the wrong side."""
    wrong = np.where(windows.labels == 1, 0.5 - means, means - 0.5)
    for i in np.argsort(-wrong, kind="stable")[:_N_MISTAKES].tolist():
        if wrong[i] > 0:
            yield i


def _typical(windows: WindowDataset, means: np.ndarray[Any, Any]) -> Iterator[int]:
    """Give those windows of each kind whose scores are in the middle."""
    for kind in _KINDS:
        rows = np.flatnonzero(windows.kinds == kind)
        order = rows[np.argsort(means[rows], kind="stable")]
        begin = max(0, (len(order) - _N_TYPICAL) // 2)
        yield from order[begin : begin + _N_TYPICAL].tolist()


def _strips(windows: WindowDataset, scores: Scores, choose: Choose) -> Iterator[str]:
    means = scores.mean(1)
    chosen = list(choose(windows, means))
    if chosen:
        yield '<div class="strips">'
        yield from (_strip(windows, i, float(means[i])) for i in chosen)
        yield "</div>"


def _strip(windows: WindowDataset, row: int, score: float) -> str:
    """Show some pictures of a window over its sound."""
    rows = np.array([row])
    crops = windows.crops(rows)[0]
    shown = crops[np.linspace(0, len(crops) - 1, _N_PICTURES).round().astype(int)]
    size = (_PICTURE_SIZE, _PICTURE_SIZE)
    joined = np.hstack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in shown])
    _, jpeg = cv2.imencode(".jpg", joined, [cv2.IMWRITE_JPEG_QUALITY, 80])
    coded = base64.b64encode(jpeg.tobytes())
    voices = windows.voices(rows)
    sound = voices.samples[0] if voices.n_samples[0] else windows.mfcc(rows)[0, :, 0]
    video, audio = windows.video_paths[row].stem, windows.audio_paths[row].stem
    said = "speaking" if score > 0.5 else "not speaking"
    kind = _KINDS[str(windows.kinds[row])]
    text = f"{video}, {kind}" + (f" ({audio})" if audio != video else "")
    width = _N_PICTURES * _PICTURE_SIZE
    return (
        f'<figure class="strip"><img alt="Eight pictures of the face in {escape(video)}" '
        f'width="{width}" height="{_PICTURE_SIZE}" src="data:image/jpeg;base64,{coded.decode()}">'
        f"{sound_chart(sound, width=width, height=36)}"
        f"<figcaption>{escape(text)}: {said}, mean score {score:.2f}</figcaption></figure>"
    )


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    if data:
        rows = [
            [name, str(len(of_split["speakers"])), str(of_split["n_clips"]),
             f"{of_split['minutes']:.1f}", str(of_split["n_windows"]),
             number(of_split["kinds"].get("positive", {}).get("silence_percent"))]
            for name, of_split in data.items()
        ]  # fmt: skip
        header = ["split", "speakers", "clips", "minutes", "windows", "silence in positives, %"]
        yield _table("The splits", header, rows)
    out = [
        [str(entry.get("clip", "")), str(entry.get("problem", ""))]
        for of_split in data.values()
        for entry in (*of_split["left_out"], *of_split["failed"])
    ]
    if out:
        yield _table("Left out", ["clip", "why"], out)


def _table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table whose first column names its rows."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(each)}</td>" for each in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    name = caption or header[0]
    shown = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">'
        f"<table>{shown}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{caption}</figcaption></figure>"


def _keys(scores_of: Mapping[str, Scores]) -> str:
    names = {"checkpoint": ("new", "new network"), "baseline": ("old", "baseline")}
    return " ".join(_key(*names[role]) for role in scores_of)


def _key(css: str, name: str) -> str:
    return f'<span><span class="key {css}" aria-hidden="true"></span>{name}</span>'


def _above(value: float) -> float:
    """Give a round number that is not below."""
    step = 10 ** np.floor(np.log10(max(value, 1e-6)))
    return float(np.ceil(value / step * 2) / 2 * step)


def number(value: float | None) -> str:
    """Write a figure; nothing where there is none."""
    return "" if value is None else f"{value:.1f}"


def _between(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.1f} to {pair[1]:.1f}"
