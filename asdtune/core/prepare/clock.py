"""The clock of a file that restarts, or jumps ahead, in the middle.

Recordings that were put together (`cat a.ts b.ts`) and recorders that were stopped have several
parts, each with a clock of its own. Each part is moved to where the one before ends, its pictures
and its sound by the same amount.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

_BACK_SECONDS = 1  # a time that goes back further begins a part; less is a careless writer
_AHEAD_SECONDS = 10  # likewise one that is so far ahead of all streams


class Clock:
    """Tells which part of a file a packet belongs to, packet by packet in the order of the file."""

    def __init__(self, offsets: Iterable[float] = ()) -> None:
        self._offsets = list(offsets)  # seconds, of each part
        self._spans = [(math.inf, -math.inf)]  # first and last second of each part
        self._newest = -math.inf  # of the last part, in any stream
        self._of_stream: dict[int, tuple[int, float]] = {}  # its part and its last time

    @property
    def offsets(self) -> list[float]:
        """Give the seconds by which each part seen so far is to be moved."""
        offsets, end = [0.0], self._spans[0][1]
        for first, last in self._spans[1:]:
            offsets.append(end - first)
            end = last + offsets[-1]
        return offsets

    def move(self, packet: Any) -> None:
        """Give a packet the time that it has where the clock does not restart."""
        if packet.dts is not None:
            part = self.part_of(packet)
            move = round(self._offsets[part] / packet.time_base)
            packet.dts += move
            packet.pts = None if packet.pts is None else packet.pts + move

    def part_of(self, packet: Any) -> int:
        """Give the part of a packet that has a time."""
        i_stream, time = packet.stream.index, float(packet.dts * packet.time_base)
        current = len(self._spans) - 1
        part, last = self._of_stream.get(i_stream, (current, time))
        if part < current:  # it follows the stream that began the new part, or is a late rest
            part = current if abs(time - self._newest) < abs(time - last) else part
        elif time < last - _BACK_SECONDS or time > max(self._newest, last) + _AHEAD_SECONDS:
            part = current + 1
            self._spans.append((math.inf, -math.inf))
            self._newest = time
        if part == len(self._spans) - 1:
            self._newest = max(self._newest, time)
        self._of_stream[i_stream] = part, time
        shown = time if packet.pts is None else float(packet.pts * packet.time_base)
        first, end = self._spans[part]
        length = float((packet.duration or 0) * packet.time_base)
        self._spans[part] = min(first, shown), max(end, shown + length)
        return part


def find_offsets(packets: Iterable[Any]) -> list[float]:
    """Give the seconds by which each part of a file is to be moved; the first one's are 0."""
    clock = Clock()
    for packet in packets:
        if packet.dts is not None:
            clock.part_of(packet)
    return clock.offsets
