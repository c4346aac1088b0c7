"""Which streams of a file are taken: the camera, and the speaker's sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.stream import Disposition

from asdtune.errors import AsdtuneError, is_of_system

DOWNLOAD_AGAIN = "download or copy it again, or delete it from the folder"

_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
_FOR_SOME = Disposition.comment | Disposition.visual_impaired | Disposition.descriptions
_SILENT_RMS = 1e-4  # of full scale: -80 dB, below the noise of any microphone
_LOUD_SECONDS = 2.0  # of a track are enough to judge it
_MIN_LOUD_SECONDS = 0.2
_CANCELLED_SHARE = 0.02  # of a channel's energy is left in the mix


@dataclass(frozen=True)
class Sound:
    """The track that is taken: its stream, and the channel where it is not the mix of all."""

    stream: Any
    channel: int | None = None


@contextmanager
def open_video(path: Path) -> Iterator[Any]:  # PyAV types its containers as Input | Output
    """Open a video for reading and translate FFmpeg's errors."""
    if not path.exists():
        raise AsdtuneError("no such file", where=path, fix="check the path")
    if path.stat().st_size == 0:
        raise AsdtuneError("the file is empty", where=path, fix=DOWNLOAD_AGAIN)
    try:
        with av.open(str(path)) as container:
            yield container
    except FFmpegError as error:
        if is_of_system(error.errno):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise AsdtuneError(
            f"not a readable video ({error.strerror or error})", where=path, fix=DOWNLOAD_AGAIN
        ) from error


def choose_pictures(container: Any, path: Path, notes: list[str]) -> Any:
    """Take the default stream, and the largest of several; cover art is none."""
    streams = [s for s in _decodable(container.streams.video) if not _is(s, _STILLS)]
    if not streams:
        raise AsdtuneError(
            "no video stream", where=path, fix="download it with pictures, or delete it"
        )
    chosen = max(streams, key=lambda s: (_is(s, Disposition.default), s.width * s.height))
    if len(streams) > 1:
        number, size = streams.index(chosen) + 1, f"{chosen.width}x{chosen.height}"
        notes.append(f"of {len(streams)} video streams number {number}, {size}, is used")
    chosen.thread_type = "NONE"  # one thread in each worker: the batch engine fills the cores
    return chosen


def choose_sound(container: Any, path: Path, track: int | None, notes: list[str]) -> Sound:
    """Take the track asked for; else the default one that is no commentary and not silent.

    Args:
        container: The open file.
        path: Its path.
        track: Number of the audio track, from 1, where there are several; None to choose.
        notes: Gets a sentence where there was a choice.
    """
    streams = _decodable(container.streams.audio)
    if not streams:
        raise AsdtuneError(
            "no audio stream", where=path, fix="download it with sound, or delete it"
        )
    if track is not None and len(streams) > 1 and track > len(streams):
        raise AsdtuneError(
            f"no audio track {track}: it has {len(streams)}",
            where=path,
            fix="check --audio-track, or the column audio_track",
        )
    if track is not None and len(streams) > 1:
        ranked = [streams[track - 1]]
    else:
        ranked = sorted(streams, key=lambda s: (_is(s, _FOR_SOME), not _is(s, Disposition.default)))
    first = chosen = ranked[0]
    channel = None
    if len(ranked) > 1 or first.layout.nb_channels == 2:
        heard = ((stream, *_hear(path, stream.index)) for stream in ranked)
        loud = ((stream, channel) for stream, is_silent, channel in heard if not is_silent)
        chosen, channel = next(loud, (first, None))
    if len(ranked) > 1:
        text = f"of {len(streams)} audio tracks track {streams.index(chosen) + 1} is used"
        if chosen is not first:
            text += f", because track {streams.index(first) + 1} is silent"
        notes.append(f"{text}; --audio-track takes another")
    if channel is not None:
        notes.append(
            f"its two channels cancel each other: only the {('left', 'right')[channel]} one is used"
        )
    return Sound(chosen, channel)


def _decodable(streams: Iterable[Any]) -> list[Any]:
    return [stream for stream in streams if stream.codec_context is not None]


def _is(stream: Any, disposition: Disposition) -> bool:
    return bool(stream.disposition & disposition)


def _hear(path: Path, index: int) -> tuple[bool, int | None]:
    """Listen until somebody was heard: is it silent, and which channel is to be taken alone?"""
    energy = np.zeros(3)  # of the mix, and of the first two channels
    seconds = 0.0
    with open_video(path) as container:
        for packet in container.demux(container.streams[index]):
            for frame in decode_or_nothing(packet):
                channels = _channels(frame)
                squares = np.square(channels).sum(1) / max(1, frame.samples)
                if squares.max() < _SILENT_RMS**2:
                    continue
                seconds += frame.samples / frame.sample_rate
                mix = np.square(channels.mean(0)).mean()
                energy += [mix, squares[0], squares[1] if len(squares) == 2 else 0]
            if seconds >= _LOUD_SECONDS:
                break
    is_cancelled = energy[2] > 0 and energy[0] < _CANCELLED_SHARE * energy[1:].max()
    return seconds < _MIN_LOUD_SECONDS, int(energy[1:].argmax()) if is_cancelled else None


def decode_or_nothing(packet: Any) -> Iterator[Any]:
    """Decode what can be decoded."""
    with suppress(FFmpegError):
        yield from packet.decode()


def _channels(frame: av.AudioFrame) -> npt.NDArray[np.float64]:
    """Give sound (C, n) as -1..1."""
    samples: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        return np.asarray(samples, np.float64)
    offset = 128 if samples.dtype == np.uint8 else 0
    return (samples.astype(np.float64) - offset) / (np.iinfo(samples.dtype).max + 1 - offset)
