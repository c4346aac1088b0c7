"""`report.html`: what an evaluation found, in one file that needs nothing else.

In: the report and the scores that `evaluate` wrote, and what lies beside the checkpoint and the
split. Out: the page. It is read offline, on a phone, on paper and aloud; there is no script in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.evaluation import charts, figures
from asdtune.core.evaluation.bootstrap import N_DRAWS
from asdtune.core.evaluation.charts import Axis, Chart, line_chart
from asdtune.core.evaluation.held_out import about_speakers
from asdtune.core.evaluation.html import render
from asdtune.core.evaluation.labelled_clips import LABELS
from asdtune.core.rates import MFCC_PER_FRAME, SAMPLES_PER_FRAME, VIDEO_FPS
from asdtune.core.training.clips import ClipFiles

_TEMPLATE = "report.html"
_N_MISTAKES = 6  # windows that are shown
_N_TRACES = 12  # clips that are shown, the worst first
_OF_WINDOWS = ["video_path", "audio_path", "video_window_center", "audio_window_center"]


@dataclass(frozen=True)
class Strip:
    """A window as it looks and sounds."""

    name: str  # of the clip
    caption: str  # what it is, and what the network said
    pictures: str  # a JPEG in base64
    sound: str  # the corners of its outline


def render_page(
    report: Mapping[str, Any],
    scores_path: Path,
    *,
    checkpoint: Path,
    dataset: Path,
    failed: Mapping[str, str],
) -> str:
    """Write the page.

    Args:
        report: As `evaluate` wrote it to `report.json`.
        scores_path: As `evaluate` wrote it.
        checkpoint: Its file; of a run, `metrics.jsonl` is in the folder above its own.
        dataset: One of the splits that `splits` wrote, with its `report.json` beside it.
        failed: Why `collect-chunk` or `crops` could not use a video, by its path.
    """
    of_labels = report["of"] == LABELS
    return render(
        _TEMPLATE,
        report=report,
        new=report["checkpoint"],
        old=report.get("baseline"),
        of_labels=of_labels,
        tables=figures,
        notes=list(figures.notes_of(report)),
        curves=learning_curves(checkpoint),
        mistakes=[] if of_labels else list(_mistakes(scores_path, report["window_size"])),
        traces=_traces(scores_path) if of_labels else [],
        data=read_splits(dataset),
        failed=sorted(failed.items()),
        about_speakers=about_speakers(report),
        n_draws=N_DRAWS,
    )


def learning_curves(checkpoint: Path) -> list[Chart]:
    """Draw training loss and validation score by epoch, where a run tells of two or more."""
    try:
        lines = (checkpoint.parents[1] / "metrics.jsonl").read_text().splitlines()
        keys = ("epoch", "loss", "validation_score")
        rows = np.array([[float(line[key]) for key in keys] for line in map(json.loads, lines)])
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return []
    if len(rows) < 2 or rows[-1, 0] <= rows[0, 0]:
        return []
    epoch, loss, score = rows.T
    x, best = Axis("epoch", epoch[0], epoch[-1]), int(epoch[score.argmax()])
    step = 10 ** np.floor(np.log10(max(loss.max(), 1e-6)))
    top = float(np.ceil(loss.max() / step * 2) / 2 * step)  # a round number that is not below
    return [
        line_chart(
            epoch, {"new": loss}, x, Axis("training loss", 0, top, 2),
            caption=f"Training loss by epoch, from {loss[0]:.2f} to {loss[-1]:.2f}.",
        ),
        line_chart(
            epoch, {"new": score}, x, Axis("validation score", 0, 100),
            caption="Validation score by epoch, the mean of silent faces and sync. "
            f"Epoch {best} is the best, with {score.max():.1f}.",
        ),
    ]  # fmt: skip


def read_splits(dataset: Path) -> dict[str, Any]:
    """Read what the `report.json` of `splits` tells; nothing of one that is broken or absent."""
    try:
        splits = json.loads((dataset.parent / "report.json").read_bytes())["splits"]
        return {
            name: {
                "row": [
                    name, str(len(of["speakers"])), str(of["n_clips"]), f"{of['minutes']:.1f}",
                    str(of["n_windows"]),
                ],
                "left_out": [
                    [each["clip"], each["problem"]] for each in (*of["left_out"], *of["failed"])
                ],
            }
            for name, of in splits.items()
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _mistakes(scores_path: Path, window_size: int) -> Iterator[Strip]:
    """Show the windows whose mean scores are furthest on the wrong side."""
    table = pd.read_csv(
        scores_path, usecols=[*_OF_WINDOWS, "label", "kind", "score"], keep_default_na=False,
        dtype=dict.fromkeys(["video_path", "audio_path", "kind"], "category"),
    )  # fmt: skip
    windows, half = table[::window_size], window_size // 2
    means = table["score"].to_numpy().reshape(-1, window_size).mean(1)
    wrong = np.where(windows["label"] == 1, 0.5 - means, means - 0.5)
    clips = ClipFiles()
    for i in np.argsort(-wrong, kind="stable")[:_N_MISTAKES].tolist():
        if wrong[i] <= 0:
            return
        row = windows.iloc[i]
        video, audio = (scores_path.parent / row[name] for name in ("video_path", "audio_path"))
        first = int(row["video_window_center"]) - half
        heard = int(row["audio_window_center"]) - half * MFCC_PER_FRAME  # at 100 per second
        sample = heard * SAMPLES_PER_FRAME // MFCC_PER_FRAME
        sound: npt.NDArray[Any] = clips.waveform(audio)[
            sample : sample + window_size * SAMPLES_PER_FRAME
        ]
        if not len(sound):  # it was not kept
            sound = clips.mfcc(audio)[heard : heard + window_size * MFCC_PER_FRAME, 0]
        of_other = f" ({audio.stem})" if audio.stem != video.stem else ""
        said = "speaking" if means[i] > 0.5 else "not speaking"
        yield Strip(
            video.stem,
            f"{video.stem}, {figures.KINDS[row['kind']]}{of_other}: {said}, "
            f"mean score {means[i]:.2f}",
            charts.picture_strip(np.asarray(clips.crops(video)[first : first + window_size])),
            charts.sound_outline(sound),
        )


def _traces(scores_path: Path) -> list[Chart]:
    """Draw scores over time where somebody has marked who speaks when, the worst clips first."""
    table = pd.read_csv(scores_path, dtype={"clip": str}, keep_default_na=False)
    found = []
    for clip, rows in table.groupby("clip", sort=False):
        n = int(rows["frame"].max()) + 1
        lines = {name: np.full(n, np.nan) for name in ("label", "score")}
        for name, line in lines.items():
            line[rows["frame"]] = rows[name]
        error = float((rows["score"] - rows["label"]).abs().mean())
        chart = line_chart(
            np.arange(n) / VIDEO_FPS, {"marked": lines["label"], "new": lines["score"]},
            Axis("seconds", 0, n / VIDEO_FPS, 1), Axis("score", 0, 1, 2),
            caption=f"{clip}: speech in {100 * rows['label'].mean():.0f} % of what is marked, "
            f"mean error {error:.2f}",
        )  # fmt: skip
        found.append((error, chart))
    return [chart for _, chart in sorted(found, key=lambda each: -each[0])[:_N_TRACES]]
