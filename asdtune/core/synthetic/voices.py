"""Voices in which silero-vad hears speech: vowels, and the hiss of consonants before them.

Harmonics alone do not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from asdtune.core.rates import SAMPLE_RATE

if TYPE_CHECKING:
    from asdtune.core.prepare.media import Waveform

Loudness = npt.NDArray[np.float64]  # (..., n), 0..1, 16 kHz

_SMOOTHING = SAMPLE_RATE // 50  # 20 ms: how fast a voice begins and ends
# Four resonances (Hz) of six vowels of a man: Peterson and Barney, 1952; the fourth is usual.
_VOWELS = np.array(
    [
        (730, 1090, 2440, 3400), (270, 2290, 3010, 3500), (300, 870, 2240, 3300),
        (530, 1840, 2480, 3500), (570, 840, 2410, 3300), (660, 1720, 2410, 3500),
    ]
)  # fmt: skip
_BANDWIDTHS = (60, 90, 140, 200)  # Hz, of the resonances
_HIGHEST_HARMONIC = 5000  # Hz
_LEVEL = 3000  # of the loudest vowels, in int16; silero misses some that are twice as loud
_HISS = 150  # of consonants, in int16
_NOISE = 5  # of the room, in int16
_TURN_SECONDS = 2.0  # after which another one of several people speaks
_TALK_SECONDS, _PAUSE_SECONDS = (4.0, 8.0), (1.5, 3.0)  # of somebody alone


@dataclass(frozen=True)
class Voice:
    """A voice.

    Attributes:
        pitch: Hz.
        tract: The resonances lie so many times as high as those of `_VOWELS`.
        tilt: Harmonic k is k ** -tilt as strong as the first.
    """

    pitch: float
    tract: float
    tilt: float


def invent_voice(rng: np.random.Generator) -> Voice:
    """Draw a voice."""
    pitch = rng.uniform(90, 240)  # who speaks higher has a shorter vocal tract
    return Voice(pitch, 0.95 + (pitch - 90) / 750, rng.uniform(0.9, 1.4))


def talk(n_samples: int, rng: np.random.Generator) -> Loudness:
    """Give the loudness of talk, 0..1: syllables of 80 to 280 ms, pauses of 40 to 240 ms."""
    loudness = np.zeros(n_samples)
    at = round(rng.uniform(0, 0.2) * SAMPLE_RATE)
    while at < n_samples:
        n = round(rng.uniform(0.08, 0.28) * SAMPLE_RATE)
        loudness[at : at + n] = rng.uniform(0.4, 1.0)
        at += n + round(rng.uniform(0.04, 0.24) * SAMPLE_RATE)
    return np.convolve(loudness, np.hanning(_SMOOTHING) / np.hanning(_SMOOTHING).sum(), "same")


def converse(n_people: int, n_samples: int, rng: np.random.Generator) -> Loudness:
    """Give the loudness of people who speak in turns (n_people, n_samples); one alone pauses."""
    if n_people == 1:
        turns = ~_pauses(n_samples, rng)[None]
    else:
        speaker = (np.arange(n_samples) / SAMPLE_RATE / _TURN_SECONDS).astype(int) % n_people
        turns = speaker == np.arange(n_people)[:, None]
    return np.array([talk(n_samples, rng) * _smooth(turn * 1.0, 0.02) for turn in turns])


def speak(loudness: Loudness, voice: Voice, rng: np.random.Generator) -> Waveform:
    """Give the sound of talk: a vowel for every syllable, and a consonant before most.

    Args:
        loudness: Shape (n,), 0..1.
        voice: Whose.
        rng: Draws vowels and consonants, and lets the pitch waver.
    """
    n = len(loudness)
    starts = np.flatnonzero(np.diff(loudness > 0.05, prepend=False) & (loudness > 0.05))
    vowels = _VOWELS[rng.integers(len(_VOWELS), size=len(starts) + 1)] * voice.tract
    i_syllable = np.searchsorted(starts, np.arange(n), "right")
    resonances = _smooth(vowels[i_syllable], 0.1)  # (n, 4), gliding from one vowel to the next
    melody = 0.15 * np.sin(
        2 * np.pi * (np.arange(n) / SAMPLE_RATE / rng.uniform(1.5, 3) + rng.random())
    )
    waver = np.interp(
        np.arange(n), np.arange(0, n + 1600, 1600), rng.normal(0, 0.02, -(-n // 1600) + 1)
    )
    pitch = voice.pitch * (1 + melody + waver)  # Hz
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    wave = np.zeros(n)
    for k in range(1, int(_HIGHEST_HARMONIC / voice.pitch)):
        wave += _gain(k * pitch, resonances) * k**-voice.tilt * np.sin(k * phase)
    wave *= loudness
    wave *= _LEVEL / max(np.percentile(np.abs(wave), 99.5), 1e-9)
    hiss = np.diff(rng.standard_normal(n), prepend=0) * _consonants(n, starts, rng) * _HISS
    noise = rng.standard_normal(n) * (_NOISE + 0.006 * _LEVEL * loudness)
    return (wave + hiss + noise).clip(-(2**15), 2**15 - 1).astype(np.int16)


def _pauses(n_samples: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Tell when somebody alone says nothing (n_samples,): about a quarter of the time."""
    is_pause = np.zeros(n_samples, np.bool_)
    at = rng.uniform(1, _TALK_SECONDS[0])
    while (start := round(at * SAMPLE_RATE)) < n_samples:
        pause = rng.uniform(*_PAUSE_SECONDS)
        is_pause[start : start + round(pause * SAMPLE_RATE)] = True
        at += pause + rng.uniform(*_TALK_SECONDS)
    return is_pause


def _gain(
    hertz: npt.NDArray[np.float64], resonances: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Give the gain (n,) of a vocal tract with moving resonances (n, 4) in series."""
    gain = np.ones_like(hertz)
    for resonance, bandwidth in zip(resonances.T, _BANDWIDTHS, strict=True):
        gain *= resonance**2 / np.hypot(hertz**2 - resonance**2, bandwidth * hertz)
    return gain


def _consonants(
    n_samples: int, starts: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Give the strength of hiss, 0..1: 40 to 100 ms before the vowels of four syllables in five."""
    strength = np.zeros(n_samples)
    for start in starts:
        n = round(rng.uniform(0.04, 0.1) * SAMPLE_RATE)
        if rng.random() < 0.8:
            strength[max(0, start - n) : start + SAMPLE_RATE // 40] = rng.uniform(0.3, 1)
    return _smooth(strength, 0.02)


def _smooth(values: npt.NDArray[np.float64], seconds: float) -> npt.NDArray[np.float64]:
    """Average (n, ...) over a moving window of time."""
    n = round(seconds * SAMPLE_RATE)
    return np.asarray(uniform_filter1d(values, n, axis=0, mode="nearest"))
