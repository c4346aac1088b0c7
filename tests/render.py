"""Render small videos: moving pictures and tones, with flashes and clicks to measure sync by."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)


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
