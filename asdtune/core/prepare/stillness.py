"""Whether a face moves: a photograph, a slide and a frozen call do not.

Two crops, a fifth of a second apart, are laid over each other (by an affine map, so that zooms,
pans and boxes that tremble do not count), and what still differs is motion of the face itself. In
the stretches of two seconds of photographs of 14 people (as they are, coarsely encoded, with grain,
zooming, trembling, fading) three quarters of the steps stay below 8.6 levels, in those of 27 people
who speak, some of them at 10 pictures per second, below 11.4 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.arrays import FaceCrops

STEP_FRAMES = 5  # between two crops that are compared
_N_STEPS = 10  # two seconds
_MOVING_SHARE = 0.25  # of the steps at most may show motion, where a face is still
_MAX_MOTION = 9.7
_MOST_SHARE = 0.005  # of the pixels move more
_SIZE = 64  # pixels: enough to see motion
_EDGE = _SIZE // 8  # is not looked at
_CONTRAST = 40  # levels of standard deviation, to which crops are brought
_N_POINTS, _MIN_POINTS = 40, 8  # that are followed from one crop to the other


def motion(before: FaceCrops, after: FaceCrops) -> float:
    """Measure how far a face moves from one crop (112, 112) to a later one, in levels of 255."""
    first, second = _shrink(before), _shrink(after)
    laid_over = cv2.warpAffine(
        _normalized(second), _affine_map(first, second), (_SIZE, _SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    # Signed when it is blurred: grain, and edges that are resampled, cancel out.
    difference = cv2.blur(_normalized(first) - laid_over, (3, 3))
    inner = np.abs(difference[_EDGE:-_EDGE, _EDGE:-_EDGE]).ravel()
    n_most = round(_MOST_SHARE * len(inner))
    return float(np.partition(inner, -n_most)[-n_most])


def still_frames(motions: Sequence[float], n_frames: int) -> npt.NDArray[np.bool_]:
    """Mark the frames of a track, (n,), that lie in two seconds without motion.

    Args:
        motions: From frame 0 to 5, from 5 to 10, ...
        n_frames: n.

    Examples:
        >>> int(still_frames([50.0] * 3 + [1.0] * 12, 76).sum())
        61
    """
    still = np.zeros(n_frames, bool)
    if len(motions) >= _N_STEPS:
        is_still = np.lib.stride_tricks.sliding_window_view(
            np.asarray(motions) <= _MAX_MOTION, _N_STEPS
        )
        for i in np.flatnonzero(is_still.mean(1) >= 1 - _MOVING_SHARE):
            first, *_, last = i + np.flatnonzero(is_still[i])
            still[first * STEP_FRAMES : (last + 1) * STEP_FRAMES + 1] = True
    return still


def _shrink(crop: FaceCrops) -> FaceCrops:
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
