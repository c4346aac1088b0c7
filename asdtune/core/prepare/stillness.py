"""Whether a face moves: a photograph, a slide and a call that freezes do not.

Two crops, a fifth of a second apart, are laid over each other (by an affine map, so that zooms,
pans and boxes that tremble do not count), and what still differs is motion of the face itself:

    longest run of steps below          2 levels   12 levels
    66 videos of photographs                       all of it
    27 people who speak                 0 s        1.4 s
    9 people in conversations, who also listen
                                        0.4 s      2.8 s

(Photographs of 14 people, as they are, coarsely encoded, with grain, zooming, trembling, fading. Of
39 videos of 13 others, six seconds each, 38 are found. Listeners of two recordings are few: hence
the five seconds below, so that a photograph of less is found only if nothing in it changes.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from asdtune.core.arrays import runs_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.arrays import FaceCrops

STEP_FRAMES = 5  # between two crops that are compared
_STILL = (  # motion that no step exceeds, and for how many steps
    (2.0, 5),  # a call that freezes, for a second and more
    (12.0, 25),  # a photograph, for five seconds and more: listeners blink, or turn their heads
)
_MOST_SHARE = 0.005  # of the pixels move more
_SIZE = 64  # pixels: enough to see motion
_EDGE = _SIZE // 8  # is not looked at
_CONTRAST = 40  # levels of standard deviation, to which crops are brought
_N_POINTS, _MIN_POINTS = 40, 8  # that are followed from one crop to the other


def motion(before: FaceCrops, after: FaceCrops) -> float:
    """Measure how far a face moves between two small crops (64, 64), in levels of 255."""
    laid_over = cv2.warpAffine(
        _normalized(after), _affine_map(before, after), (_SIZE, _SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    # Signed when it is blurred: grain, and edges that are resampled, cancel out.
    difference = cv2.blur(_normalized(before) - laid_over, (3, 3))
    inner = np.abs(difference[_EDGE:-_EDGE, _EDGE:-_EDGE]).ravel()
    n_most = round(_MOST_SHARE * len(inner))
    return float(np.partition(inner, -n_most)[-n_most])


def still_frames(motions: Sequence[float], n_frames: int) -> npt.NDArray[np.bool_]:
    """Mark the frames of a track, (n,), in which the face is still.

    Args:
        motions: From frame 0 to 5, from 5 to 10, ...
        n_frames: n.

    Examples:
        >>> np.flatnonzero(still_frames([50.0] * 3 + [1.0] * 6 + [50.0], 54))[[0, -1]].tolist()
        [15, 45]
    """
    still = np.zeros(n_frames, bool)
    for limit, n_least in _STILL:
        for start, end in runs_of(np.asarray(motions) <= limit):
            if end - start >= n_least:
                is_last = end == len(motions)
                still[start * STEP_FRAMES : n_frames if is_last else end * STEP_FRAMES + 1] = True
    return still


def shrink_crop(crop: FaceCrops) -> FaceCrops:
    """Make a crop (112, 112) as small as motion can still be seen, (64, 64)."""
    return np.asarray(cv2.resize(crop, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def _affine_map(first: FaceCrops, second: FaceCrops) -> npt.NDArray[np.float64]:
    """Find the map (2, 3) from the points of one picture to those of another; none is no motion."""
    points = cv2.goodFeaturesToTrack(first, _N_POINTS, 0.01, 3)
    if points is not None and len(points) >= _MIN_POINTS:
        nowhere: Any = None  # OpenCV's types do not know that it may be left open
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            first, second, points, nowhere, winSize=(9, 9), maxLevel=1
        )
        is_found = status[:, 0] == 1
        if is_found.sum() >= _MIN_POINTS:
            best, _ = cv2.estimateAffine2D(
                points[is_found], found[is_found], ransacReprojThreshold=0.6
            )
            if best is not None:
                return np.asarray(best)
    return np.eye(2, 3)


def _normalized(crop: FaceCrops) -> npt.NDArray[np.float32]:
    level, spread = cv2.meanStdDev(crop)
    return (crop.astype(np.float32) - level.item()) * np.float32(_CONTRAST / max(spread.item(), 8))
