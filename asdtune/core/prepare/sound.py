"""All that is wanted from the sound of a clip, in one pass that holds little of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import Mfcc
from asdtune.core.prepare.mfcc import MfccStream
from asdtune.core.prepare.speech import SpeechStream
from asdtune.core.rates import N_MFCC, SAMPLE_RATE, SAMPLES_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.media import Waveform

_SILENT_RMS = 1e-4  # of full scale: -80 dB, below the noise of any microphone


@dataclass(frozen=True)
class Sound:
    """What is kept of the sound of a clip."""

    coefficients: Mfcc  # at most as many rows as are wanted
    probabilities: npt.NDArray[np.float32]  # of speech, for every 512 samples
    n_samples: int
    loudest: float  # mean square of the loudest block


def listen(blocks: Iterable[Waveform], n_rows: int) -> Sound:
    """Take all that is wanted from sound in one pass: at most so many rows of MFCC."""
    mfccs, speech, loudest = MfccStream(), SpeechStream(), 0.0
    coefficients = np.empty((n_rows, N_MFCC), np.float32)
    probabilities = []
    n_filled = n_samples = 0

    def keep(rows: Mfcc) -> int:
        kept = rows[: n_rows - n_filled]
        coefficients[n_filled : n_filled + len(kept)] = kept
        return n_filled + len(kept)

    for block in blocks:
        if not len(block):
            continue
        n_samples += len(block)
        loudest = max(loudest, float(np.square(block, dtype=np.float64).mean()))
        if n_filled < n_rows:
            n_filled = keep(mfccs.push(block))
            probabilities.append(speech.push(block))
    n_filled = keep(mfccs.end())
    probabilities.append(speech.end())
    return Sound(coefficients[:n_filled], np.concatenate(probabilities), n_samples, loudest)


def check_sound(sound: Sound, n_frames: int, path: Path) -> None:
    """Refuse sound that covers less than half of the video, or is silent all the time.

    Raises:
        AsdtuneError: So it is.
    """
    n_expected = n_frames * SAMPLES_PER_FRAME
    if sound.n_samples * 2 < n_expected:
        raise AsdtuneError(
            f"the sound covers {sound.n_samples / SAMPLE_RATE:.1f} s of the "
            f"{n_expected / SAMPLE_RATE:.1f} s of video: less than half",
            where=path,
            fix="download it again, or delete it from the folder",
        )
    if sound.loudest < (_SILENT_RMS * 2**15) ** 2:
        raise AsdtuneError(
            "the sound is silent from beginning to end",
            where=path,
            fix="download it with sound, or delete it from the folder",
        )
