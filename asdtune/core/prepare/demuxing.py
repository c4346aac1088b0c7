"""An open video: its packets on one clock, decoded, from the first picture on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from asdtune.core.prepare.clock import Clock, find_offsets
from asdtune.core.prepare.streams import DOWNLOAD_AGAIN, choose_pictures, open_video
from asdtune.core.rates import VIDEO_FPS
from asdtune.errors import AsdtuneError

_MAX_MISSING_SECONDS = 0.5  # a file may end this much before its own header says
_MAX_MISSING_SHARE = 0.02
_MAX_SECONDS_TO_KEY = 15  # a stream without a key picture until then needs none
_MAX_BROKEN_PACKETS = 50  # of sound, where a file begins in the middle of it
_MAX_PIXEL_ASPECT = 4  # more is no camera's
_TS_DISCONT = 0x200  # FFmpeg's mark of formats whose clock may restart in the middle


class Video:
    """An open video file.

    Attributes:
        pictures: The stream of pictures that is used.
        time_base: Its unit of time, in seconds.
        usual_duration: Of a picture, in these units.
        origin: Time of the first picture in these units; known once `packets` was called.
    """

    def __init__(self, container: Any, path: Path, notes: list[str]) -> None:
        self._container, self._path, self._notes = container, path, notes
        self.pictures = choose_pictures(container, path, notes)
        self.time_base = Fraction(self.pictures.time_base or Fraction(1, VIDEO_FPS))
        rate = self.pictures.average_rate or self.pictures.guessed_rate or VIDEO_FPS
        self.usual_duration = max(1, round(1 / (rate * self.time_base)))
        self.origin = 0
        # AVI stores no presentation times; what FFmpeg reports as such is wrong when pictures are
        # reordered (B-frames), while decoding times count the pictures in the order they come out.
        self._has_no_pts = container.format.name == "avi"
        self._offsets = [0.0]
        if int(container.format.flags) & _TS_DISCONT:
            with open_video(path) as again:
                self._offsets = find_offsets(again.demux([s.index for s in self._timed]))
        if len(self._offsets) > 1:
            parts = f"its {len(self._offsets)} parts follow each other without a gap"
            notes.append(f"its clock restarts in the middle: {parts}")

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height."""
        aspect = Fraction(self.pictures.sample_aspect_ratio or 1)
        return aspect if 1 / _MAX_PIXEL_ASPECT < aspect < _MAX_PIXEL_ASPECT else Fraction(1)

    def time_of(self, of: Any) -> int | None:
        """Give the time of a packet or a picture, in units of the stream."""
        time: int | None = of.dts if self._has_no_pts else of.pts
        return time

    def packets(self, stream: Any) -> Iterator[Any]:
        """Give the packets of a stream, and find the first picture.

        Pictures before the first key picture cannot be decoded, and are left out.
        """
        packets = self._demux(self.pictures, stream)
        kept: list[Any] = []
        key: Any = None
        first = origin = None
        for packet in packets:
            time = self.time_of(packet)
            if packet.stream is self.pictures and time is not None:
                first = time if first is None else min(first, time)
                waited = (time - first) * self.time_base
                if key is None and not packet.is_keyframe and waited < _MAX_SECONDS_TO_KEY:
                    continue
                key = key or packet
                if not packet.is_discard:
                    origin = time if origin is None else min(origin, time)
            if packet.stream is stream:
                kept.append(packet)
            # An edit may begin between key pictures: these are discarded, and what is shown first
            # is known when pictures are decoded that are shown later.
            is_known = origin is not None and (not key.is_discard or (packet.dts or 0) >= origin)
            if is_known and packet.stream is self.pictures:
                break
        self.origin = origin or 0
        seconds = float((self.origin - (first or 0)) * self.time_base)
        if seconds > 0 and not key.is_discard:
            self._notes.append(
                f"it begins between two key pictures: its first {seconds:.1f} s have no pictures "
                "and are left out"
            )
        if len(self._offsets) == 1:
            packets = self._container.demux(stream)
        return chain(kept, (packet for packet in packets if packet.stream is stream))

    def timed_pictures(self) -> Iterator[Any]:
        """Decode the pictures; their times begin with the first one, and all have a duration.

        Raises:
            AsdtuneError: They are damaged, or end before the file's header says.
        """
        begin: int | None = None
        end = 0
        for frame in self.decode(self.packets(self.pictures)):
            time = self.time_of(frame)
            if begin is None:  # a decoder that reorders pictures gives them a later decoding time
                begin = (time or 0) if self._has_no_pts else self.origin
            frame.pts = end if time is None else time - begin
            frame.duration = frame.duration or self.usual_duration
            end = max(end, frame.pts + frame.duration)
            yield frame
        self._check_whole(end)

    def decode(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Decode packets of one stream.

        Raises:
            AsdtuneError: They are damaged. Sound may begin in the middle of a packet.
        """
        is_begun = False
        for i, packet in enumerate(packets):
            try:
                for frame in packet.decode():
                    is_begun = True
                    yield frame
            except FFmpegError as error:
                if packet.stream.type == "audio" and i < _MAX_BROKEN_PACKETS and not is_begun:
                    continue
                seconds = float((packet.pts or 0) * packet.time_base)
                raise AsdtuneError(
                    f"damaged: the {packet.stream.type} cannot be decoded at {seconds:.2f} s "
                    f"({error.strerror or error})",
                    where=self._path,
                    fix=DOWNLOAD_AGAIN,
                ) from error

    def _check_whole(self, length: int) -> None:
        """Refuse a file whose last picture ends before its header says.

        Args:
            length: From the first picture to the end of the last, in units of the stream.

        Raises:
            AsdtuneError: So it is.
        """
        if len(self._offsets) > 1:  # no header speaks for all parts
            return
        stream = self.pictures
        n_left_out = 0 if stream.start_time is None else max(0, self.origin - stream.start_time)
        seconds = float((n_left_out + length) * self.time_base)
        declared = float(stream.duration * self.time_base) if stream.duration else 0.0
        if self._has_no_pts and stream.frames and stream.average_rate:
            # A cut AVI lost its index, and with it the duration; its header still counts pictures.
            declared = max(declared, float(stream.frames / stream.average_rate))
        if declared - seconds > max(_MAX_MISSING_SECONDS, _MAX_MISSING_SHARE * declared):
            raise AsdtuneError(
                f"truncated: the pictures end at {seconds:.1f} s of {declared:.1f} s",
                where=self._path,
                fix=DOWNLOAD_AGAIN,
            )

    def _demux(self, *streams: Any) -> Iterator[Any]:
        if len(self._offsets) == 1:
            yield from self._container.demux(*streams)
            return
        clock = Clock(self._offsets)
        for packet in self._container.demux(*self._timed):
            clock.move(packet)
            yield packet

    @property
    def _timed(self) -> list[Any]:
        """The streams by which a restart is found, whichever of them are used."""
        return [self.pictures, *self._container.streams.audio]
