"""Faces that OpenCV's Haar cascade finds: a lit forehead and ridge of the nose, darker eyes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from asdtune.core.prepare.detectors import Image

Colour = tuple[float, float, float]  # blue, green, red

_FACE = 42  # pixels from the middle of a face to the edge of the box in which it is found
_FRACTION_BITS = 4  # OpenCV takes coordinates as whole numbers of so many binary places


@dataclass(frozen=True)
class Looks:
    """A face; lengths are in units of `_FACE`, half the width of the box around it."""

    skin: Colour
    hair: Colour
    lips: Colour
    iris: Colour
    shirt: Colour
    width: float
    height: float
    fringe: float
    eyes: float
    brow: float
    mouth: float


@dataclass(frozen=True)
class Pose:
    """How somebody holds their face at one moment.

    Attributes:
        mouth: How far it is open, 0..1.
        smile: 0..1.
        nod: How far the head is lowered, in units of `_FACE`.
    """

    mouth: float = 0.0
    smile: float = 0.0
    nod: float = 0.0


def invent_looks(rng: np.random.Generator) -> Looks:
    """Draw looks."""
    light = rng.uniform(0.5, 1.0)
    return Looks(
        skin=_colour(light * np.array([165, 190, 232]) * rng.uniform(0.95, 1.05, 3)),
        hair=_colour(np.array([30, 45, 60]) * rng.uniform(0.3, 1.6)),
        lips=_colour(light * np.array([95, 90, 190])),
        iris=_colour(rng.uniform(20, 90, 3)),
        shirt=_colour(rng.uniform(40, 200, 3)),
        width=rng.uniform(0.7, 0.8),
        height=rng.uniform(0.95, 1.04),
        fringe=rng.uniform(0, 0.08),
        eyes=rng.uniform(0.29, 0.34),
        brow=rng.uniform(0.04, 0.065),
        mouth=rng.uniform(0.24, 0.32),
    )


def draw_face(picture: Image, at: tuple[float, float], looks: Looks, pose: Pose) -> None:
    """Draw a face, and the shoulders below it, into a picture.

    Args:
        picture: Shape (H, W, 3), blue-green-red; drawn over.
        at: The middle of the face, x and y in pixels, while the head is up.
        looks: Whose.
        pose: How they hold it.
    """

    def ellipse(
        x: float, y: float, a: float, b: float, colour: Colour, *, nod: float = pose.nod
    ) -> None:
        centre = (_fixed(at[0] + x * _FACE), _fixed(at[1] + (y + nod) * _FACE))
        axes = (_fixed(a * _FACE), _fixed(max(b * _FACE, 0.5)))
        cv2.ellipse(
            picture, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, _FRACTION_BITS
        )  # fmt: skip

    def mouth(a: float, b: float, colour: Colour) -> None:
        """Draw an ellipse; a smile pulls its ends outwards and up."""
        turn = np.linspace(0, 2 * np.pi, 48)
        x = looks.mouth * (1 + 0.3 * pose.smile) * a * np.cos(turn)
        y = 0.6 + b * np.sin(turn) + 0.12 * pose.smile * (0.5 - np.cos(turn) ** 2) + pose.nod
        points = np.array([at[0] + x * _FACE, at[1] + y * _FACE]).T
        fixed = np.round(points * (1 << _FRACTION_BITS)).astype(np.int32)
        cv2.fillPoly(picture, [fixed], colour, cv2.LINE_AA, _FRACTION_BITS)

    skin, width = looks.skin, looks.width
    ellipse(0, 2.05, 1.45, 0.95, looks.shirt, nod=0)
    ellipse(0, 1.1, 0.38, 0.5, _lit(skin, 0.72), nod=0)  # neck
    ellipse(0, -0.15, width + 0.14, looks.height + 0.08, looks.hair)
    ellipse(0, 0.08, width, looks.height, skin)
    ellipse(0, -0.85, width * 0.92, 0.32 + looks.fringe, looks.hair)
    ellipse(0, -0.5, 0.35, 0.16, _lit(skin, 1, shine=18))  # forehead
    for side in (-1, 1):
        eye = side * looks.eyes
        ellipse(eye, -0.22, 0.22, 0.14, _lit(skin, 0.68))  # socket
        ellipse(eye, -0.17, 0.15, 0.065, (225, 225, 225))
        ellipse(eye, -0.17, 0.08, 0.065, looks.iris)
        ellipse(eye, -0.17, 0.04, 0.04, (15, 15, 15))
        ellipse(eye, -0.37, 0.2, looks.brow, _lit(looks.hair, 0.8))
        ellipse(side * width * 0.62, 0.3, 0.19, 0.15, _lit(skin, 1.06))  # cheek
        ellipse(side * 0.06, 0.3, 0.03, 0.022, _lit(skin, 0.5))  # nostril
    ellipse(0, 0.05, 0.05, 0.25, _lit(skin, 1, shine=40))  # ridge of the nose
    ellipse(0, 0.25, 0.12, 0.05, _lit(skin, 0.88))
    mouth(1, 0.06 + 0.2 * pose.mouth, looks.lips)
    mouth(0.82, 0.012 + 0.17 * pose.mouth, _lit(skin, 0.2))


def _colour(values: npt.NDArray[np.float64]) -> Colour:
    blue, green, red = (float(value) for value in values)
    return blue, green, red


def _lit(colour: Colour, light: float, *, shine: float = 0.0) -> Colour:
    blue, green, red = (min(255.0, light * value + shine) for value in colour)
    return blue, green, red


def _fixed(pixels: float) -> int:
    return round(pixels * (1 << _FRACTION_BITS))
