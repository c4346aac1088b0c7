"""Video files in: frames at 25 per second and audio at 16 kHz, on one clock.

The clock of a video begins with its first video frame. Frame `k` of what is read is the picture
nearest to `k / 25` seconds, whatever the file's own rate; sample `n` of the audio is the sound at
`n / 16000` seconds: audio that begins late is preceded by silence, early audio is cut.

PyAV decodes in this process; it carries FFmpeg in its wheel. Every error of FFmpeg becomes an
`AsdtuneError` here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import av
import av.filter
from av.error import FFmpegError

from asdtune.core.prepare.resampling import AudioTimeline, Resampler, Waveform, form_of
from asdtune.core.rates import VIDEO_FPS
from asdtune.errors import AsdtuneError

_MAX_MISSING_SECONDS = 0.5  # a file may end this much before its own header says
_MAX_MISSING_SHARE = 0.02
_DOWNLOAD_AGAIN = "download or copy it again, or delete it from the folder"


@dataclass(frozen=True)
class VideoInfo:
    """What the headers of a video file say."""

    seconds: float
    has_audio: bool


@dataclass(frozen=True)
class _Timing:
    """A picture's time in units of the stream, since the first picture."""

    start: int
    duration: int


def probe(path: Path) -> VideoInfo:
    """Read the headers of a video file.

    Raises:
        AsdtuneError: The file is not a readable video, or has no video stream.
    """
    with _open(path) as container:
        stream = _video_stream(container, path)
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        return VideoInfo(seconds, bool(container.streams.audio))


def count_frames(path: Path) -> int:
    """Count the frames at 25 per second that `read_frames` yields, without decoding any.

    Raises:
        AsdtuneError: The file is not a readable video.
    """
    with _open(path) as container:
        stream = _video_stream(container, path)
        time_base = _time_base(stream)
        uses_dts = _has_no_pts(container)
        first: int | None = None
        end = 0
        for packet in container.demux(stream):
            time = packet.dts if uses_dts else packet.pts
            if time is None or packet.is_corrupt or packet.is_discard:
                continue
            first = time if first is None else min(first, time)
            end = max(end, time + _duration(packet, stream))
        return 0 if first is None else max(1, _nearest_slot(end - first, time_base))


def read_frames(path: Path) -> Iterator[av.VideoFrame]:
    """Yield the pictures of a video at 25 per second, upright, one held at a time.

    A picture that lasts longer than one frame is yielded again (the same object).

    Raises:
        AsdtuneError: The file is not a readable video, is damaged, or ends before its header says.
    """
    with _open(path) as container:
        stream = _video_stream(container, path)
        time_base = _time_base(stream)
        upright = _Upright()
        held: av.VideoFrame | None = None
        n_yielded, end = 0, 0
        for timing, frame in _timed_frames(container, stream, path):
            slot = _nearest_slot(timing.start, time_base)
            while held is not None and n_yielded < slot:
                yield held
                n_yielded += 1
            held = upright(frame)
            end = timing.start + timing.duration
        if held is None:
            raise AsdtuneError("no picture can be decoded", where=path, fix=_DOWNLOAD_AGAIN)
        n_frames = max(1, _nearest_slot(end, time_base))
        _check_whole(container, stream, float(end * time_base), path)
        while n_yielded < n_frames:
            yield held
            n_yielded += 1


def read_audio(path: Path) -> Iterator[Waveform]:
    """Yield the sound of a video in blocks, at 16 kHz, mono, from its first picture on.

    Raises:
        AsdtuneError: The file is not a readable video, has no audio stream, or is damaged.
    """
    with _open(path) as container:
        video = _video_stream(container, path)
        if not container.streams.audio:
            raise AsdtuneError(
                "no audio stream", where=path, fix="download it with sound, or delete it"
            )
        stream = container.streams.audio[0]
        origin, packets = _origin_and_packets(container, video, stream, path)
        timeline = AudioTimeline(origin)
        resampler, form = Resampler(), None
        for frame in _decode_all(packets, path):
            last, form = form, form_of(frame)
            if form != last:  # at first, and where a file changes it in the middle
                yield from timeline.keep(resampler.end())
                resampler = Resampler()
            if n_gap := timeline.n_samples_before(frame):
                yield from timeline.keep(resampler.flush())
                yield from timeline.fill(n_gap)
            resampler.push(frame)
            if resampler.is_full:
                yield from timeline.keep(resampler.flush())
        yield from timeline.keep(resampler.end())


class _Upright:
    """Turns pictures as the file's rotation metadata (a phone held upright) asks."""

    _TURNS: ClassVar = {90: ["cclock"], 180: ["clock", "clock"], 270: ["clock"]}

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._form: tuple[int, int, int, str] | None = None  # what the graph is made for

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        degrees = round(frame.rotation) % 360
        if degrees not in self._TURNS:
            return frame
        form = (degrees, frame.width, frame.height, frame.format.name)
        if self._graph is None or form != self._form:
            self._graph, self._form = self._make_graph(frame, self._TURNS[degrees]), form
        self._graph.push(frame)
        turned = self._graph.pull()
        assert isinstance(turned, av.VideoFrame)
        return turned

    @staticmethod
    def _make_graph(frame: av.VideoFrame, directions: list[str]) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, VIDEO_FPS),
        )
        turns = [graph.add("transpose", direction) for direction in directions]
        graph.link_nodes(source, *turns, graph.add("buffersink")).configure()
        return graph


@contextmanager
def _open(path: Path) -> Iterator[Any]:  # PyAV types its containers as Input | Output
    """Open a video for reading and translate FFmpeg's errors."""
    if not path.exists():
        raise AsdtuneError("no such file", where=path, fix="check the path")
    if path.stat().st_size == 0:
        raise AsdtuneError("the file is empty", where=path, fix=_DOWNLOAD_AGAIN)
    try:
        with av.open(str(path)) as container:
            yield container
    except FFmpegError as error:
        raise AsdtuneError(
            f"not a readable video ({error.strerror or error})", where=path, fix=_DOWNLOAD_AGAIN
        ) from error


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise AsdtuneError(
            "no video stream", where=path, fix="download it with pictures, or delete it"
        )
    stream = container.streams.video[0]
    stream.thread_type = "NONE"  # one thread in each worker: the batch engine fills the cores
    return stream


def _decode_all(packets: Iterable[Any], path: Path) -> Iterator[Any]:
    for packet in packets:
        try:
            yield from packet.decode()
        except FFmpegError as error:
            at = "" if packet.pts is None else f" at {float(packet.pts * packet.time_base):.2f} s"
            raise AsdtuneError(
                f"damaged: the {packet.stream.type} cannot be decoded{at} "
                f"({error.strerror or error})",
                where=path,
                fix=_DOWNLOAD_AGAIN,
            ) from error


def _timed_frames(
    container: Any, stream: Any, path: Path
) -> Iterator[tuple[_Timing, av.VideoFrame]]:
    """Yield pictures with their time since the first one, strictly increasing."""
    uses_dts = _has_no_pts(container)
    usual = _duration(None, stream)
    origin: int | None = None
    last = -1
    for frame in _decode_all(container.demux(stream), path):
        time = frame.dts if uses_dts else frame.pts
        if origin is None:
            origin = time or 0
        start = last + usual if time is None else time - origin
        if start <= last:  # two pictures for one instant: the later one cannot be shown
            continue
        last = start
        yield _Timing(start, frame.duration or usual), frame


def _origin_and_packets(
    container: Any, video: Any, audio: Any, path: Path
) -> tuple[float, Iterator[Any]]:
    """Give the time of the first picture on the clock of the file, and the packets of sound."""
    passed: list[Any] = []  # sound that lies before the first picture in the file
    packets = container.demux(video, audio)

    def pictures() -> Iterator[Any]:
        for packet in packets:
            if packet.stream is video:
                yield packet
            elif packet.size:  # not the empty one that ends the stream
                passed.append(packet)

    if _has_no_pts(container):
        # The first packet holds the first picture; a decoder that reorders only delays it.
        first = next((p.dts for p in pictures() if p.dts is not None), 0)
    else:
        first = _first_pts(pictures(), path)
    return float(first * _time_base(video)), chain(passed, container.demux(audio))


def _first_pts(packets: Iterator[Any], path: Path) -> int:
    """Give the time of the first picture that a decoder shows."""
    looked_at = []
    for packet in packets:
        looked_at.append(packet)
        first = looked_at[0]
        if not first.is_keyframe or first.is_discard or None in (first.pts, packet.dts, packet.pts):
            break
        if packet.pts < first.pts:  # shown before the key picture, if it can be shown at all
            break
        if packet.dts >= first.pts:  # and so all that follow are shown later
            return int(first.pts)
    shown = _decode_all(chain(looked_at, packets), path)
    return next((frame.pts for frame in shown), 0) or 0


def _has_no_pts(container: Any) -> bool:
    # AVI stores no presentation times; what FFmpeg reports as such is wrong when pictures are
    # reordered (B-frames), while decoding times count the pictures in the order they come out.
    return bool(container.format.name == "avi")


def _duration(of: Any, stream: Any) -> int:
    """Give the duration of a packet, or of a usual picture, in units of the stream; at least 1."""
    if of is not None and of.duration:
        return int(of.duration)
    rate = stream.average_rate or stream.guessed_rate or VIDEO_FPS
    return max(1, round(1 / (rate * _time_base(stream))))


def _time_base(stream: Any) -> Fraction:
    return Fraction(stream.time_base or Fraction(1, VIDEO_FPS))


def _nearest_slot(time: int, time_base: Fraction) -> int:
    """Round a time to the nearest frame at 25 per second, halves up, without floating point."""
    numerator, denominator = time_base.numerator * VIDEO_FPS, time_base.denominator
    return (2 * time * numerator + denominator) // (2 * denominator)


def _check_whole(container: Any, stream: Any, seconds: float, path: Path) -> None:
    declared = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if _has_no_pts(container) and stream.frames and stream.average_rate:
        # A cut AVI has lost its index, and with it the duration; its header still counts pictures.
        declared = max(declared, float(stream.frames / stream.average_rate))
    if declared - seconds > max(_MAX_MISSING_SECONDS, _MAX_MISSING_SHARE * declared):
        raise AsdtuneError(
            f"truncated: the pictures end at {seconds:.1f} s of {declared:.1f} s",
            where=path,
            fix=_DOWNLOAD_AGAIN,
        )
