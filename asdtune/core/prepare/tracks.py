"""Faces over time: the boxes of single pictures become tracks."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from asdtune.core.prepare.stillness import STEP_FRAMES, motion, still_frames

if TYPE_CHECKING:
    from asdtune.core.arrays import FaceCrops
    from asdtune.core.prepare.detectors import Boxes, Faces

MIN_IOU = 0.3  # two boxes of neighbouring frames that overlap less are two faces

Appearance = npt.NDArray[np.float32]  # (n,), the colours around a face


@dataclass(eq=False)
class Track:
    """One face over time, within one shot. Its frames are consecutive: gaps are bridged."""

    shot: int = 0
    start: int = 0  # first frame
    rows: array[int] = field(default_factory=lambda: array("q"))  # where each crop is stored
    appearances: list[Appearance] = field(default_factory=list)  # at some of the frames
    motions: array[float] = field(default_factory=lambda: array("f"))  # from crop to crop
    _numbers: array[float] = field(default_factory=lambda: array("f"))  # six for each frame
    _crop: FaceCrops | None = None  # the last that motion was measured on

    def add(self, face: Faces, crop: FaceCrops, row: int) -> None:
        """Append the next frame's face (6,) and its crop, stored at a row."""
        if len(self.rows) % STEP_FRAMES == 0:
            if self._crop is not None:
                self.motions.append(motion(self._crop, crop))
            self._crop = crop
        self._numbers.extend(face.tolist())
        self.rows.append(row)

    @property
    def end(self) -> int:
        """The frame behind the last."""
        return self.start + len(self.rows)

    @property
    def frames(self) -> slice:
        """Its frames, as an index."""
        return slice(self.start, self.end)

    @property
    def faces(self) -> Faces:
        """Shape (n, 6), one for each frame."""
        return np.array(self._numbers, np.float32).reshape(-1, 6)

    @property
    def boxes(self) -> Boxes:
        """Shape (n, 4), one for each frame."""
        return self.faces[:, :4]

    @property
    def last_face(self) -> Faces:
        """Shape (6,)."""
        return np.array(self._numbers[-6:], np.float32)

    @property
    def still(self) -> npt.NDArray[np.bool_]:
        """In which frames the face does not move, (n,)."""
        return still_frames(self.motions, len(self.rows))

    @property
    def weight(self) -> float:
        """Sum of the face's area over time: the main speaker is large and stays."""
        return float(areas(self.boxes).sum())

    def distance(self, other: Track) -> int:
        """Give the frames from the end of one track to the start of the other; below 0, shared."""
        return max(self.start - other.end, other.start - self.end)


def match_boxes(known: Boxes, new: Boxes, *, min_iou: float = MIN_IOU) -> list[int | None]:
    """Give for every new box (N, 4 or more) the index of the known one (M, *) that it continues.

    The best overlaps come first; None where a face is new. No known box is continued twice.
    """
    matched: list[int | None] = [None] * len(new)
    overlaps = [(iou(a, b), i, j) for i, a in enumerate(known) for j, b in enumerate(new)]
    taken: set[int] = set()
    for overlap, i_known, i_new in sorted(overlaps, key=lambda entry: -entry[0]):
        if overlap >= min_iou and i_known not in taken and matched[i_new] is None:
            matched[i_new] = i_known
            taken.add(i_known)
    return matched


def interpolate(before: Faces, after: Faces, n_between: int) -> list[Faces]:
    """Give boxes, or faces, [*, n] between two, on the straight line from one to the other.

    Examples:
        >>> interpolate(np.zeros(4, np.float32), np.full(4, 3, np.float32), 2)[0].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    steps = (np.arange(1, n_between + 1) / (n_between + 1)).astype(np.float32)
    return [before + step * (after - before) for step in steps]


def iou(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Give the intersection over union of two boxes, 0..1.

    Examples:
        >>> iou(np.float32([0, 0, 2, 2]), np.float32([1, 0, 3, 2]))
        0.333...
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = float(width * height)
    return shared / float(areas(a) + areas(b) - shared)


def areas(boxes: Boxes) -> npt.NDArray[np.float32]:
    """Give the areas [*] of boxes [*, 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
