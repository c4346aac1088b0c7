"""Conversations with labelled faces: crops, sound and labels, and how good scores of them are.

A folder holds `<name>.mp4` (or it lies in `../edge/`), `<name>_faces.csv` with the columns `frame,
face,x0,y0,x1,y1` (25 frames per second, pixels) and `<name>_labels.csv` with `face, start_second,
end_second, speaking`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from asdtune.core.arrays import FaceCrops, Mfcc
from asdtune.core.evaluation.spans import Span, label_frames
from asdtune.core.prepare.media import read_audio, read_frames
from asdtune.core.prepare.mfcc import align_to_video
from asdtune.core.prepare.sound import listen
from asdtune.core.prepare.tracking import cut_crop
from asdtune.core.rates import MFCC_PER_FRAME

LEAST_FRAMES = 5  # of a track


@dataclass(frozen=True)
class Face:
    """A face of a conversation, from one frame to another.

    Attributes:
        conversation: Its name.
        number: Of the face.
        crops: Shape (n, 112, 112).
        mfcc: Of the same frames, shape (4n, 13).
        labels: Shape (n,): 1, 0, or -1 where nobody marked.
    """

    conversation: str
    number: int
    crops: FaceCrops
    mfcc: Mfcc
    labels: np.ndarray


def read_faces(folder: Path) -> Iterator[Face]:
    """Read the faces of all conversations of a folder that somebody has labelled."""
    for csv in sorted(folder.glob("*_faces.csv")):
        name = csv.name.removesuffix("_faces.csv")
        video = folder / f"{name}.mp4"
        if not video.is_file():
            video = folder.parent / "edge" / video.name
        boxes = dict(list(pd.read_csv(csv).groupby("frame")))
        marked = pd.read_csv(folder / f"{name}_labels.csv")
        crops, n_frames = {}, 0
        for i, frame in enumerate(read_frames(video)):
            n_frames = i + 1
            for row in boxes[i].itertuples() if i in boxes else ():
                box = np.float32([row.x0, row.y0, row.x1, row.y1])
                crops[row.face, i] = cut_crop(frame, box)
        sound = listen(read_audio(video), n_frames * MFCC_PER_FRAME)
        mfcc = align_to_video(sound.coefficients, n_frames)[0]
        for number in sorted({face for face, _ in crops}):
            spans = [
                Span(row.start_second, row.end_second, bool(row.speaking))
                for row in marked[marked.face == number].itertuples()
            ]
            labels = label_frames(spans, n_frames)
            frames = np.array([i for face, i in crops if face == number])
            for part in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1):
                if len(part) >= LEAST_FRAMES and (labels[part] >= 0).any():
                    of_part = slice(MFCC_PER_FRAME * part[0], MFCC_PER_FRAME * (part[-1] + 1))
                    shown = np.stack([crops[number, i] for i in part])
                    yield Face(name, number, shown, mfcc[of_part], labels[part])


def best_accuracy(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Give the accuracy at the best threshold, in percent, and that threshold."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order] == 1)
    right = hits + (labels != 1).sum() - (np.arange(len(order)) + 1 - hits)
    i = int(right.argmax())
    return 100 * float(right[i]) / len(labels), float(scores[order[i]])
