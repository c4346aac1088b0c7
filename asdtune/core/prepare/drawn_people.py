"""Drawn people who talk, for trying everything out without a camera: out comes an mp4.

A mouth opens as far as its voice is loud, and that is all there is to learn.

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

from asdtune.core.prepare.drawn_faces import Looks, draw_face, invent_looks
from asdtune.core.prepare.drawn_voices import Voice, invent_voice, speak, talk
from asdtune.core.prepare.mp4 import write_chunk
from asdtune.core.rates import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS

if TYPE_CHECKING:
    from asdtune.core.prepare.faces import Image

SIDE = 160  # pixels: a picture is as high, and as wide for each of its people
_TURN_SECONDS = 2.0  # after which another one of several people speaks
_CRF = 18  # H.264 quality


@dataclass(frozen=True)
class Person:
    """Somebody who is drawn and heard in their own way."""

    looks: Looks
    voice: Voice


def invent_person(rng: np.random.Generator) -> Person:
    """Draw looks and a voice."""
    return Person(invent_looks(rng), invent_voice(rng))


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
