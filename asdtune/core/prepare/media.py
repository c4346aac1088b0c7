"""Video files in: pictures at 25 per second and sound at 16 kHz, on one clock.

The clock begins with the first picture that can be decoded. Picture `k` is the one nearest to
`k / 25` seconds, sample `n` the sound at `n / 16000` seconds, whatever the file's own rates.
Pictures come as a player shows them: upright, deinterlaced, with square pixels.

PyAV decodes and FFmpeg's filters do the rest. `notes`, where a caller gives a list, gets a sentence
for everything that people should know of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from asdtune.core.prepare.demuxing import Video
from asdtune.core.prepare.filters import (
    Filters,
    is_hdr,
    picture_filters,
    sound_filters,
    upright_size,
)
from asdtune.core.prepare.streams import (
    DOWNLOAD_AGAIN,
    choose_pictures,
    choose_sound,
    decode_or_nothing,
    open_video,
)
from asdtune.core.rates import SAMPLE_RATE, VIDEO_FPS
from asdtune.errors import AsdtuneError

Waveform = npt.NDArray[np.int16]  # (n,), 16 kHz mono

_MAX_HOLE_SECONDS = 10  # a longer one is silence of ours: the filters would hold all of it
_FRAMES_AT_ONCE = 16  # of sound: asking the filters after each would cost as much as decoding


@dataclass(frozen=True)
class VideoInfo:
    """What the headers of a video file say."""

    seconds: float
    n_audio_tracks: int


def probe(path: Path) -> VideoInfo:
    """Read the headers of a video file.

    Raises:
        AsdtuneError: The file is not a readable video, or has no video stream.
    """
    with open_video(path) as container:
        stream = choose_pictures(container, path, [])
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        return VideoInfo(seconds, len(container.streams.audio))


def count_frames(path: Path) -> int:
    """Count the frames at 25 per second that `read_frames` yields, without decoding any.

    Raises:
        AsdtuneError: The file is not a readable video.
    """
    with open_video(path) as container:
        video = Video(container, path, [])
        end = None
        for packet in video.packets(video.pictures):
            time = video.time_of(packet)
            if time is not None and not packet.is_corrupt and not packet.is_discard:
                end = max(end or time, time + (packet.duration or video.usual_duration))
        if end is None:
            return 0
        return max(1, int((end - video.origin) * video.time_base * VIDEO_FPS + Fraction(1, 2)))


def largest_size(path: Path) -> tuple[int, int] | None:
    """Give width and height of the largest picture that `read_frames` yields, None where none is.

    It looks at a key picture a second: at others, the size does not change.

    Raises:
        AsdtuneError: The file is not a readable video.
    """
    sizes = []
    last: float | None = None
    with open_video(path) as container:
        video = Video(container, path, [])
        for packet in video.packets(video.pictures):
            time = float((video.time_of(packet) or 0) * video.time_base)
            is_next = packet.is_keyframe and (last is None or time >= last + 1)
            if is_next or not packet.size:
                last = time
                frames = decode_or_nothing(packet)
                sizes += [upright_size(frame, video.pixel_aspect) for frame in frames]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def read_frames(path: Path, *, notes: list[str] | None = None) -> Iterator[av.VideoFrame]:
    """Yield the pictures of a video at 25 per second, one held at a time.

    A picture that lasts longer than one frame is yielded again (from the same memory).

    Raises:
        AsdtuneError: The file is not a readable video, is damaged, or ends before its header says.
    """
    with open_video(path) as container:
        video = Video(container, path, [] if notes is None else notes)
        filters: Filters | None = None
        form: Any = None
        n_frames, is_interlaced = 0, False
        for frame in video.timed_pictures():
            is_interlaced |= frame.interlaced_frame
            size = frame.width, frame.height, frame.format.name
            looks = frame.rotation, video.pixel_aspect, is_interlaced, frame.color_trc
            last, form = form, (*size, *looks)
            if filters is None or form != last:
                for picture in filters.end() if filters else ():
                    n_frames += 1
                    yield picture
                if is_hdr(frame) and filters is None and notes is not None:
                    notes.append("its pictures are HDR: they are made as bright as usual ones")
                filters = picture_filters(
                    frame, video.pixel_aspect, deinterlace=is_interlaced, n_before=n_frames
                )
            filters.push(frame)
            for picture in filters.pull():
                n_frames += 1
                yield picture
        if filters is None:
            raise AsdtuneError("no picture can be decoded", where=path, fix=DOWNLOAD_AGAIN)
        yield from filters.end()


def read_audio(
    path: Path, *, track: int | None = None, notes: list[str] | None = None
) -> Iterator[Waveform]:
    """Yield the sound of a video in blocks, at 16 kHz, mono, from its first picture on.

    Args:
        path: The video.
        track: Number of the audio track, from 1, where there are several; None to choose.
        notes: See the module's docstring.

    Raises:
        AsdtuneError: The file is not a readable video, has no audio stream, or is damaged.
    """
    with open_video(path) as container:
        video = Video(container, path, [])
        sound = choose_sound(container, path, track, [] if notes is None else notes)
        packets = video.packets(sound.stream)
        origin = float(video.origin * video.time_base)
        filters: Filters | None = None
        form: Any = None
        n_samples = 0
        for i, frame in enumerate(video.decode(packets)):
            last, form = form, (frame.format.name, frame.layout.name, frame.sample_rate)
            hole = (frame.time or 0.0) - origin - n_samples / SAMPLE_RATE
            if filters is None or form != last or hole > _MAX_HOLE_SECONDS:
                for block in filters.end() if filters else ():
                    n_samples += block.samples
                    yield block.to_ndarray()[0]
                if hole > _MAX_HOLE_SECONDS:
                    n_missing = round((frame.time - origin) * SAMPLE_RATE) - n_samples
                    yield from _silence(n_missing)
                    n_samples += n_missing
                filters = sound_filters(frame, origin + n_samples / SAMPLE_RATE, sound.channel)
            filters.push(frame)
            for block in filters.pull() if i % _FRAMES_AT_ONCE == 0 else ():
                n_samples += block.samples
                yield block.to_ndarray()[0]
        for block in filters.end() if filters else ():
            yield block.to_ndarray()[0]


def _silence(n_samples: int) -> Iterator[Waveform]:
    """Yield silence in blocks of at most a second."""
    for start in range(0, n_samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, n_samples - start), np.int16)
