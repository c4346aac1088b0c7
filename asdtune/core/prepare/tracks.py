"""Faces over time: the boxes of single pictures become tracks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from asdtune.core.prepare.faces import Box, Boxes

MIN_IOU = 0.3  # two boxes of neighbouring frames that overlap less are two faces


Look = npt.NDArray[np.float32]  # (n,), the colours around a face; see `people.look_of`


@dataclass(eq=False)
class Track:
    """One face over time, within one shot. `frames` are consecutive: gaps are bridged."""

    shot: int = 0
    frames: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # where the crop of each frame is stored
    looks: list[Look] = field(default_factory=list)  # at some of the frames

    def add(self, frame: int, box: Box, row: int) -> None:
        """Append a box and the row at which its crop is stored."""
        self.frames.append(frame)
        self.boxes.append(box)
        self.rows.append(row)

    @property
    def weight(self) -> float:
        """Sum of the face's area over time: the main speaker is large and stays."""
        return float(sum(_area(box) for box in self.boxes))

    def distance(self, other: Track) -> int:
        """Give the frames between two tracks; below 1 where they share some."""
        return max(self.frames[0] - other.frames[-1], other.frames[0] - self.frames[-1])

    def frames_are_apart(self, other: Track) -> bool:
        """Tell whether no frame is in both."""
        return self.distance(other) > 0


def match_boxes(known: Boxes, new: Boxes, *, min_iou: float = MIN_IOU) -> list[int | None]:
    """Give for every new box the index of the known one it continues, the best overlaps first.

    Args:
        known: Shape (M, 4).
        new: Shape (N, 4), of a later picture.
        min_iou: Boxes that overlap less are two faces.

    Returns:
        N entries; None where a face is new. No known box is continued twice.
    """
    matched: list[int | None] = [None] * len(new)
    overlaps = [(iou(a, b), i, j) for i, a in enumerate(known) for j, b in enumerate(new)]
    taken: set[int] = set()
    for overlap, i_known, i_new in sorted(overlaps, key=lambda entry: -entry[0]):
        if overlap >= min_iou and i_known not in taken and matched[i_new] is None:
            matched[i_new] = i_known
            taken.add(i_known)
    return matched


def interpolate(before: Boxes, after: Boxes, n_between: int) -> list[Boxes]:
    """Give the boxes of the frames between two, on the straight line from one to the other.

    Args:
        before: Shape [*, 4].
        after: Same shape.
        n_between: How many frames lie between them.

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
    return shared / (_area(a) + _area(b) - shared)


def _area(box: npt.NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
