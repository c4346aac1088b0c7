"""Videos (mp4) of synthetic people who talk and listen, to try everything without a camera.

The mouth of whoever talks opens as far as their voice is loud, and that is all there is to learn.

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

from asdtune.core.prepare.chunk_writer import write_chunk
from asdtune.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from asdtune.core.synthetic.faces import Looks, Pose, draw_face, invent_looks
from asdtune.core.synthetic.motion import move
from asdtune.core.synthetic.voices import Voice, converse, invent_voice, speak

if TYPE_CHECKING:
    from asdtune.core.prepare.detectors import Image

SIDE = 160  # pixels: a picture is as high, and as wide for each of its people
_CRF = 18  # H.264 quality


@dataclass(frozen=True)
class Person:
    """A face and a voice."""

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
    """Write a video of people side by side, who speak in turns, or of one, who makes pauses.

    It is there whole or not at all.

    Args:
        path: An mp4: 25 frames per second, 160 x 160 pixels for each of them, 16 kHz.
        people: One or several.
        seconds: Length.
        rng: Decides what they say, and how they move.
        silent: Digital silence instead of sound; the mouths move all the same.
    """
    n_frames = round(seconds * VIDEO_FPS)
    said = converse(len(people), n_frames * SAMPLES_PER_FRAME, rng)
    heard = [
        speak(loudness, person.voice, rng) for loudness, person in zip(said, people, strict=True)
    ]
    samples = np.sum(heard, 0, dtype=np.int32) * (not silent)
    moves = [move(loudness.reshape(n_frames, -1).mean(1), rng) for loudness in said]
    pictures = (
        av.VideoFrame.from_ndarray(picture, format="bgr24") for picture in _film(people, moves, rng)
    )
    first = next(pictures)
    with write_chunk(path, first, crf=_CRF) as writer:
        writer.write_frame(first)
        for picture in pictures:
            writer.write_frame(picture)
        writer.write_samples(samples.clip(-(2**15), 2**15 - 1).astype(np.int16))


def _film(
    people: Sequence[Person], moves: Sequence[Sequence[Pose]], rng: np.random.Generator
) -> Iterator[Image]:
    """Yield the pictures of people who each have a pose for every frame."""
    width = SIDE * len(people)
    coarse = rng.uniform(60, 190, (3, 4, 1)) + rng.uniform(-25, 25, (3, 4, 3))
    smooth = cv2.resize(coarse, (width, SIDE), interpolation=cv2.INTER_CUBIC)
    background: Image = np.asarray(smooth.clip(0, 255), np.uint8)
    hertz, phases = rng.uniform(0.1, 0.6, (len(people), 2)), rng.random((len(people), 2))
    for i, poses in enumerate(zip(*moves, strict=True)):
        picture: Image = background.copy()
        sway = 0.8 * np.sin(2 * np.pi * (hertz * i / VIDEO_FPS + phases))  # pixels
        for number, (person, pose) in enumerate(zip(people, poses, strict=True)):
            x, y = SIDE * (number + 0.5) + sway[number, 0], 0.47 * SIDE + sway[number, 1]
            draw_face(picture, (x, y), person.looks, pose)
        yield np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8), np.uint8)
