"""Videos to MFCC, the sound as TalkNet takes it.

In: videos below a folder, and their face crops if they are there. Out: at the same place below
another folder `<clip>.npz` with `data` (4T, 13) float32 at 100 frames per second, and `padded`
(4T,) bool: rows that are no sound of this clip but repeat its beginning.

The coefficients equal those of `python_speech_features` 0.6, on which the published checkpoints
were trained: pre-emphasis, frames of 25 ms every 10 ms without a window, power spectrum of 512
points, 26 mel filters, logarithm, DCT, lifter, and the log energy in place of coefficient 0.

    for result in extract_mfccs(Path("videos"), Path("face_crops"), Path("mfccs"), ...):
        print(result.name, result.status)
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdtune.core.arrays import Mfcc, map_data, write_npz
from asdtune.core.prepare.batch import (
    ClipResult,
    Outcome,
    Work,
    forget_removed_chunks,
    run_batch,
    works_of_videos,
)
from asdtune.core.rates import MFCC_FPS, MFCC_PER_FRAME, N_MFCC, SAMPLE_RATE, SAMPLES_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from asdtune.core.prepare.media import Waveform

STAGE = "mfcc"
_VERSION = 1  # raise it when the same settings begin to give other MFCC

FRAME_SAMPLES = SAMPLE_RATE * 25 // 1000  # 400 samples, 25 ms
HOP_SAMPLES = SAMPLE_RATE // MFCC_FPS  # 160 samples, 10 ms
N_FFT = 512
N_MELS = 26
PRE_EMPHASIS = 0.97
LIFTER = 22

_BLOCK_FRAMES = 4096  # MFCC frames computed at once: bounds memory at 41 s of sound
_SILENT_RMS = 1e-4  # of full scale: -80 dB, below the noise of any microphone


def mfcc(waveform: Waveform) -> Mfcc:
    """Compute MFCC as `python_speech_features.mfcc(waveform, 16000)` does.

    Args:
        waveform: Shape (n,), int16, 16 kHz, n >= 1.

    Returns:
        Shape (M, 13), float32, M = 1 + ceil((n - 400) / 160), or 1 where n < 400. The last frame
        is completed with zeros.

    Raises:
        ValueError: The waveform is not a non-empty int16 vector.
    """
    if waveform.ndim != 1 or waveform.dtype != np.int16 or len(waveform) == 0:
        raise ValueError(
            f"waveform must be int16 (n,), n >= 1: got {waveform.dtype} {waveform.shape}"
        )
    n_frames = 1 + max(0, -(-(len(waveform) - FRAME_SAMPLES) // HOP_SAMPLES))
    coefficients = np.empty((n_frames, N_MFCC), np.float32)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, n_frames)
        signal = _emphasised(waveform, start, stop)
        frames = signal.unfold(0, FRAME_SAMPLES, HOP_SAMPLES)  # (stop - start, 400)
        coefficients[start:stop] = mfcc_of_frames(frames).numpy()
    return coefficients


def mfcc_of_frames(frames: torch.Tensor) -> torch.Tensor:
    """Compute the MFCC of frames that are pre-emphasised already.

    Args:
        frames: Shape [*, 400], floating point, in units of int16 samples.

    Returns:
        Shape [*, 13], same dtype and device.
    """
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
    """Fit MFCC frames to a clip of a number of video frames.

    Args:
        coefficients: Shape (M, 13), 100 frames per second.
        n_frames: Length T of the clip, in video frames.

    Returns:
        Shape (4T, 13): the tail is cut, or the beginning repeated when the sound is short; and
        (4T,) bool, true for the repeated rows.
    """
    rows = np.arange(n_frames * MFCC_PER_FRAME)
    return coefficients[rows % len(coefficients)], rows >= len(coefficients)


def extract_mfccs(
    video_dir: Path,
    face_crops_dir: Path,
    output_dir: Path,
    *,
    workers: int,
    overwrite: bool,
    executor: Executor | None = None,
) -> Iterator[ClipResult]:
    """Compute the MFCC of every video below a folder.

    Args:
        video_dir: The folder of videos.
        face_crops_dir: Their face crops: the MFCC get four rows for each. Where a clip has none
            there, the video's own frames are counted.
        output_dir: Where the MFCC go, at the same relative paths.
        workers: Processes; 0 for one per core.
        overwrite: Compute all again.
        executor: Runs the work instead of local processes.

    Yields:
        One result per video, as they come.

    Raises:
        AsdtuneError: There are no videos.
    """
    works, clashes = works_of_videos(
        video_dir,
        output_dir,
        settings_of=lambda name: {
            "version": _VERSION,
            "n_frames": _n_crops(face_crops_dir / name),
        },
        resources_of=lambda _: {},
    )
    yield from clashes
    yield from run_batch(
        extract_mfcc,
        works,
        stage=STAGE,
        output_dir=output_dir,
        workers=workers,
        overwrite=overwrite,
        executor=executor,
    )
    forget_removed_chunks(video_dir, output_dir, STAGE)


def extract_mfcc(work: Work) -> Outcome:
    """Compute the MFCC of one video (the batch engine's task)."""
    from asdtune.core.prepare.media import count_frames, read_waveform

    waveform = read_waveform(work.source)
    n_frames = work.settings["n_frames"] or count_frames(work.source)
    _check_sound(waveform, n_frames, work.source)
    with _one_thread():
        data, padded = align_to_video(mfcc(waveform), n_frames)
    (target,) = work.targets
    write_npz(target, data=data, padded=padded)
    return Outcome((target,), n_frames, {"n_padded": int(padded.sum())})


def _n_crops(path: Path) -> int | None:
    """Count the face crops of a clip; None where there are none to go by."""
    try:
        return len(map_data(path))
    except AsdtuneError:
        return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: the engine fills the cores, and the bytes are always the same."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_sound(waveform: Waveform, n_frames: int, path: Path) -> None:
    n_expected = n_frames * SAMPLES_PER_FRAME
    if len(waveform) * 2 < n_expected:
        raise AsdtuneError(
            f"the sound covers {len(waveform) / SAMPLE_RATE:.1f} s of the "
            f"{n_expected / SAMPLE_RATE:.1f} s of video: less than half",
            where=path,
            fix="download it again, or delete it from the folder",
        )
    n_blocks = len(waveform) // SAMPLE_RATE
    seconds = waveform[: n_blocks * SAMPLE_RATE].reshape(n_blocks, SAMPLE_RATE)
    loudest = max((np.square(block, dtype=np.float64).mean() for block in seconds), default=None)
    if loudest is not None and loudest < (_SILENT_RMS * 2**15) ** 2:
        raise AsdtuneError(
            "the sound is silent from beginning to end",
            where=path,
            fix="download it with sound, or delete it from the folder",
        )


def _emphasised(waveform: Waveform, start: int, stop: int) -> torch.Tensor:
    """Give the pre-emphasised samples of MFCC frames start..stop - 1, completed with zeros."""
    import torch

    first, last = start * HOP_SAMPLES, (stop - 1) * HOP_SAMPLES + FRAME_SAMPLES
    n_before = min(1, first)  # pre-emphasis looks one sample back
    samples = torch.from_numpy(waveform[first - n_before : last].astype(np.float64))
    emphasised = _torchaudio().functional.preemphasis(samples, PRE_EMPHASIS)[n_before:]
    return torch.nn.functional.pad(emphasised, (0, last - first - len(emphasised)))


def _torchaudio() -> Any:
    try:
        import torchaudio
    except (ImportError, OSError) as error:
        raise AsdtuneError(
            f"torchaudio does not load beside this torch ({error})",
            fix="install both from one index: pip install --force-reinstall torch torchaudio "
            "--index-url https://download.pytorch.org/whl/cpu",
        ) from error
    return torchaudio


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
    import librosa

    # HTK's scale: mel = 2595 log10(1 + f / 700)
    hertz = librosa.mel_frequencies(N_MELS + 2, fmin=0.0, fmax=SAMPLE_RATE / 2, htk=True)
    corners = np.floor((N_FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)[:, None]
    low, mid, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - low) / (mid - low), (high - bins) / (high - mid)
    triangles = np.where(bins < mid, rising, falling)
    return np.asarray(np.where((bins >= low) & (bins < high), triangles, 0.0), np.float64)
