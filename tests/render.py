"""Render small videos: moving pictures and tones, with flashes and clicks to measure sync by."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def render_video(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: Fraction | int = 25,
    times: Sequence[Fraction] | None = None,
    width: int = 96,
    height: int = 64,
    audio_rate: int | None = 16_000,
    audio_start: float = 0.0,
    audio_seconds: float | None = None,
    flashes: bool = False,
    silent: bool = False,
    header_first: bool = False,
    seed: int = 0,
) -> Path:
    """Write an H.264 + AAC video.

    Args:
        path: Its suffix decides the container.
        seconds: Length of the pictures.
        fps: Frames per second.
        times: Times of the pictures, for a variable rate; instead of `fps`.
        width: Pixels, even.
        height: Pixels, even.
        audio_rate: Samples per second; None for no audio stream.
        audio_start: Seconds after the first picture at which the sound begins.
        audio_seconds: Length of the sound; None for as long as the pictures.
        flashes: A white picture and a click at every full second, instead of noise.
        silent: Digital silence instead of sound.
        header_first: Put an mp4's header before its content, as for streaming.
        seed: Decides pictures and sound.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    if times is None:
        times = [Fraction(i) / fps for i in range(round(seconds * fps))]
    time_base = Fraction(1, 90_000)
    options = {"movflags": "faststart"} if header_first else {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("libx264", rate=round(fps), options={"crf": "20"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = video.codec_context.time_base = time_base
        audio = None
        if audio_rate is not None:
            audio = container.add_stream("aac", rate=audio_rate)
            audio.layout = "mono"
        background = rng.integers(0, 120, (height, width, 3), np.uint8)
        shift = 0.0 if audio_start >= 0 else -audio_start  # nothing may begin before 0
        for i, time in enumerate(times):
            is_flash = flashes and time >= 1 and time % 1 < Fraction(1, 5)
            image = np.full_like(background, 255) if is_flash else np.roll(background, i, 1)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = round((time + Fraction(shift)) / time_base)
            frame.time_base = time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and audio_rate is not None:
            n_samples = round((audio_seconds or seconds) * audio_rate)
            samples = sound(n_samples, audio_rate, rng, audio_start, flashes)
            frame = av.AudioFrame.from_ndarray(
                (samples * (not silent))[None], format="s16", layout="mono"
            )
            frame.sample_rate = audio_rate
            frame.pts = round((audio_start + shift) * audio_rate)
            frame.time_base = Fraction(1, audio_rate)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def sound(
    n_samples: int, rate: int, rng: np.random.Generator, start: float, clicks: bool
) -> np.ndarray:
    """Give int16 sound: a tone of its own per seed, or clicks at full seconds of the pictures."""
    seconds = np.arange(n_samples) / rate + start
    if clicks:
        is_click = (seconds >= 1) & (seconds % 1 < 0.05)
        noise = rng.uniform(-1, 1, n_samples)
        return np.where(is_click, noise * 20_000, noise * 20).astype(np.int16)
    hertz = rng.uniform(100, 400)
    wave = np.sin(2 * np.pi * hertz * seconds) * 8000 + rng.standard_normal(n_samples) * 300
    return wave.astype(np.int16)


def draw_face(
    width: int, height: int, *, centre: tuple[float, float], radius: float, mouth: float, seed: int
) -> np.ndarray:
    """Draw a face that detectors take for one, before a blurred background.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        centre: Of the face, x and y in pixels.
        radius: Half of the face's width, in pixels, roughly.
        mouth: How far the mouth is open, 0..1.
        seed: Decides the background.

    Returns:
        Shape (height, width, 3), uint8, blue-green-red.
    """
    rng = np.random.default_rng(seed)
    noise = rng.integers(40, 150, (height // 8, width // 8, 3)).astype(np.uint8)
    image = cv2.resize(cv2.GaussianBlur(noise, (5, 5), 2), (width, height))

    def ellipse(
        x: float, y: float, a: float, b: float, colour: tuple[int, ...], line: float = -1.0
    ) -> None:
        at = (int(centre[0] + x * radius), int(centre[1] + y * radius))
        axes = (max(1, int(a * radius)), max(1, int(b * radius)))
        start, end = (180, 360) if line > 0 else (0, 360)
        thickness = max(2, int(line * radius)) if line > 0 else -1
        cv2.ellipse(image, at, axes, 0, start, end, colour, thickness, cv2.LINE_AA)

    hair, skin = (25, 35, 50), (150, 180, 225)
    ellipse(0, 1.5, 1.3, 0.9, (90, 60, 50))  # shoulders
    ellipse(0, -0.15, 0.95, 1.2, hair)
    ellipse(0, 0.05, 0.78, 1.05, skin)
    for side in (-0.32, 0.32):
        ellipse(side, -0.15, 0.16, 0.09, (245, 245, 245))
        ellipse(side, -0.15, 0.08, 0.08, (40, 30, 25))
        ellipse(side, -0.36, 0.22, 0.06, (35, 45, 60), line=0.05)  # brow
    ellipse(0, 0.25, 0.1, 0.14, (120, 145, 190))  # nose
    ellipse(0, 0.58, 0.28, 0.06 + 0.16 * mouth, (70, 70, 170))
    ellipse(0, 0.58, 0.22, 0.01 + 0.13 * mouth, (30, 20, 60))
    return cv2.GaussianBlur(image, (0, 0), max(0.5, radius * 0.015))


def render_talking_face(
    path: Path, *, seconds: float, width: int, height: int, seed: int = 0
) -> Path:
    """Write a video of a drawn face that nods and talks: 25 frames per second, 48 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    n_frames, rate = round(seconds * 25), 48_000
    mouth = np.clip(np.convolve(rng.uniform(-0.5, 1.2, n_frames), np.ones(4) / 4, "same"), 0, 1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=rate)
        audio.layout = "mono"
        for i in range(n_frames):
            centre = (width * (0.5 + 0.03 * np.sin(i / 20)), height * (0.48 + 0.02 * np.sin(i / 9)))
            image = draw_face(
                width, height, centre=centre, radius=height / 5, mouth=mouth[i], seed=seed
            )
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        loud = np.repeat(mouth, rate // 25)
        tone = np.sin(2 * np.pi * (110 + 20 * seed % 90) * np.arange(len(loud)) / rate)
        samples = (tone * loud * 12_000 + rng.standard_normal(len(loud)) * 60).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path
