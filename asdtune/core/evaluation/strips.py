"""Windows and clips as they look and sound: pictures of the face over their sound or scores."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

import cv2
import numpy as np

from asdtune.core.evaluation.charts import Axis, Line, line_chart, sound_chart
from asdtune.core.evaluation.labelled_clips import LabelledClips
from asdtune.core.evaluation.labels import UNKNOWN
from asdtune.core.rates import seconds_of_frames
from asdtune.core.splits import WindowKind
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.scoring import Scores

KINDS = {
    WindowKind.POSITIVE.value: "own sound",
    WindowKind.TEMPORAL.value: "own sound, shifted",
    WindowKind.PARTIAL.value: "sound of another clip of the speaker",
    WindowKind.COMPLETE.value: "sound of another speaker",
    WindowKind.SILENT.value: "silent face, other sound",
}
Choose = Callable[[WindowDataset, "np.ndarray[Any, Any]"], Iterator[int]]
_N_MISTAKES, _N_TYPICAL = 6, 2  # windows that are shown, the latter of each kind
_N_PICTURES, _PICTURE_SIZE = 8, 56  # of a strip
_N_TRACES = 12  # clips that are shown, the worst first


def traces(clips: LabelledClips, scores_of: Mapping[str, Scores]) -> Iterator[str]:
    """Draw scores over time where somebody has marked who speaks when, the worst clips first."""
    both = {role: list(clips.traces(scores)) for role, scores in scores_of.items()}
    css = {"checkpoint": "new", "baseline": "old"}
    errors = [
        float(np.abs(trace - clip.labels)[clip.labels != UNKNOWN].mean())
        for clip, trace in both["checkpoint"]
    ]
    yield '<div class="charts">'
    for i in np.argsort(-np.array(errors), kind="stable")[:_N_TRACES].tolist():
        clip = both["checkpoint"][i][0]
        length = seconds_of_frames(len(clip.labels))
        seconds = np.linspace(0, length, len(clip.labels), endpoint=False)
        truth = np.where(clip.labels == UNKNOWN, np.nan, clip.labels)
        lines = [Line(seconds, truth, "chance")]
        lines += [Line(seconds, each[i][1], css[role]) for role, each in both.items()]
        spoken = 100 * (clip.labels == 1).sum() / (clip.labels != UNKNOWN).sum()
        text = (
            f"{clip.clip}: speech in {spoken:.0f} % of what is marked, mean error {errors[i]:.2f}"
        )
        chart = line_chart(lines, Axis("seconds", 0, length, 1), Axis("score", 0, 1, 2), label=text)
        yield f"<figure>{chart}<figcaption>{escape(text)}</figcaption></figure>"
    yield "</div>"


def strips(windows: WindowDataset, scores: Scores, choose: Choose) -> Iterator[str]:
    """Show some windows of a split."""
    means = scores.mean(1)
    chosen = list(choose(windows, means))
    if chosen:
        yield '<div class="strips">'
        yield from (_strip(windows, i, float(means[i])) for i in chosen)
        yield "</div>"


def mistakes(windows: WindowDataset, means: np.ndarray[Any, Any]) -> Iterator[int]:
    """Give the windows that are furthest on the wrong side."""
    wrong = np.where(windows.labels == 1, 0.5 - means, means - 0.5)
    for i in np.argsort(-wrong, kind="stable")[:_N_MISTAKES].tolist():
        if wrong[i] > 0:
            yield i


def typical(windows: WindowDataset, means: np.ndarray[Any, Any]) -> Iterator[int]:
    """Give those windows of each kind whose scores are in the middle."""
    for kind in KINDS:
        rows = np.flatnonzero(windows.kinds == kind)
        order = rows[np.argsort(means[rows], kind="stable")]
        begin = max(0, (len(order) - _N_TYPICAL) // 2)
        yield from order[begin : begin + _N_TYPICAL].tolist()


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
    kind = KINDS[str(windows.kinds[row])]
    text = f"{video}, {kind}" + (f" ({audio})" if audio != video else "")
    width = _N_PICTURES * _PICTURE_SIZE
    return (
        f'<figure class="strip"><img alt="Eight pictures of the face in {escape(video)}" '
        f'width="{width}" height="{_PICTURE_SIZE}" src="data:image/jpeg;base64,{coded.decode()}">'
        f"{sound_chart(sound, width=width, height=36)}"
        f"<figcaption>{escape(text)}: {said}, mean score {score:.2f}</figcaption></figure>"
    )
