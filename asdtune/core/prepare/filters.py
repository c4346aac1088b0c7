"""FFmpeg's filters between a decoder and us."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, cast

import av
from av.error import BlockingIOError, EOFError
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData

from asdtune.core.rates import SAMPLE_RATE, VIDEO_FPS

# Scene light of HDR pictures, in units of 203 nits, a sheet of white paper (BT.2408), from their
# signal ld(0), 0..1: the curves of SMPTE ST 2084 (PQ) and of ARIB STD-B67 (HLG), a screen of 1000.
_PQ, _HLG = 16, 18  # as FFmpeg counts curves
_LIGHT = {
    _PQ: "10000/203*pow(max(pow(ld(0),1/78.84375)-0.8359375,0)"
    "/(18.8515625-18.6875*pow(ld(0),1/78.84375)),1/0.1593017578125)",
    _HLG: "1000/203*pow(if(lte(ld(0),0.5),ld(0)*ld(0)/3,"
    "(exp((ld(0)-0.55991073)/0.17883277)+0.28466892)/12),1.2)",
}
_MAX_JITTER_SECONDS = 0.025  # of the times of sound; more is a hole or an overlap


class Filters:
    """A chain of filters; what goes in must not change its form."""

    def __init__(self, add_source: str, form: dict[str, Any], chain: Sequence[str]) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        is_sound = add_source == "add_abuffer"
        nodes = [getattr(self._graph, add_source)(**form)]
        nodes += [self._graph.add(*each.split("=", 1)) for each in chain]
        nodes += [self._graph.add("abuffersink" if is_sound else "buffersink")]
        self._graph.link_nodes(*nodes).configure()

    def push(self, frame: Any) -> None:
        """Take a frame; None behind the last."""
        self._graph.push(frame)

    def pull(self) -> Iterator[Any]:
        """Yield what is ready."""
        while True:
            try:
                yield self._graph.pull()
            except (BlockingIOError, EOFError):
                return

    def end(self) -> Iterator[Any]:
        """Yield what is left."""
        self.push(None)
        yield from self.pull()


def picture_filters(
    frame: av.VideoFrame, aspect: Fraction, *, deinterlace: bool, n_before: int
) -> Filters:
    """Make pictures such as a player shows, 25 per second.

    Args:
        frame: The first of them.
        aspect: Width of a pixel by its height.
        deinterlace: Whether some of them are interlaced.
        n_before: How many have been made before: the time of this one is theirs or later.
    """
    chain = ["yadif=deint=interlaced"] if deinterlace else []
    width, height = _square(frame.width, frame.height, aspect)
    if (width, height) != (frame.width, frame.height):
        chain += [f"scale={width}:{height}", "setsar=1"]
    chain += _turns(frame)
    chain += _usual_brightness(frame)
    chain += [f"fps={VIDEO_FPS}:start_time={n_before / VIDEO_FPS}"]
    return Filters("add_buffer", form_of(frame), chain)


def form_of(frame: av.VideoFrame) -> dict[str, Any]:
    """Describe pictures to the first filter."""
    return {
        "width": frame.width,
        "height": frame.height,
        "format": frame.format,
        "time_base": frame.time_base or Fraction(1, VIDEO_FPS),
    }


def upright_size(frame: av.VideoFrame, aspect: Fraction) -> tuple[int, int]:
    """Give width and height of what `picture_filters` make of a picture."""
    width, height = _square(frame.width, frame.height, aspect)
    return (height, width) if frame.rotation % 180 == 90 else (width, height)


def _turns(frame: av.VideoFrame) -> list[str]:
    """Give the filters that a file's display matrix (a phone held upright) asks for."""
    # Not `frame.side_data`: that and the frame keep each other until Python looks for cycles.
    matrix = cast(Any, SideDataContainer)(frame).get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return []
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))  # x' = a x + c y, y' = b x + d y
    is_turned = abs(b) > abs(a)
    if is_turned:
        a, d = c, b
    flips = ["hflip"] * (a < 0) + ["vflip"] * (d < 0)
    return ["transpose=cclock_flip"] * is_turned + flips


def is_hdr(frame: av.VideoFrame) -> bool:
    """Tell whether a picture is made for screens of high dynamic range."""
    return frame.color_trc in _LIGHT


def _usual_brightness(frame: av.VideoFrame) -> list[str]:
    """Give the filters that bring HDR pictures to usual screens (Reinhard's curve)."""
    if not is_hdr(frame):
        return []
    signal = "st(0,clip((val-minval)/(maxval-minval),0,1))"
    light = f"st(1,{_LIGHT[frame.color_trc]})"
    shown = "pow(ld(1)*(1+ld(1)/25)/(1+ld(1)),1/2.2)*(maxval-minval)+minval"
    return [f"lutyuv=y={signal};{light};{shown}", "setparams=color_trc=bt709"]


def sound_filters(frame: av.AudioFrame, begin: float, channel: int | None) -> Filters:
    """Make 16 kHz mono sound without holes or overlaps.

    Args:
        frame: The first piece of it.
        begin: In seconds on the file's own clock: what comes earlier is cut, and if all comes
            later, silence precedes it.
        channel: Takes this one; None mixes them.
    """
    form = {
        "sample_rate": frame.sample_rate,
        "format": frame.format.name,
        "layout": frame.layout.name,
        "time_base": frame.time_base,
    }
    chain = [] if channel is None else [f"pan=mono|c0=c{channel}"]
    first = round(begin * frame.sample_rate)
    times = f"async=1:min_comp=0.0001:min_hard_comp={_MAX_JITTER_SECONDS}:first_pts={first}"
    chain += [f"aresample={SAMPLE_RATE}:{times}"]
    chain += [f"aformat=s16:channel_layouts=mono:sample_rates={SAMPLE_RATE}"]
    chain += [f"asetnsamples={SAMPLE_RATE}:p=0"]  # blocks of a second
    return Filters("add_abuffer", form, chain)


def _square(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Give the size with square pixels: the shorter side of a pixel grows."""
    if aspect > 1:
        return round(width * aspect / 2) * 2, height
    return width, round(height / aspect / 2) * 2 if aspect < 1 else height
