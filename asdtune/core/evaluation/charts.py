"""Small charts as SVG: drawn by the browser in the colours of the page, read aloud by their label.

Lines are told apart by dashes as well as by colour. Classes `new` and `old` are those of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating]

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 40  # margins
_N_TICKS = 5
_MAX_POINTS = 300  # of a line: more are not seen


@dataclass(frozen=True)
class Line:
    """A line of a chart: its points, and the class that gives it colour and dashes."""

    x: Numbers
    y: Numbers
    css: str


@dataclass(frozen=True)
class Axis:
    """An axis from one number to another."""

    label: str
    low: float
    high: float
    digits: int = 0

    def ticks(self) -> Numbers:
        """Give places for numbers, as round as they are written."""
        return np.unique(np.linspace(self.low, self.high, _N_TICKS).round(self.digits))


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, *, label: str) -> str:
    """Draw lines; `label` says to those who cannot see them what there is to see."""
    paths = [
        f'<path class="line {line.css}" d="{_path(*_thin(line), x, y)}"/>'
        for line in lines
        if len(line.x)
    ]
    return _figure("".join(paths), x, y, label)


def step_chart(edges: Numbers, heights: Sequence[tuple[Numbers, str]], x: Axis, y: Axis, *,
               label: str) -> str:  # fmt: skip
    """Draw histograms as outlines: edges (n + 1,), heights (n,) each with its class."""
    at = np.repeat(edges, 2)
    lines = [
        Line(at, np.concatenate([[y.low], np.repeat(each, 2), [y.low]]), css)
        for each, css in heights
    ]
    return line_chart(lines, x, y, label=label)


def sound_chart(samples: Numbers, *, width: int, height: int) -> str:
    """Draw a waveform of any scale as a filled outline; it says nothing to a screen reader."""
    parts = np.array_split(samples.astype(np.float64), min(len(samples), width // 2))
    peak = max(float(np.abs(samples).max(initial=0)), 1.0)
    top = [height / 2 * (1 - part.max() / peak) for part in parts]
    bottom = [height / 2 * (1 - part.min() / peak) for part in parts]
    at = np.linspace(0, width, len(parts))
    outline = [*zip(at, top, strict=True), *zip(at[::-1], bottom[::-1], strict=True)]
    points = " ".join(f"{x:.0f},{y:.1f}" for x, y in outline)
    return (
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" class="sound">'
        f'<polygon points="{points}"/></svg>'
    )


def _figure(inside: str, x: Axis, y: Axis, label: str) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [f'<path class="axis" d="M{_LEFT},{_TOP}V{bottom}H{right}"/>']
    for tick in x.ticks():
        at = _x(tick, x)
        parts.append(f'<path class="grid" d="M{at:.1f},{_TOP}V{bottom}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 15}">{tick:.{x.digits}f}</text>')
    for tick in y.ticks():
        at = _y(tick, y)
        parts.append(f'<path class="grid" d="M{_LEFT},{at:.1f}H{right}"/>')
        parts.append(
            f'<text class="left" x="{_LEFT - 6}" y="{at + 4:.1f}">{tick:.{y.digits}f}</text>'
        )
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}">{escape(x.label)}</text>')
    turned = f"translate(12 {(_TOP + bottom) / 2}) rotate(-90)"
    parts.append(f'<text transform="{turned}">{escape(y.label)}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}{inside}</svg>"
    )


def _thin(line: Line) -> tuple[Numbers, Numbers]:
    if len(line.x) <= _MAX_POINTS:
        return line.x, line.y
    kept = np.unique(np.linspace(0, len(line.x) - 1, _MAX_POINTS).astype(np.int64))
    return line.x[kept], line.y[kept]


def _path(xs: Numbers, ys: Numbers, x: Axis, y: Axis) -> str:
    """Join points; where one is no number, the line is lifted."""
    steps, is_down = [], False
    for a, b in zip(xs, ys, strict=True):
        if np.isfinite(b):
            steps.append(f"{'L' if is_down else 'M'}{_x(a, x):.1f},{_y(b, y):.1f}")
        is_down = bool(np.isfinite(b))
    return "".join(steps)


def _x(value: float, axis: Axis) -> float:
    share = (value - axis.low) / (axis.high - axis.low)
    return float(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))


def _y(value: float, axis: Axis) -> float:
    share = np.clip((value - axis.low) / (axis.high - axis.low), 0, 1)
    return float(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM))
