"""The faces in every picture, though the detector looks at few of them.

A detector costs more than decoding. So it looks at every few frames, and where the same faces are
seen at both ends of such a stretch, nearly at the same place, they moved on a straight line in
between. Where they did not, it looks in the middle, and so on. A cut ends a stretch: no face is
carried from one shot to the next.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from asdtune.core.prepare.boxes import interpolate, match_boxes
from asdtune.core.prepare.pictures import luma_points, shrink

if TYPE_CHECKING:
    import av
    import numpy.typing as npt

    from asdtune.core.prepare.boxes import Faces
    from asdtune.core.prepare.detectors import FaceDetector

    Detect = Callable[[av.VideoFrame], Faces]

_STEADY_IOU = 0.7  # a face that overlaps its later self by so much moved on a straight line
_CUT_LEVELS = 18.0  # mean change of brightness from one picture to the next, of 255 ...
_CUT_RATIO = 4.0  # ... and as a multiple of what was usual just before
_USUAL_FRAMES = 12
_FLASH_FRAMES = 12  # a brighter picture that stays longer is another shot
_FLASH_SHARE = 0.95  # of the points that do not grow darker by more than ...
_NOISE_LEVELS = 4


@dataclass(frozen=True)
class Detections:
    """A picture, its faces (N, 6), and whether it begins a new shot."""

    frame: av.VideoFrame
    faces: Faces
    is_after_cut: bool


def detect_faces(
    frames: Iterable[av.VideoFrame],
    detector: FaceDetector,
    *,
    detection_size: int,
    detect_every: int,
) -> Iterator[Detections]:
    """Yield every picture with its faces, in order.

    Args:
        frames: The pictures.
        detector: Is shown some of them.
        detection_size: Longest side in pixels of the picture it is shown.
        detect_every: Frames from one detection to the next where faces move little.
    """

    def detect(frame: av.VideoFrame) -> Faces:
        small = shrink(frame, detection_size)
        x, y = frame.width / small.shape[1], frame.height / small.shape[0]
        return np.asarray(detector.detect(small) * [x, y, x, y, 1, 1], np.float32)

    stretch: list[Any] = []
    first: Faces | None = None  # the faces of the stretch's first picture, once they are known
    opens_shot = False
    for frame, is_cut in chain(find_cuts(frames), [(None, True)]):
        if not is_cut:
            stretch.append(frame)
        if is_cut or len(stretch) > detect_every:
            faces = _faces_of(stretch, first, detect)
            for i in range(len(stretch) if is_cut else detect_every):
                yield Detections(stretch[i], faces[i], is_after_cut=opens_shot and i == 0)
            stretch, first = ([frame], None) if is_cut else (stretch[-1:], faces[-1])
            opens_shot = is_cut


def find_cuts(frames: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, bool]]:
    """Yield every picture and whether a new shot begins with it.

    A cut changes the brightness of a sparse grid of points more than is usual. So does a flash:
    pictures that grow brighter all over are held until it is known whether the old picture comes
    back within half a second, or the clip goes on elsewhere.
    """
    last_frame: av.VideoFrame | None = None
    last: npt.NDArray[np.uint8] | None = None
    changes: deque[float] = deque(maxlen=_USUAL_FRAMES)
    before_flash: npt.NDArray[np.uint8] | None = None
    held: list[tuple[av.VideoFrame, bool]] = []
    for frame in frames:
        is_repeated, is_resized = _is_repeated(last_frame, frame), _is_resized(last_frame, frame)
        last_frame = frame
        points = last if is_repeated and last is not None else luma_points(frame)
        change = math.inf if is_resized else 0.0 if last is None else _change(last, points)
        is_cut = change > _CUT_LEVELS and change > _CUT_RATIO * (median(changes) if changes else 0)
        if not is_repeated:  # a slow video shows every picture several times
            changes.append(min(change, 255.0))
        if before_flash is not None:
            held.append((frame, is_cut))
            if not is_resized and _change(before_flash, points) <= _CUT_LEVELS:
                held = [(picture, False) for picture, _ in held]
            elif len(held) <= _FLASH_FRAMES and not is_resized:
                last = points
                continue
            yield from held
            before_flash, held = None, []
        elif last is not None and is_cut and not is_resized and _is_brighter(last, points):
            before_flash, held = last, [(frame, True)]
        else:
            yield frame, is_cut
        last = points
    yield from held


def _is_repeated(before: av.VideoFrame | None, after: av.VideoFrame) -> bool:
    return before is not None and before.planes[0].buffer_ptr == after.planes[0].buffer_ptr


def _is_resized(before: av.VideoFrame | None, after: av.VideoFrame) -> bool:
    return before is not None and (before.width, before.height) != (after.width, after.height)


def _change(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    """Give the mean change in levels."""
    return float(cv2.norm(before, after, cv2.NORM_L1)) / before.size


def _is_brighter(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> bool:
    """Tell whether nearly no point is darker than before."""
    is_darker = after.astype(np.int16) < before.astype(np.int16) - _NOISE_LEVELS
    return bool(is_darker.mean() < 1 - _FLASH_SHARE)


def _faces_of(stretch: Sequence[av.VideoFrame], first: Faces | None, detect: Detect) -> list[Faces]:
    """Give the faces of every picture of a stretch within one shot."""
    if not stretch:
        return []
    last = len(stretch) - 1
    faces: dict[int, Faces] = {0: detect(stretch[0]) if first is None else first}
    if last > 0:
        faces[last] = detect(stretch[last])
    # A list of what is to be done, not a function that calls itself: such a closure would keep
    # these pictures until Python next looks for cycles.
    open_ends = [(0, last)]
    while open_ends:
        low, high = open_ends.pop()
        if high - low < 2:
            continue
        # Which of the earlier faces each later one continues, if all of them are nearly in place.
        matched = match_boxes(faces[low], faces[high], min_iou=_STEADY_IOU)
        if len(faces[low]) == len(faces[high]) and None not in matched:
            before = faces[low][np.array(matched, int)]
            moved = interpolate(before, faces[high], high - low - 1)
            faces.update(zip(range(low + 1, high), moved, strict=True))
            continue
        middle = (low + high) // 2
        faces[middle] = detect(stretch[middle])
        open_ends += [(low, middle), (middle, high)]
    return [faces[i] for i in range(len(stretch))]
