"""Drawn people who talk, for trying everything out without a camera: out comes an mp4.

A mouth opens as far as its voice is loud, and that is all there is to learn. The faces are drawn so
that OpenCV's Haar cascade finds them (it looks for a lit forehead and ridge of the nose between
darker eyes), and the voices so that silero-vad hears speech (harmonics alone do not do; vowels and
the hiss of consonants before them do).

    person = invent_person(np.random.default_rng(1))
    write_talk(Path("talk.mp4"), [person], seconds=12, rng=np.random.default_rng(2))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from asdtune.core.prepare.mp4 import write_chunk
from asdtune.core.rates import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS

if TYPE_CHECKING:
    from asdtune.core.prepare.faces import Image
    from asdtune.core.prepare.media import Waveform

Loudness = npt.NDArray[np.float64]  # (n,), 0..1, 16 kHz
Colour = tuple[float, float, float]  # blue, green, red

SIDE = 160  # pixels: a picture is as high, and as wide for each of its people
_FACE = 42  # pixels from the middle of a face to the edge of the box in which it is found
_FRACTION_BITS = 4  # OpenCV takes coordinates as whole numbers of so many binary places
_CRF = 18  # H.264 quality

_SMOOTHING = SAMPLE_RATE // 50  # 20 ms: how fast a voice begins and ends
_TURN_SECONDS = 2.0  # after which another one of several people speaks

# Four resonances (Hz) of six vowels of a man: Peterson and Barney, 1952; the fourth is usual.
_VOWELS = np.array(
    [
        (730, 1090, 2440, 3400), (270, 2290, 3010, 3500), (300, 870, 2240, 3300),
        (530, 1840, 2480, 3500), (570, 840, 2410, 3300), (660, 1720, 2410, 3500),
    ]
)  # fmt: skip
_BANDWIDTHS = (60, 90, 140, 200)  # Hz, of the resonances
_HIGHEST_HARMONIC = 5000  # Hz
_LEVEL = 6000  # of the loudest vowels, in int16
_HISS = 300  # of consonants, in int16
_NOISE = 10  # of the room, in int16


@dataclass(frozen=True)
class Looks:
    """A face; lengths are in units of `_FACE`, half the width of the box around it."""

    skin: Colour
    hair: Colour
    lips: Colour
    iris: Colour
    shirt: Colour
    width: float
    height: float
    fringe: float
    eyes: float
    brow: float
    mouth: float


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


@dataclass(frozen=True)
class Person:
    """Somebody who is drawn and heard in their own way."""

    looks: Looks
    voice: Voice


def invent_person(rng: np.random.Generator) -> Person:
    """Draw looks and a voice."""
    light = rng.uniform(0.5, 1.0)
    looks = Looks(
        skin=_colour(light * np.array([165, 190, 232]) * rng.uniform(0.95, 1.05, 3)),
        hair=_colour(np.array([30, 45, 60]) * rng.uniform(0.3, 1.6)),
        lips=_colour(light * np.array([95, 90, 190])),
        iris=_colour(rng.uniform(20, 90, 3)),
        shirt=_colour(rng.uniform(40, 200, 3)),
        width=rng.uniform(0.7, 0.8),
        height=rng.uniform(0.95, 1.04),
        fringe=rng.uniform(0, 0.08),
        eyes=rng.uniform(0.29, 0.34),
        brow=rng.uniform(0.04, 0.065),
        mouth=rng.uniform(0.24, 0.32),
    )
    pitch = rng.uniform(90, 240)  # who speaks higher has a shorter vocal tract
    return Person(looks, Voice(pitch, 0.95 + (pitch - 90) / 750, rng.uniform(0.9, 1.4)))


def write_talk(
    path: Path,
    people: Sequence[Person],
    *,
    seconds: float,
    rng: np.random.Generator,
    silent: bool = False,
) -> None:
    """Write a video of people side by side, who speak in turns; it is there whole or not at all.

    Args:
        path: An mp4: 25 frames per second, 160 x 160 pixels for each of them, 16 kHz.
        people: One or several.
        seconds: Length.
        rng: Decides what they say, and how they move.
        silent: Digital silence instead of sound; the mouths move all the same.
    """
    n_frames = round(seconds * VIDEO_FPS)
    said = [talk(n_frames * SAMPLES_PER_FRAME, rng) for _ in people]
    said = [
        loudness * turn for loudness, turn in zip(said, _turns(len(people), n_frames), strict=True)
    ]
    heard = [
        speak(loudness, person.voice, rng) for loudness, person in zip(said, people, strict=True)
    ]
    samples = np.sum(heard, 0, dtype=np.int32) * (not silent)
    mouths = np.array([loudness.reshape(n_frames, -1).mean(1) for loudness in said])
    pictures = (
        av.VideoFrame.from_ndarray(picture, format="bgr24")
        for picture in _film(people, mouths, rng)
    )
    first = next(pictures)
    with write_chunk(path, first, crf=_CRF) as writer:
        writer.write_frame(first)
        for picture in pictures:
            writer.write_frame(picture)
        writer.write_samples(samples.clip(-(2**15), 2**15 - 1).astype(np.int16))


def talk(n_samples: int, rng: np.random.Generator) -> Loudness:
    """Give the loudness of talk, 0..1: syllables of 80 to 280 ms, pauses of 40 to 240 ms."""
    loudness = np.zeros(n_samples)
    at = round(rng.uniform(0, 0.2) * SAMPLE_RATE)
    while at < n_samples:
        n = round(rng.uniform(0.08, 0.28) * SAMPLE_RATE)
        loudness[at : at + n] = rng.uniform(0.4, 1.0)
        at += n + round(rng.uniform(0.04, 0.24) * SAMPLE_RATE)
    return np.convolve(loudness, np.hanning(_SMOOTHING) / np.hanning(_SMOOTHING).sum(), "same")


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


def draw_face(picture: Image, at: tuple[float, float], looks: Looks, mouth: float) -> None:
    """Draw a face, and the shoulders below it, into a picture.

    Args:
        picture: Shape (H, W, 3), blue-green-red; drawn over.
        at: The middle of the face, x and y in pixels.
        looks: Whose.
        mouth: How far it is open, 0..1.
    """

    def ellipse(x: float, y: float, a: float, b: float, colour: Colour) -> None:
        centre = (_fixed(at[0] + x * _FACE), _fixed(at[1] + y * _FACE))
        axes = (_fixed(a * _FACE), _fixed(max(b * _FACE, 0.5)))
        cv2.ellipse(
            picture, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, _FRACTION_BITS
        )  # fmt: skip

    skin, width = looks.skin, looks.width
    ellipse(0, 2.05, 1.45, 0.95, looks.shirt)
    ellipse(0, 1.1, 0.38, 0.5, _lit(skin, 0.72))  # neck
    ellipse(0, -0.15, width + 0.14, looks.height + 0.08, looks.hair)
    ellipse(0, 0.08, width, looks.height, skin)
    ellipse(0, -0.85, width * 0.92, 0.32 + looks.fringe, looks.hair)
    ellipse(0, -0.5, 0.35, 0.16, _lit(skin, 1, shine=18))  # forehead
    for side in (-1, 1):
        eye = side * looks.eyes
        ellipse(eye, -0.22, 0.22, 0.14, _lit(skin, 0.68))  # socket
        ellipse(eye, -0.17, 0.15, 0.065, (225, 225, 225))
        ellipse(eye, -0.17, 0.08, 0.065, looks.iris)
        ellipse(eye, -0.17, 0.04, 0.04, (15, 15, 15))
        ellipse(eye, -0.37, 0.2, looks.brow, _lit(looks.hair, 0.8))
        ellipse(side * width * 0.62, 0.3, 0.19, 0.15, _lit(skin, 1.06))  # cheek
        ellipse(side * 0.06, 0.3, 0.03, 0.022, _lit(skin, 0.5))  # nostril
    ellipse(0, 0.05, 0.05, 0.25, _lit(skin, 1, shine=40))  # ridge of the nose
    ellipse(0, 0.25, 0.12, 0.05, _lit(skin, 0.88))
    ellipse(0, 0.6, looks.mouth, 0.06 + 0.2 * mouth, looks.lips)
    ellipse(0, 0.6, looks.mouth * 0.82, 0.008 + 0.17 * mouth, _lit(skin, 0.2))


def _film(
    people: Sequence[Person], mouths: npt.NDArray[np.float64], rng: np.random.Generator
) -> Iterator[Image]:
    """Yield the pictures; `mouths` (n_people, n_frames) tells how far each mouth is open, 0..1."""
    width = SIDE * len(people)
    coarse = rng.uniform(60, 190, (3, 4, 1)) + rng.uniform(-25, 25, (3, 4, 3))
    smooth = cv2.resize(coarse, (width, SIDE), interpolation=cv2.INTER_CUBIC)
    background: Image = np.asarray(smooth.clip(0, 255), np.uint8)
    hertz, phases = rng.uniform(0.1, 0.6, (len(people), 2)), rng.random((len(people), 2))
    for i, of_frame in enumerate(mouths.T):
        picture: Image = background.copy()
        sway = 0.8 * np.sin(2 * np.pi * (hertz * i / VIDEO_FPS + phases))  # pixels
        for number, (person, mouth) in enumerate(zip(people, of_frame, strict=True)):
            x, y = SIDE * (number + 0.5) + sway[number, 0], 0.47 * SIDE + sway[number, 1]
            draw_face(picture, (x, y), person.looks, float(mouth))
        yield np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8), np.uint8)


def _turns(n_people: int, n_frames: int) -> npt.NDArray[np.bool_]:
    """Tell who speaks when, (n_people, n_samples)."""
    times = np.arange(n_frames * SAMPLES_PER_FRAME) / SAMPLE_RATE
    speaking = (times / _TURN_SECONDS).astype(int) % n_people
    return np.asarray(speaking == np.arange(n_people)[:, None])


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


def _colour(values: npt.NDArray[np.float64]) -> Colour:
    blue, green, red = (float(value) for value in values)
    return blue, green, red


def _lit(colour: Colour, light: float, *, shine: float = 0.0) -> Colour:
    blue, green, red = (min(255.0, light * value + shine) for value in colour)
    return blue, green, red


def _fixed(pixels: float) -> int:
    return round(pixels * (1 << _FRACTION_BITS))
