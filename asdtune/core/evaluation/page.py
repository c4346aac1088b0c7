"""`report.html`: what an evaluation found, in one file that needs nothing else.

It is read offline, on a phone, on paper and aloud; there is no script in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from itertools import chain
from pathlib import Path
from string import Template
from typing import Any

from asdtune import __version__
from asdtune.core.evaluation.bootstrap import N_DRAWS
from asdtune.core.evaluation.curves import learning_curves, legend, legend_of, score_curves
from asdtune.core.evaluation.evaluation_sets import EvaluationSet, SplitWindows
from asdtune.core.evaluation.figures import between, figures_table, number
from asdtune.core.evaluation.held_out import about_speakers, is_held_out
from asdtune.core.evaluation.labelled_clips import LABELS, LabelledClips
from asdtune.core.evaluation.strips import KINDS, mistakes, strips, traces, typical
from asdtune.core.evaluation.thresholds import tells_nothing
from asdtune.core.prepare.failures import Failure, read_failures
from asdtune.core.training.scoring import Scores

REPORT_HTML = "report.html"  # the template

_PARTS = {"mAP": "mAP", "accuracy": "accuracy"}  # of speakers
_LOOKS = ("silence_percent", "padding_percent", "motion", "shortcut_AUC")
_OF_SPLIT = ("n_windows", "n_clips", "minutes", "kinds", "speakers", "left_out", "failed")


@dataclass(frozen=True)
class Background:
    """What a report tells beside the scores, as far as it is known.

    Attributes:
        epochs: Lines of the run's `metrics.jsonl`.
        data: What the `report.json` of `splits` tells of each split.
        failures: What the stages before could not do.
    """

    epochs: Sequence[Mapping[str, float]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    failures: Sequence[Failure] = ()


def read_background(checkpoint: Path, dataset: Path, *, made_in: Mapping[str, Path]) -> Background:
    """Read what lies beside a checkpoint and a split; nothing of what is not there or broken.

    Args:
        checkpoint: A checkpoint of a run.
        dataset: One of the splits that `splits` wrote.
        made_in: The folders of outputs of the stages before, by stage.
    """
    try:
        lines = (checkpoint.parents[1] / "metrics.jsonl").read_text().splitlines()
        epochs = [
            {key: float(line[key]) for key in ("epoch", "loss", "validation_score")}
            for line in map(json.loads, lines)
        ]
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        epochs = []
    try:
        splits = json.loads((dataset.parent / "report.json").read_bytes())["splits"]
        data = {
            name: {**{key: of[key] for key in _OF_SPLIT}, "pauses": of.get("pauses", {})}
            for name, of in splits.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        data = {}
    failures = [
        failure for stage, folder in made_in.items() for failure in read_failures(folder, stage)
    ]
    return Background(epochs, data, failures)


def render_report(
    report: Mapping[str, Any],
    evaluated: EvaluationSet,
    scores_of: Mapping[str, Scores],
    background: Background,
) -> str:
    """Write the page.

    Args:
        report: As `evaluate` writes it to `report.json`.
        evaluated: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).
        background: What else is known.
    """
    new, old = report["checkpoint"], report.get("baseline")
    if report.get("of") == LABELS:
        where, unit = "labelled clips", "frames"
        what = f"{report['n_frames']:,} frames of {report['n_clips']} clips"
    else:
        where, unit = f"the {report['split']} split", "windows"
        what = f"{report['n_windows']:,} windows of {report['window_size']} frames"
    sections = (
        _section("Figures", _figures(report)),
        _section("Where it is good, and where not", _breakdown(new, old, unit)),
        _section("Thresholds", _thresholds(new, old or {})),
        _section("Learning", learning_curves(background.epochs)),
        _section("Precision and recall, scores, calibration", score_curves(evaluated, scores_of)),
        *_examples(evaluated, scores_of),
        _section("The data", _data(background)),
    )  # fmt: skip
    against = f", against {old['name']}" if old else ""
    template = (files("asdtune.core.evaluation") / "templates" / REPORT_HTML).read_text(
        encoding="utf-8"
    )
    return Template(template).substitute(
        title=escape(f"Who is speaking? {new['network']} on {where}"),
        subtitle=escape(
            f"{new['name']}{against}: {what}, {report['n_speakers']} speakers; a constant score "
            f"has a mAP of {report['chance_mAP']:.1f}"
        ),
        side=report["verdict"]["side"],
        verdict=escape(report["verdict"]["text"]),
        body="\n".join(sections),
        caveat=_caveat(report),
        speakers=about_speakers(report) if is_held_out(report) else "",
        version=__version__,
        checkpoint=new["blake2b"][:16],
        n_draws=N_DRAWS,
    )


def _examples(evaluated: EvaluationSet, scores_of: Mapping[str, Scores]) -> Iterator[str]:
    """Show what was scored: strips of windows, or whole clips over time."""
    if isinstance(evaluated, SplitWindows):
        windows, scores = evaluated.windows, scores_of["checkpoint"]
        yield _section("Surest mistakes", strips(windows, scores, mistakes))
        yield _section("Typical windows of each kind", strips(windows, scores, typical))
    if isinstance(evaluated, LabelledClips):
        explained = f"<p>{legend(scores_of)} {legend_of('chance', 'as marked')}</p>"
        yield _section(
            "Scores over time, the worst clips first", [explained, *traces(evaluated, scores_of)]
        )


def _section(title: str, parts: Iterable[str]) -> str:
    inside = "\n".join(parts)
    return f"<section>\n<h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def _caveat(report: Mapping[str, Any]) -> str:
    """Say where everybody sees it that the speakers are none that the network never met."""
    if is_held_out(report):
        return ""
    return f'<p class="caveat"><strong>{escape(about_speakers(report))}</strong></p>'


def _figures(report: Mapping[str, Any]) -> Iterator[str]:
    """Lay out all figures; who is speaking and sync, each beside the baseline, come first."""
    header, *rows = figures_table(report)
    has_intervals = any(report["checkpoint"]["intervals"].values())
    caption = "Over everything" + (", with 95 % intervals over speakers" if has_intervals else "")
    yield _table(caption, header, rows)
    if report["by_kind"]:
        yield (
            "<p>Silent faces: how often a window of somebody who speaks scores higher than one of "
            "somebody who is silent while another voice, or none, is heard. Sync: how often it "
            "scores higher than one whose sound does not belong to the lips. Chance gives 50. In a "
            "conversation silent faces matter most.</p>"
        )


def _breakdown(new: Mapping[str, Any], old: Mapping[str, Any] | None, unit: str) -> Iterator[str]:
    """Lay out figures by kind and by speaker, those of the baseline beside."""
    if new["by_kind"]:
        yield _kinds(new["by_kind"], {} if old is None else old["by_kind"])
    beside = ["baseline"] * (old is not None)
    header = [*chain.from_iterable((name, *beside) for name in _PARTS.values()), unit]
    rows = [
        [name, *_parts(entry, old and old["by_speaker"][name])]
        for name, entry in new["by_speaker"].items()
    ]
    yield _table("By speaker", ["speaker", *header], rows)


def _kinds(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    pairs = {kind: entry.get("intervals", {}).get("AUC") for kind, entry in new.items()}
    intervals, baseline = ["95 %"] * any(pairs.values()), ["baseline"] * bool(old)
    header = ["kind", "AUC", *baseline, *intervals, "accuracy", *baseline, "mean score", "windows"]
    rows = []
    for kind, entry in new.items():
        of_auc, of_accuracy = (_beside(entry, old.get(kind), key) for key in ("AUC", "accuracy"))
        interval = [between(pairs[kind])] * len(intervals)
        last = [f"{entry['mean_score']:.2f}", str(entry["n_windows"])]
        rows.append([KINDS[kind], *of_auc, *interval, *of_accuracy, *last])
    return _table("By kind; AUC of own sound against each other kind (chance: 50)", header, rows)


def _parts(entry: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[str]:
    """Write what is told of a speaker."""
    figures = (_beside(entry, old, key) for key in _PARTS)
    return [*chain.from_iterable(figures), str(entry["n_windows"])]


def _beside(new: Mapping[str, Any], old: Mapping[str, Any] | None, key: str) -> list[str]:
    """Write a figure, and that of the baseline where there is one."""
    return [number(each.get(key)) for each in (new, old) if each is not None]


def _thresholds(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    names = {
        "half_way": "half way between speaking and silent",
        "recall_95": "recall of 95 %",
    }
    places = {
        f"{'new network' if old else 'the network'} by itself": new.get("thresholds", {}),
        "baseline by itself": old.get("thresholds", {}),
        "as the toolkit scores": new.get("thresholds_in_toolkit", {}),
    }
    rows = [
        [f"{names[name]}, {place}", f"{each['threshold']:.3f}",
         *(number(each.get(part)) for part in ("precision", "recall", "f1", "accuracy"))]
        for place, thresholds in places.items()
        for name, each in thresholds.items()
    ]  # fmt: skip
    if not rows:
        return
    about = _about_thresholds(new.get("thresholds_in_toolkit", {}), new.get("in_toolkit"))
    yield f"<p>{escape(about)}</p>"
    yield from (
        f'<p class="caveat">At the threshold half way, {place}, all frames or none count as '
        "speaking: nothing is told apart there.</p>"
        for place, thresholds in places.items()
        if "half_way" in thresholds and tells_nothing(thresholds["half_way"])
    )
    yield _table(
        "Thresholds and what they give, in percent",
        ["threshold for", "score", "precision", "recall", "F1", "accuracy"],
        rows,
    )


def _about_thresholds(found: Mapping[str, Any], in_toolkit: Mapping[str, Any] | None) -> str:
    """Say what the thresholds are of, and what those for the toolkit were found on."""
    text = (
        "The toolkit smooths scores, lays windows side by side, and leaves TalkNet in training "
        "mode: it needs another threshold than the network by itself. "
    )
    if in_toolkit is None:
        return f"{text}Nobody has looked for it: give --toolkit-clips."
    found_on = in_toolkit["found_on"]
    where = "labelled clips" if found_on == LABELS else f"the split {found_on}"
    if not found:
        return f"{text}None was found: all frames of {where} have the same label."
    return (
        f"{text}It was found on {in_toolkit['n_frames_found_on']:,} frames of {where}, and is "
        f"judged here on {in_toolkit['n_frames']:,} frames; export-config writes the one half "
        "way. Thresholds of a network by itself are judged on what they were found on, which "
        "flatters them a little."
    )


def _data(background: Background) -> Iterator[str]:
    data = background.data
    if data:
        rows = [
            [name, str(len(of_split["speakers"])), str(of_split["n_clips"]),
             f"{of_split['minutes']:.1f}", str(of_split["n_windows"]),
             str(of_split.get("pauses", {}).get("n_pauses", ""))]
            for name, of_split in data.items()
        ]  # fmt: skip
        header = ["split", "speakers", "clips", "minutes", "windows", "pauses"]
        yield _table("The splits", header, rows)
        yield _table(
            "What windows are like: silence and padding of their sound, motion of their pictures, "
            "and how well these alone tell a kind from positives (AUC; 50 is not at all)",
            ["split and kind", "windows", "silence, %", "padding, %", "motion", "AUC"],
            [
                [f"{name}, {KINDS[kind]}", str(of_kind["n_windows"]),
                 *(number(of_kind.get(key)) for key in _LOOKS)]
                for name, of_split in data.items()
                for kind, of_kind in of_split["kinds"].items()
            ],
        )  # fmt: skip
    out = [[failure.name, failure.stage, failure.problem] for failure in background.failures]
    told = {failure.clip for failure in background.failures}
    out += [
        [str(entry.get("clip", "")), "splits", str(entry.get("problem", ""))]
        for of_split in data.values()
        for entry in (*of_split["left_out"], *of_split["failed"])
        if entry.get("clip") not in told  # what is missing there, an earlier stage could not make
    ]
    if out:
        yield _table("Left out", ["video or clip", "by", "why"], out, is_text=True)


def _table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, is_text: bool = False
) -> str:
    """Lay out a table whose first column names its rows; the others hold figures, or text."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(each)}</td>" for each in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    name = caption or header[0]
    shown = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = ' class="text"' if is_text else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">'
        f"<table{kind}>{shown}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )
