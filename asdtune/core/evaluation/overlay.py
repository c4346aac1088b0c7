"""Boxes, scores and a trace over time, painted on the pictures of a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.prepare.chunk_writer import SoundQueue, write_chunk
from asdtune.core.prepare.media import read_audio, read_frames
from asdtune.core.prepare.pictures import shrink
from asdtune.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS

Picture = npt.NDArray[np.uint8]  # (H, W, 3), blue-green-red
Face = tuple[int, npt.NDArray[np.float32], float]  # person, box in pixels of the video, score

_LONGEST_SIDE = 960
_N_THREADS = 2  # that encode while the next pictures are drawn
_SECONDS_AROUND = 4  # of the trace, before and behind the present
_SPEAKING, _SILENT, _TEXT = (80, 200, 60), (190, 190, 190), (255, 255, 255)
_PEOPLE = ((60, 160, 255), (255, 160, 60), (200, 100, 220), (60, 220, 220), (180, 180, 255))
_BACK, _RULE = (32, 28, 26), (90, 84, 80)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_preview(
    video: Path, target: Path, faces: pd.DataFrame, n_frames: int, *, threshold: float, crf: int
) -> Iterator[int]:
    """Write a video with its faces marked, and with its own sound.

    Args:
        video: What to draw on.
        target: An mp4: H.264 at 25 frames per second, at most 960 pixels wide or high without
            the trace, and AAC.
        faces: Columns frame, person (from 1), x0, y0, x1, y1 in pixels of the video, score.
        n_frames: Of the video.
        threshold: From which score on a person speaks.
        crf: Quality of the pictures, as x264 counts it; less is better.

    Yields:
        How many frames are drawn.
    """
    lines = np.full((faces.person.max(), n_frames), np.nan, np.float32)  # scores over time
    lines[faces.person - 1, faces.frame] = faces.score
    of_frame: list[list[Face]] = [[] for _ in range(n_frames)]
    columns = (faces[name] for name in ("frame", "person", "x0", "y0", "x1", "y1", "score"))
    for i, person, *box, score in zip(*columns, strict=True):
        of_frame[i].append((person, np.array(box, np.float32), score))
    pictures = (
        _composed(shrink(frame, _LONGEST_SIDE), frame.width, of_frame[i], lines, i, threshold)
        for i, frame in enumerate(read_frames(video))
    )
    first = next(pictures)
    height, width = first.shape[:2]
    sound = SoundQueue(read_audio(video))
    with write_chunk(target, _as_frame(first), crf=crf, n_threads=_N_THREADS) as writer:
        for picture in chain([first], pictures):
            # A video may change its size on the way; its preview does not.
            is_alike = picture.shape == first.shape
            fitted = picture if is_alike else cv2.resize(picture, (width, height))
            writer.write_frame(_as_frame(np.asarray(fitted, np.uint8)))
            writer.write_samples(sound.take(SAMPLES_PER_FRAME))
            yield writer.n_frames


def _as_frame(picture: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="bgr24")


def _composed(
    picture: Picture,
    video_width: int,
    faces: Sequence[Face],
    lines: npt.NDArray[np.float32],
    i_frame: int,
    threshold: float,
) -> Picture:
    """Put marked faces, the time and the trace together; sides are even, as H.264 wants them."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    picture = np.ascontiguousarray(picture[:height, :width])
    for person, box, score in faces:
        _mark(picture, box * (picture.shape[1] / video_width), person, score, score > threshold)
    minutes, seconds = divmod(i_frame / VIDEO_FPS, 60)
    _write(picture, f"{int(minutes)}:{seconds:05.2f}", (8, 8 + _text_height(picture)), _TEXT)
    panel = _trace(lines, i_frame, threshold, width, max(48, height // 6) // 2 * 2)
    return np.concatenate([picture, panel])


def _mark(
    picture: Picture, box: npt.NDArray[np.float32], person: int, score: float, is_speaking: bool
) -> None:
    """Draw a box; a thick one in green while its person speaks."""
    x0, y0, x1, y1 = (int(side) for side in box)
    colour = _SPEAKING if is_speaking else _SILENT
    thickness = max(1, picture.shape[0] // 240)
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thickness * (2 if is_speaking else 1))
    at = (max(0, x0), max(_text_height(picture) + 2, y0 - 6))
    _write(picture, f"{person}: {score:.2f}", at, colour)


def _write(picture: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Write with a dark edge, so that it can be read on anything."""
    scale = max(0.35, picture.shape[0] / 900)
    thickness = max(1, round(scale * 2))
    cv2.putText(picture, text, at, _FONT, scale, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    cv2.putText(picture, text, at, _FONT, scale, colour, thickness, cv2.LINE_AA)


def _text_height(picture: Picture) -> int:
    return int(22 * max(0.35, picture.shape[0] / 900))


def _trace(
    lines: npt.NDArray[np.float32], i_frame: int, threshold: float, width: int, height: int
) -> Picture:
    """Draw the scores around the present, which is in the middle; the threshold is a thin line."""
    panel = np.full((height, width, 3), _BACK, np.uint8)
    reach = _SECONDS_AROUND * VIDEO_FPS
    margin = 4

    level = int(height - margin - threshold * (height - 2 * margin))
    cv2.line(panel, (0, level), (width, level), _RULE, 1)
    cv2.line(panel, (width // 2, 0), (width // 2, height), _RULE, 1)
    begin, end = max(0, i_frame - reach), min(lines.shape[1], i_frame + reach + 1)
    for person, line in enumerate(lines):
        of_person = line[begin:end]
        for run in _runs(np.isfinite(of_person)):
            x = (np.arange(begin + run.start, begin + run.stop) - i_frame) * width / (2 * reach)
            y = height - margin - of_person[run] * (height - 2 * margin)
            points = np.stack([x + width / 2, y], 1).round().astype(np.int32)
            colour = _PEOPLE[person % len(_PEOPLE)]
            cv2.polylines(panel, [points], isClosed=False, color=colour, thickness=2)
        if np.isfinite(of_person).any():
            colour = _PEOPLE[person % len(_PEOPLE)]
            cv2.putText(panel, str(person + 1), (6 + 14 * person, 16), _FONT, 0.45, colour, 1)
    return panel


def _runs(is_there: npt.NDArray[np.bool_]) -> Iterator[slice]:
    """Give where something is without a break."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_there, [False]]).astype(np.int8)))
    for begin, end in edges.reshape(-1, 2).tolist():
        yield slice(begin, end)
