"""Small charts and strips as the template of the page draws them: in SVG, coloured by its style."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from asdtune.core.arrays import FaceCrops

Numbers = npt.NDArray[np.floating[Any]]

LEFT, TOP, RIGHT, BOTTOM = 48, 12, 348, 200  # the sides of the field within 360 x 240
_N_TICKS = 5
_N_PICTURES, PICTURE_SIZE = 8, 56  # of a strip
STRIP_WIDTH, SOUND_HEIGHT = _N_PICTURES * PICTURE_SIZE, 36


@dataclass(frozen=True)
class Axis:
    """An axis from one number to another."""

    label: str
    low: float
    high: float
    digits: int = 0

    def place(self, values: Numbers, begin: int, end: int) -> Numbers:
        """Give where values lie between two sides of a chart."""
        return begin + (values - self.low) / (self.high - self.low) * (end - begin)

    def ticks(self, begin: int, end: int) -> list[tuple[float, str]]:
        """Give the places of a few numbers, as round as they are written, and the numbers."""
        values = np.unique(np.linspace(self.low, self.high, _N_TICKS).round(self.digits))
        at = self.place(values, begin, end).round(1).tolist()
        return [(x, f"{value:.{self.digits}f}") for x, value in zip(at, values, strict=True)]


@dataclass(frozen=True)
class Chart:
    """Lines over two axes."""

    caption: str  # what there is to see, for those who cannot see it, too
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]  # places and numbers
    y_ticks: list[tuple[float, str]]
    paths: dict[str, str]  # by the class that gives a line its colour and dashes


def line_chart(
    at: Numbers, lines: Mapping[str, Numbers], x: Axis, y: Axis, *, caption: str
) -> Chart:
    """Lay out lines, each (n,) at the same places (n,); where one is no number, it is lifted."""
    xs = x.place(at, LEFT, RIGHT)
    paths = {css: _path(xs, y.place(each, BOTTOM, TOP)) for css, each in lines.items()}
    ticks = x.ticks(LEFT, RIGHT), y.ticks(BOTTOM, TOP)
    return Chart(caption, x.label, y.label, *ticks, paths)


def _path(xs: Numbers, ys: Numbers) -> str:
    steps, is_down = [], False
    for x, y in zip(xs, ys, strict=True):
        if np.isfinite(y):
            steps.append(f"{'L' if is_down else 'M'}{x:.1f},{y:.1f}")
        is_down = bool(np.isfinite(y))
    return "".join(steps)


def picture_strip(crops: FaceCrops, *, n_pictures: int = _N_PICTURES, quality: int = 80) -> str:
    """Join some pictures of a face, (n, 112, 112), side by side; give a JPEG in base64."""
    shown = crops[np.linspace(0, len(crops) - 1, n_pictures).round().astype(int)]
    size = (PICTURE_SIZE, PICTURE_SIZE)
    joined = np.hstack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in shown])
    _, jpeg = cv2.imencode(".jpg", joined, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return base64.b64encode(jpeg.tobytes()).decode()


def sound_outline(samples: npt.NDArray[Any], *, width: int = STRIP_WIDTH, step: int = 2) -> str:
    """Give the corners of a waveform of any scale (n,), as wide as a strip, every few pixels."""
    parts = np.array_split(samples, min(len(samples), width // step))
    sides = [[float(side(part)) for part in parts] for side in (np.max, np.min)]
    tops, bottoms = sides
    peak = max(*tops, *(-bottom for bottom in bottoms), 1.0)
    at = np.linspace(0, width, len(parts))
    outline = [*zip(at, tops, strict=True), *zip(at[::-1], bottoms[::-1], strict=True)]
    return " ".join(f"{x:.0f},{SOUND_HEIGHT / 2 * (1 - y / peak):.1f}" for x, y in outline)
