"""MFCC as `python_speech_features` 0.6 computes them, of whole waveforms or of sound as it comes.

Pre-emphasis, frames of 25 ms every 10 ms without a window, power spectrum of 512 points, 26 mel
filters, logarithm, DCT, lifter, and the log energy in place of coefficient 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import Mfcc
from asdtune.core.rates import MFCC_FPS, MFCC_PER_FRAME, N_MFCC, SAMPLE_RATE

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from asdtune.core.prepare.media import Waveform

FRAME_SAMPLES = SAMPLE_RATE * 25 // 1000  # 400 samples, 25 ms
HOP_SAMPLES = SAMPLE_RATE // MFCC_FPS  # 160 samples, 10 ms
N_FFT = 512
N_MELS = 26
PRE_EMPHASIS = 0.97
LIFTER = 22

_BLOCK_FRAMES = 256  # MFCC frames computed at once: what is at work stays in the processor's cache


def mfcc(waveform: Waveform) -> Mfcc:
    """Compute the MFCC (M, 13) of int16 (n,) as `python_speech_features.mfcc` does at 16 kHz.

    M = 1 + ceil((n - 400) / 160), or 1 where n < 400; the last frame is completed with zeros.

    Raises:
        ValueError: The waveform is not a non-empty int16 vector.
    """
    if waveform.ndim != 1 or waveform.dtype != np.int16 or len(waveform) == 0:
        raise ValueError(
            f"waveform must be int16 (n,), n >= 1: got {waveform.dtype} {waveform.shape}"
        )
    stream = MfccStream()
    return np.concatenate([stream.push(waveform), stream.end()])


class MfccStream:
    """Computes MFCC of sound as it comes; together they are what `mfcc` gives of the whole."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.int16)
        self._n_before = 0  # pre-emphasis looks one sample back, but at the very beginning

    def push(self, block: Waveform) -> Mfcc:
        """Take int16 sound at 16 kHz and give the coefficients (256 k, 13) that are ready."""
        n_block = _BLOCK_FRAMES * HOP_SAMPLES
        n_needed = n_block - HOP_SAMPLES + FRAME_SAMPLES
        self._waiting = np.concatenate([self._waiting, block])
        ready = [np.zeros((0, N_MFCC), np.float32)]
        while len(self._waiting) > self._n_before + n_needed:  # more: the rest is never empty
            ready.append(self._compute(self._waiting[: self._n_before + n_needed]))
            self._waiting = self._waiting[self._n_before + n_block - 1 :]
            self._n_before = 1
        return np.concatenate(ready)

    def end(self) -> Mfcc:
        """Give the last coefficients; the last frame is completed with zeros."""
        if len(self._waiting) == self._n_before:
            return np.zeros((0, N_MFCC), np.float32)
        return self._compute(self._waiting)

    def _compute(self, samples: Waveform) -> Mfcc:
        import torch

        heights = samples.astype(np.float64)
        heights[1:] -= PRE_EMPHASIS * heights[:-1]
        signal = torch.from_numpy(heights)[self._n_before :]
        n_filled = n_samples_of_rows(n_mfcc_frames(len(signal)))
        signal = torch.nn.functional.pad(signal, (0, n_filled - len(signal)))
        return np.asarray(mfcc_of_frames(signal.unfold(0, FRAME_SAMPLES, HOP_SAMPLES)), np.float32)


def n_mfcc_frames(n_samples: int) -> int:
    """Count the MFCC frames of a waveform, the last one completed with zeros.

    Examples:
        >>> [n_mfcc_frames(n) for n in (0, 1, 400, 401, 560, 561)]
        [0, 1, 1, 2, 2, 3]
    """
    if n_samples == 0:
        return 0
    return 1 + max(0, -(-(n_samples - FRAME_SAMPLES) // HOP_SAMPLES))


def n_samples_of_rows(n_rows: int) -> int:
    """Count the audio samples that a number of MFCC frames looks at.

    Examples:
        >>> n_samples_of_rows(1), n_samples_of_rows(2)
        (400, 560)
    """
    return (n_rows - 1) * HOP_SAMPLES + FRAME_SAMPLES


def mfcc_of_frames(frames: torch.Tensor) -> torch.Tensor:
    """Compute the MFCC [*, 13] of pre-emphasised frames [*, 400] in units of int16 samples."""
    import torch

    mel_filters, dct, lifter = _constants(frames.dtype, frames.device)
    spectrum = torch.fft.rfft(frames, N_FFT)  # [*, 257]
    power = (spectrum.real.square() + spectrum.imag.square()) / N_FFT
    eps = float(np.finfo(np.float64).eps)  # what the reference puts for no energy at all
    energy = power.sum(-1)
    energy = torch.where(energy == 0, eps, energy)
    mel_energy = power @ mel_filters  # [*, 26]
    mel_energy = torch.where(mel_energy == 0, eps, mel_energy)
    coefficients = (mel_energy.log() @ dct) * lifter
    return torch.cat([energy.log()[..., None], coefficients[..., 1:]], -1)


def align_to_video(coefficients: Mfcc, n_frames: int) -> tuple[Mfcc, npt.NDArray[np.bool_]]:
    """Fit MFCC (M, 13) to a clip of T video frames: (4T, 13).

    The tail is cut, or the beginning repeated when the sound is short; the second array, (4T,)
    bool, is true for the repeated rows.
    """
    rows = np.arange(n_frames * MFCC_PER_FRAME)
    return coefficients[rows % len(coefficients)], rows >= len(coefficients)


@lru_cache
def _constants(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Give the mel filters (257, 26), the DCT (26, 13) and the lifter (13,)."""
    import scipy.fft
    import torch

    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(N_MFCC) / LIFTER)
    dct = scipy.fft.dct(np.eye(N_MELS), norm="ortho")[:, :N_MFCC]
    return tuple(
        torch.tensor(constant, dtype=dtype, device=device)
        for constant in (_mel_filters(), dct, lifter)
    )


def _mel_filters() -> npt.NDArray[np.float64]:
    """Build triangular filters over 0..8000 Hz, shape (257, 26), corners rounded down to bins."""
    # HTK's scale: mel = 2595 log10(1 + f / 700)
    mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), N_MELS + 2)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    corners = np.floor((N_FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)[:, None]
    low, mid, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - low) / (mid - low), (high - bins) / (high - mid)
    triangles = np.where(bins < mid, rising, falling)
    return np.asarray(np.where((bins >= low) & (bins < high), triangles, 0.0), np.float64)
