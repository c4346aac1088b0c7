"""The faces in every picture, though the detector looks at few of them.

A detector costs more than decoding. So it looks at every few frames, and where the same faces are
seen at both ends of such a stretch, nearly at the same place, they moved on a straight line in
between. Where they did not, it looks in the middle, and so on. A cut ends a stretch: no face is
carried from one shot to the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.prepare.pictures import luma_samples, shrink
from asdtune.core.prepare.tracks import interpolate, match_boxes

if TYPE_CHECKING:
    import av
    import numpy.typing as npt

    from asdtune.core.prepare.faces import Boxes, FaceDetector

    Look = Callable[[av.VideoFrame], Boxes]

_STEADY_IOU = 0.7  # a face that overlaps its later self by so much moved on a straight line
_CUT_LEVELS = 18.0  # mean change of brightness from one picture to the next, of 255 ...
_CUT_RATIO = 4.0  # ... and as a multiple of what was usual just before
_USUAL_FRAMES = 12


@dataclass(frozen=True)
class Sighting:
    """A picture with its faces.

    Attributes:
        frame: The upright picture.
        boxes: Shape (N, 4), x0 y0 x1 y1 in its pixels.
        is_after_cut: Whether a new shot begins with this picture.
    """

    frame: av.VideoFrame
    boxes: Boxes
    is_after_cut: bool


def sight_faces(
    frames: Iterable[av.VideoFrame],
    detector: FaceDetector,
    *,
    detection_size: int,
    detect_every: int,
) -> Iterator[Sighting]:
    """Yield every picture with its faces, in order.

    Args:
        frames: The pictures.
        detector: Looks at some of them.
        detection_size: Longest side in pixels of the picture it is shown.
        detect_every: Frames from one look to the next where faces move little.
    """

    def look(frame: av.VideoFrame) -> Boxes:
        small = shrink(frame, detection_size)
        scale = np.array([frame.width / small.shape[1], frame.height / small.shape[0]] * 2)
        return np.asarray(detector.detect(small) * scale, np.float32)

    cuts = _CutFinder()
    stretch: list[av.VideoFrame] = []
    first: Boxes | None = None  # the faces of the stretch's first picture, once they are known
    is_after_cut = False
    for frame in frames:
        if cuts.is_cut(frame):
            for picture, boxes in zip(stretch, _boxes_of(stretch, first, look), strict=True):
                yield Sighting(picture, boxes, is_after_cut)
                is_after_cut = False
            stretch, first, is_after_cut = [], None, True
        stretch.append(frame)
        if len(stretch) > detect_every:
            all_boxes = _boxes_of(stretch, first, look)
            for picture, boxes in zip(stretch[:-1], all_boxes[:-1], strict=True):
                yield Sighting(picture, boxes, is_after_cut)
                is_after_cut = False
            stretch, first = stretch[-1:], all_boxes[-1]
    for picture, boxes in zip(stretch, _boxes_of(stretch, first, look), strict=True):
        yield Sighting(picture, boxes, is_after_cut)
        is_after_cut = False


def _boxes_of(stretch: Sequence[av.VideoFrame], first: Boxes | None, look: Look) -> list[Boxes]:
    """Give the faces of every picture of a stretch within one shot."""
    if not stretch:
        return []
    boxes: dict[int, Boxes] = {0: look(stretch[0]) if first is None else first}

    def fill(low: int, high: int) -> None:
        if high - low < 2:
            return
        if (moved := _moved_straight(boxes[low], boxes[high], high - low - 1)) is not None:
            boxes.update(zip(range(low + 1, high), moved, strict=True))
            return
        middle = (low + high) // 2
        boxes[middle] = look(stretch[middle])
        fill(low, middle)
        fill(middle, high)

    last = len(stretch) - 1
    if last > 0:
        boxes[last] = look(stretch[last])
        fill(0, last)
    return [boxes[i] for i in range(len(stretch))]


def _moved_straight(before: Boxes, after: Boxes, n_between: int) -> list[Boxes] | None:
    """Give the faces between two looks, or None where they are not the same, nearly in place."""
    matched = match_boxes(before, after, min_iou=_STEADY_IOU)
    if len(before) != len(after) or None in matched:
        return None
    ordered = before[[i for i in matched if i is not None]]
    return list(interpolate(ordered, after, n_between))


class _CutFinder:
    """Tells where one shot ends and the next begins, from a sparse grid of brightness."""

    def __init__(self) -> None:
        self._last: npt.NDArray[np.float32] | None = None
        self._changes: deque[float] = deque(maxlen=_USUAL_FRAMES)

    def is_cut(self, frame: av.VideoFrame) -> bool:
        """Compare a picture with the one before it."""
        samples, last = luma_samples(frame), self._last
        self._last = samples
        if last is None:
            return False
        if last.shape != samples.shape:
            return True
        change = float(np.abs(samples - last).mean())
        usual = median(self._changes) if self._changes else 0.0
        self._changes.append(change)
        return change > _CUT_LEVELS and change > _CUT_RATIO * usual
