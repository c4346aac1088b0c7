"""Render a corpus of people who talk: drawn faces whose mouths open as loud as their voices are.

Face crops and MFCC are rendered at once, without the videos, faces and voices that `asdtune demo`
draws so that they are found: pinned losses depend on these.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from asdtune.core.arrays import write_npz
from asdtune.core.prepare.mfcc import mfcc
from asdtune.core.prepare.splits import make_splits
from asdtune.core.rates import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS
from asdtune.core.synthetic.voices import talk

_TAIL = 400  # samples after the last frame, so that its MFCC are whole


def write_corpus(
    root: Path,
    n_speakers: dict[str, int],
    *,
    n_clips: int = 2,
    seconds: float = 6.0,
    window_size: int = 25,
    windows_per_clip: int = 100,
    seed: int = 0,
) -> Path:
    """Write face crops, MFCC and splits of speakers who are each drawn and heard differently.

    Args:
        root: Where `face_crops`, `mfccs` and `splits` go.
        n_speakers: How many each split has.
        n_clips: Of each speaker.
        seconds: Of each clip.
        window_size: W.
        windows_per_clip: Drawn from each clip.
        seed: Decides all.

    Returns:
        The folder of the splits.
    """
    number = 0
    for split, n in n_speakers.items():
        for _ in range(n):
            speaker = np.random.default_rng([seed, number])
            face, voice = _draw_looks(speaker), _draw_voice(speaker)
            for i_clip in range(n_clips):
                rng = np.random.default_rng([seed, number, i_clip])
                loudness = talk(round(seconds * SAMPLE_RATE) + _TAIL, rng)
                waveform = speak(loudness, voice, rng)
                name = f"{split}/s{number:03d}/s{number:03d}_{i_clip:04d}.npz"
                n_frames = round(seconds * VIDEO_FPS)
                of_frames = loudness[: n_frames * SAMPLES_PER_FRAME].reshape(n_frames, -1).mean(1)
                rows = mfcc(waveform)[: 4 * n_frames]
                (root / "face_crops" / name).parent.mkdir(parents=True, exist_ok=True)
                (root / "mfccs" / name).parent.mkdir(parents=True, exist_ok=True)
                write_npz(root / "face_crops" / name, data=draw(of_frames, face, rng))
                write_npz(root / "mfccs" / name, data=rows, waveform=waveform)
            number += 1
    for _ in make_splits(
        root / "face_crops", root / "mfccs", root / "splits",
        window_size=window_size, windows_per_sample=windows_per_clip, n_samples=None, seed=seed,
        silent_face_share=0.0, min_speech_share=0.0, all_clips=True, overwrite=True,
    ):  # fmt: skip
        pass
    return root / "splits"


def speak(loudness: np.ndarray, voice: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give int16 sound: harmonics of a wavering pitch, as strong as the voice has them."""
    base, *strengths = voice
    waver = np.interp(
        np.arange(len(loudness)),
        np.linspace(0, len(loudness), len(loudness) // 3000 + 2),
        rng.normal(1, 0.06, len(loudness) // 3000 + 2),
    )
    phase = 2 * np.pi * np.cumsum(base * waver) / SAMPLE_RATE
    wave = sum(s * np.sin((i + 1) * phase) for i, s in enumerate(strengths))
    noise = rng.standard_normal(len(loudness))
    return (wave * loudness * 4000 + noise * 40).clip(-(2**15), 2**15 - 1).astype(np.int16)


def draw(mouths: np.ndarray, looks: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    """Give face crops (T, 112, 112) of a face that nods a little and opens its mouth."""
    background = np.full((112, 112), rng.integers(60, 200), np.uint8)
    times = np.arange(len(mouths)) / VIDEO_FPS
    sway = [
        0.7 * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * times + rng.uniform(0, 6)) for _ in "xy"
    ]
    crops = np.empty((len(mouths), 112, 112), np.uint8)
    for i, mouth in enumerate(mouths):
        image = background.copy()
        x, y = 56 + sway[0][i], 56 + sway[1][i]

        def ellipse(
            dx: float, dy: float, a: float, b: float, grey: float, image: np.ndarray = image,
            x: float = x, y: float = y,
        ) -> None:  # fmt: skip
            centre = (round(16 * (x + dx)), round(16 * (y + dy)))
            axes = (round(16 * a), round(16 * max(b, 0.5)))
            cv2.ellipse(image, centre, axes, 0, 0, 360, grey, -1, cv2.LINE_AA, 4)

        ellipse(0, -6, looks["width"] + 5, looks["height"] + 4, looks["hair"])
        ellipse(0, 2, looks["width"], looks["height"], looks["skin"])
        for side in (-1, 1):
            ellipse(side * looks["eyes"], -12, 6, 3.5, 240)
            ellipse(side * looks["eyes"], -12, 2.6, 2.6, 20)
            ellipse(side * looks["eyes"], -21, 8, looks["brow"], looks["hair"])
        ellipse(0, 6, 3.5, 7, looks["skin"] * 0.85)
        ellipse(0, looks["mouth_at"], looks["mouth"], 3 + 18 * mouth, looks["skin"] * 0.55)
        ellipse(0, looks["mouth_at"], looks["mouth"] - 3, 17 * mouth, 10)
        noise = rng.normal(0, 1, image.shape)
        crops[i] = (image + noise).clip(0, 255)
    return crops


def _draw_looks(rng: np.random.Generator) -> dict[str, float]:
    ranges = {
        "width": (30, 42), "height": (40, 50), "skin": (90, 220), "hair": (10, 120),
        "eyes": (12, 19), "brow": (1.5, 3.5), "mouth_at": (24, 31), "mouth": (10, 18),
    }  # fmt: skip
    return {name: rng.uniform(*ends) for name, ends in ranges.items()}


def _draw_voice(rng: np.random.Generator) -> np.ndarray:
    """Draw a pitch in Hz and the strengths of twelve harmonics."""
    pitch = rng.uniform(90, 260)
    strengths = rng.uniform(0.2, 1.0, 12) * np.exp(-np.arange(12) / rng.uniform(2, 6))
    return np.array([pitch, *strengths / strengths.sum()])
