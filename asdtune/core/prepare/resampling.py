"""Decoded sound of any form and with any timestamps to 16 kHz mono on the clock of the pictures."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt

from asdtune.core.rates import SAMPLE_RATE

Waveform = npt.NDArray[np.int16]  # (n,), 16 kHz mono

_MAX_GAP_SECONDS = 0.025  # timestamps may jitter by less; more is a hole or an overlap
_BLOCK_SAMPLES = 16_384  # of the file's own rate, converted at once
_NOTHING: Waveform = np.zeros(0, np.int16)


class AudioTimeline:
    """Keeps resampled sound on the clock of the pictures."""

    def __init__(self, origin_seconds: float) -> None:
        self._origin = origin_seconds
        self._heard_seconds: float | None = None  # where the next frame should begin
        self._n_to_drop = 0

    def n_samples_before(self, frame: av.AudioFrame) -> int:
        """Give the samples of silence missing before a frame; negative where it overlaps."""
        begins = frame.time
        if begins is None:
            begins = self._origin if self._heard_seconds is None else self._heard_seconds
        if self._heard_seconds is None:
            gap = begins - self._origin
        else:
            gap = begins - self._heard_seconds
            if abs(gap) <= _MAX_GAP_SECONDS:
                gap, begins = 0.0, self._heard_seconds
        self._heard_seconds = begins + frame.samples / frame.sample_rate
        return round(gap * SAMPLE_RATE)

    def fill(self, n_gap: int) -> Iterator[Waveform]:
        """Yield the silence of a gap; remember an overlap, which the next samples lose."""
        n_silent = max(0, n_gap - self._n_to_drop)
        self._n_to_drop = max(0, self._n_to_drop - n_gap)
        yield from _silence(n_silent)

    def keep(self, samples: Waveform) -> Iterator[Waveform]:
        """Yield samples without those that overlap what was heard before."""
        n_dropped = min(self._n_to_drop, len(samples))
        self._n_to_drop -= n_dropped
        if n_dropped < len(samples):
            yield samples[n_dropped:]


class Resampler:
    """Converts sound of one form to 16 kHz mono, in blocks.

    A call for every packet would cost as much as decoding.
    """

    def __init__(self) -> None:
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        self._fifo = av.AudioFifo()
        self._is_used = False

    def push(self, frame: av.AudioFrame) -> None:
        """Take a frame."""
        self._is_used = True
        frame.pts = None  # the fifo would refuse jitter; the timeline has looked at it
        self._fifo.write(frame)

    @property
    def is_full(self) -> bool:
        """Whether a block is together."""
        return bool(self._fifo.samples >= _BLOCK_SAMPLES)

    def flush(self) -> Waveform:
        """Give the samples of all frames so far, but for what the filter holds back."""
        block = self._fifo.read(partial=True) if self._fifo.samples else None
        return _NOTHING if block is None else _samples(self._resampler.resample(block))

    def end(self) -> Waveform:
        """Give what is left; nothing where no frame came."""
        last = self.flush()
        rest = _samples(self._resampler.resample(None)) if self._is_used else _NOTHING
        return np.concatenate([last, rest])


def form_of(frame: av.AudioFrame) -> tuple[str, str, int]:
    """Name what a resampler is made for: sample format, channels and rate."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _samples(blocks: list[av.AudioFrame]) -> Waveform:
    return np.concatenate([_NOTHING, *(block.to_ndarray()[0] for block in blocks)])


def _silence(n_samples: int) -> Iterator[Waveform]:
    """Yield silence in blocks of at most a second."""
    for start in range(0, n_samples, SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, n_samples - start), np.int16)
