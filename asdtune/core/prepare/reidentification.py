"""Who is on screen: tracks become people, one of them the main speaker.

A track ends at every cut and at every long gap. Two tracks belong to one person where they share
no frame, lie near each other if both are in one shot, and look alike: the colours around the face
(hair, clothes, background) change little from one shot of a vlog to the next, and much from one
person to another. On real clips of 27 speakers the appearances within one clip overlap by 0.91 and
more, 95 of 100 times, and those of two speakers by 0.73 and less, 95 of 100 times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from asdtune.core.prepare.boxes import areas, iou
from asdtune.core.prepare.tracks import Track

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.tracks import Appearance

_MIN_LIKENESS = 0.85
_MIN_AREA_RATIO = 0.25  # of the main speaker's face: a smaller one is far behind, or on a picture
_FLICKER_FRAMES = 3
_BINS = 11
_COLOURS = (95, 161)  # of 0..255; 128 is grey and lies in the middle of a bin


def appearance_of(region: npt.NDArray[np.uint8]) -> Appearance:
    """Describe the colours of a region: hair, skin, clothes, background.

    Args:
        region: Shape (h, w, 3), blue-green-red.

    Returns:
        A histogram of colour and one of lightness, both of sum 0.5.
    """
    small = cv2.resize(region, (32, 32), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB)
    low, high = _COLOURS
    chroma = np.clip(lab[..., 1:], low, high - 1)  # what is more colourful is rare
    colours = cv2.calcHist([chroma], [0, 1], None, [_BINS, _BINS], [low, high] * 2)
    lightness = cv2.calcHist([lab], [0], None, [_BINS], [0, 256])
    # Smoothed, so that a colour at the border of two bins does not decide.
    parts = [cv2.GaussianBlur(part, (3, 3), 0).reshape(-1) for part in (colours, lightness)]
    return np.concatenate([part / (2 * part.sum()) for part in parts]).astype(np.float32)


def reidentify(tracks: Sequence[Track]) -> list[list[Track]]:
    """Group tracks into people, the one with the most face over time first.

    What was taken for a face for a moment, and resembles nobody, is nobody.
    """
    people: list[list[Track]] = []
    for track in sorted(tracks, key=lambda track: -track.weight):
        may_be = [person for person in people if _may_belong(track, person)]
        if may_be:
            max(may_be, key=lambda person: _likeness(track, person)).append(track)
        elif len(track.rows) > _FLICKER_FRAMES or not people:
            people.append([track])
    return sorted(people, key=lambda person: -sum(track.weight for track in person))


def count_faces(people: Sequence[Sequence[Track]], n_frames: int) -> npt.NDArray[np.uint8]:
    """Count the faces in every frame of a clip of T: (T,).

    The size of the main speaker's, who comes first, tells which of the others matter.
    """
    counts = np.zeros(n_frames, np.uint8)
    if not people:
        return counts
    main, *others = people
    usual = float(np.median(np.concatenate([areas(track.boxes) for track in main])))
    for track in main:
        counts[track.frames] += 1
    for track in (track for person in others for track in person):
        counts[track.frames] += areas(track.boxes) >= _MIN_AREA_RATIO * usual
    return counts


def _may_belong(track: Track, person: Sequence[Track]) -> bool:
    if any(track.distance(other) < 0 for other in person):
        return False
    if _likeness(track, person) < _MIN_LIKENESS:
        return False
    same_shot = [other for other in person if other.shot == track.shot]
    if not same_shot:
        return True
    nearest = min(same_shot, key=track.distance)
    first, second = sorted((track, nearest), key=lambda one: one.start)
    return iou(first.last_face, second.boxes[0]) > 0


def _likeness(track: Track, person: Sequence[Track]) -> float:
    """Give the greatest overlap of appearances, 0..1."""
    theirs = np.stack([each for other in person for each in other.appearances])
    return max(float(np.minimum(mine, theirs).sum(-1).max()) for mine in track.appearances)
