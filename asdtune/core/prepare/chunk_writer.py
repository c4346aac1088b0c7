"""Chunks out: H.264 at 25 frames per second and 16 kHz mono AAC, in an mp4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from asdtune.core.files import whole_file
from asdtune.core.prepare.media import Waveform
from asdtune.core.prepare.pictures import convert, letterbox
from asdtune.core.rates import SAMPLE_RATE, VIDEO_FPS
from asdtune.errors import AsdtuneError, is_of_system


class ChunkWriter:
    """Writes one chunk: H.264 at 25 frames per second and AAC at 16 kHz, in an mp4.

    The encoder runs on so many threads, whatever the machine has, so that the same input gives the
    same bytes on any.
    """

    def __init__(
        self,
        to: Any,
        like: av.VideoFrame,
        size: tuple[int, int],
        *,
        crf: int,
        n_threads: int,
    ) -> None:
        self._container = to
        self._width, self._height = size[0] // 2 * 2, size[1] // 2 * 2
        video = self._container.add_stream("libx264", rate=VIDEO_FPS)
        video.width, video.height, video.pix_fmt = self._width, self._height, "yuv420p"
        # x264's macroblock tree reads memory that it never wrote: with it the same pictures give
        # other bytes now and then (seen by running under other values of MALLOC_PERTURB_).
        video.options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        video.codec_context.thread_count = n_threads
        video.codec_context.time_base = Fraction(1, VIDEO_FPS)
        video.codec_context.colorspace = int(like.colorspace)  # decides how colour becomes grey
        video.codec_context.color_range = int(ColorRange.MPEG)
        audio = self._container.add_stream("aac", rate=SAMPLE_RATE)
        audio.layout = "mono"
        audio.bit_rate = 96_000
        self._video, self._audio = video, audio
        self.n_frames = 0
        self._n_samples = 0

    def write_frame(self, frame: av.VideoFrame) -> None:
        """Append one picture."""
        size = self._width, self._height
        if abs(frame.width - size[0]) > 1 or abs(frame.height - size[1]) > 1:
            frame = letterbox(frame, *size)
        picture = convert(frame, "yuv420p", width=size[0], height=size[1], color_range="MPEG")
        picture.pts, picture.time_base = self.n_frames, Fraction(1, VIDEO_FPS)
        picture.pict_type = 0  # let the encoder decide, whatever the source had here
        self._container.mux(self._video.encode(picture))
        self.n_frames += 1

    def write_samples(self, samples: Waveform) -> None:
        """Append sound: int16 (n,), 16 kHz."""
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts, frame.time_base = self._n_samples, Fraction(1, SAMPLE_RATE)
        self._container.mux(self._audio.encode(frame))
        self._n_samples += len(samples)

    def finish(self) -> None:
        """Write what the encoders still hold."""
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))


class SoundQueue:
    """Gives sound in the amounts asked for, from blocks of any size, as long as there is any."""

    def __init__(self, blocks: Iterator[Waveform]) -> None:
        self._blocks = blocks
        self._held: list[Waveform] = []
        self._n_held = 0

    def take(self, n_samples: int) -> Waveform:
        """Take the next samples: fewer at the end of the sound, and none behind it.

        It is not filled up with silence: `mfcc` marks what a video has no sound for.
        """
        while self._n_held < n_samples and (block := next(self._blocks, None)) is not None:
            self._held.append(block)
            self._n_held += len(block)
        if not self._held:
            return np.zeros(0, np.int16)
        joined = np.concatenate(self._held)
        self._held, self._n_held = [joined[n_samples:]], max(0, len(joined) - n_samples)
        return joined[:n_samples]


@contextmanager
def write_chunk(
    path: Path,
    like: av.VideoFrame,
    *,
    crf: int,
    n_threads: int = 1,
    size: tuple[int, int] | None = None,
) -> Iterator[ChunkWriter]:
    """Open a chunk for writing; it is there, whole, when the block ends without an error.

    Args:
        path: The mp4.
        like: Its first picture, whose colours it has.
        crf: Quality of the pictures, as x264 counts it; less is better.
        n_threads: Of the encoder.
        size: Width and height; pictures of another shape get black bars. None: as the first.
    """
    size = size or (like.width, like.height)
    with whole_file(path) as beside:
        try:
            container = av.open(str(beside), "w", format="mp4")
            try:
                writer = ChunkWriter(container, like, size, crf=crf, n_threads=n_threads)
                yield writer
                writer.finish()
            except BaseException:
                with suppress(av.error.FFmpegError):  # an unfinished file, to be deleted
                    container.close()
                raise
            container.close()
        except av.error.FFmpegError as error:
            if is_of_system(error.errno):
                raise OSError(error.errno, error.strerror) from error
            raise AsdtuneError(
                f"the chunk cannot be encoded ({error.strerror or error})",
                where=path,
                fix="delete its source from the folder, or convert it to mp4 first",
            ) from error
