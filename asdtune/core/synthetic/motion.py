"""What synthetic people do with their faces: talk, keep still, nod, smile or chew.

Chewing moves the mouth without a sound, so that a mouth that moves does not tell who speaks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from asdtune.core.rates import VIDEO_FPS
from asdtune.core.synthetic.faces import Pose

_MIN_FRAMES = VIDEO_FPS  # who says nothing for so long listens
_SILENT = 0.01  # below so much a mouth counts as closed

Behaviour = Callable[[int, np.random.Generator], list[Pose]]


def move(mouth: npt.NDArray[np.float64], rng: np.random.Generator) -> list[Pose]:
    """Give somebody's pose in every frame.

    Args:
        mouth: How far talk opens it, (n_frames,), 0..1.
        rng: Decides what they do in each silence of a second or more.
    """
    poses = [Pose(mouth=float(opening)) for opening in mouth]
    for start, end in silences(mouth):
        behave = BEHAVIOURS[rng.integers(len(BEHAVIOURS))]
        poses[start:end] = behave(end - start, rng)
    return poses


def silences(mouth: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Find where talk rests for a second or more: first frame, and first frame after."""
    borders = np.flatnonzero(np.diff(mouth < _SILENT, prepend=False, append=False))
    runs = borders.reshape(-1, 2)
    return [(int(start), int(end)) for start, end in runs if end - start >= _MIN_FRAMES]


def keep_still(n_frames: int, _rng: np.random.Generator) -> list[Pose]:
    """Do nothing."""
    return [Pose()] * n_frames


def nod(n_frames: int, rng: np.random.Generator) -> list[Pose]:
    """Lower the head again and again."""
    depth = rng.uniform(0.15, 0.25)
    return [Pose(nod=depth * wave) for wave in _waves(n_frames, rng.uniform(0.8, 1.4))]


def smile(n_frames: int, rng: np.random.Generator) -> list[Pose]:
    """Smile, slowly coming and going."""
    width = rng.uniform(0.6, 1.0)
    return [Pose(smile=width * wave) for wave in _waves(n_frames, hertz=0)]


def chew(n_frames: int, rng: np.random.Generator) -> list[Pose]:
    """Open and close the mouth once or twice a second, a little or half as far as talk does."""
    opening = rng.uniform(0.2, 0.5)
    return [Pose(mouth=opening * wave) for wave in _waves(n_frames, rng.uniform(1, 2))]


BEHAVIOURS: tuple[Behaviour, ...] = (keep_still, nod, smile, chew)


def _waves(n_frames: int, hertz: float) -> list[float]:
    """Rise from 0 to 1 and fall again, about so often and at least once; the ends are 0."""
    n_waves = max(1, round(hertz * n_frames / VIDEO_FPS))
    phases = np.linspace(0, 2 * np.pi * n_waves, n_frames)
    return [float(value) for value in (1 - np.cos(phases)) / 2]
