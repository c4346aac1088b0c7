"""Boxes around faces, and how they overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Box = npt.NDArray[np.float32]  # (4,): x0, y0, x1, y1 in pixels
Boxes = npt.NDArray[np.float32]  # (N, 4)
# (6,): a box; how far the nose is beside the middle of the eyes, in distances of the eyes; and
# whether the mouth is outside the picture, 0..1
Face = npt.NDArray[np.float32]
Faces = npt.NDArray[np.float32]  # (N, 6)
ASIDE, MOUTH_OUTSIDE = 4, 5  # where a face tells the two

MIN_IOU = 0.3  # two boxes of neighbouring frames that overlap less are two faces


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
