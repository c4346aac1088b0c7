"""Render small videos: moving pictures and tones, with flashes and clicks to measure sync by."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from asdtune.core.prepare.media import read_audio


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
    muxer: dict[str, str] | None = None,
    key_every: int = 250,
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
        muxer: Options of the container's writer.
        key_every: Most pictures from one key picture to the next.
        seed: Decides pictures and sound.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    if times is None:
        times = [Fraction(i) / fps for i in range(round(seconds * fps))]
    time_base = Fraction(1, 90_000)
    options = {"movflags": "faststart"} if header_first else muxer or {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(
            "libx264", rate=round(fps), options={"crf": "20", "g": str(key_every)}
        )
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
            if not is_flash:  # something opens and closes, as a mouth does
                middle = image[height // 2 : height // 2 + 8, width // 2 - 8 : width // 2 + 8]
                middle[:] = 60 + 50 * np.sin(1.3 * i)
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


def render_flashes_and_clicks(
    path: Path,
    *,
    times: Sequence[Fraction],
    events: Sequence[Fraction],
    sound_start: Fraction,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    audio_rate: int = 48_000,
    layout: str = "mono",
) -> Path:
    """Write a face that lights up for a fifth of a second, and noise that clicks, at every event.

    The flash begins with the first picture at or after the event, the click at the event itself.

    Args:
        path: Its suffix decides the container.
        times: Times of the pictures in seconds, the first one 0.
        events: When it flashes and clicks, in seconds after the first picture.
        sound_start: Where the sound begins, in seconds after the first picture; it may be
            negative. It ends with the pictures.
        video_codec: FFmpeg's name.
        audio_codec: FFmpeg's name.
        audio_rate: Samples per second.
        layout: `mono` or `stereo`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_avi = path.suffix == ".avi"  # it counts pictures and has no times of its own
    time_base = times[1] if is_avi else Fraction(1, 90_000)
    fast = {
        "libx264": {"preset": "ultrafast", "bf": "2", "threads": "1"},  # with reordered pictures
        "libvpx": {"deadline": "realtime", "cpu-used": "8"},
        "aac": {"aac_coder": "fast"},
    }
    dim, lit = _faces_dim_and_lit()
    shift = max(Fraction(0), -sound_start)  # nothing may begin before 0
    samples = _clicks(times[-1], events, sound_start, audio_rate)
    with av.open(str(path), "w") as container:
        rate = round((len(times) - 1) / times[-1])
        video = container.add_stream(video_codec, rate=rate, options=fast.get(video_codec, {}))
        video.width, video.height, video.pix_fmt = dim.width, dim.height, "yuv420p"
        video.bit_rate = 400_000
        video.time_base = video.codec_context.time_base = time_base
        options = fast.get(audio_codec, {})
        audio = container.add_stream(audio_codec, rate=audio_rate, layout=layout, options=options)
        n_written = 0
        i_event = 0
        for time in times:
            while i_event + 1 < len(events) and time >= events[i_event + 1]:
                i_event += 1
            is_lit = 0 <= time - events[i_event] < Fraction(1, 5)
            picture = lit if is_lit else dim
            picture.pts, picture.time_base = round((time + shift) / time_base), time_base
            container.mux(video.encode(picture))
            n_heard = int((time - sound_start) * audio_rate)
            while n_written + _BLOCK <= min(n_heard, len(samples)):
                block = samples[n_written : n_written + _BLOCK]
                frame = av.AudioFrame.from_ndarray(
                    np.repeat(block, audio.layout.nb_channels)[None], format="s16", layout=layout
                )
                frame.sample_rate = audio_rate
                begin = sound_start + shift + Fraction(n_written) / audio_rate
                frame.pts, frame.time_base = round(begin * audio_rate), Fraction(1, audio_rate)
                container.mux(audio.encode(frame))
                n_written += _BLOCK
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


_BLOCK = 1024  # samples; one AAC frame


def _faces_dim_and_lit() -> list[av.VideoFrame]:
    width, height = 160, 128
    face = draw_face(width, height, centre=(80, 60), radius=40, mouth=0.3, seed=0)
    images = [np.asarray(face * light, np.uint8) for light in (0.45, 1.0)]
    return [
        av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
        for image in images
    ]


def _clicks(
    seconds: Fraction, events: Sequence[Fraction], start: Fraction, rate: int
) -> np.ndarray:
    """Give int16 noise with a burst of 50 ms at each event, from `start` on, -60 dB between."""
    rng = np.random.default_rng(0)
    samples = rng.uniform(-20, 20, round((seconds - start) * rate))
    for event in events:
        first = -int((start - event) * rate // 1)  # the first sample at or after the event
        if first >= 0:
            samples[first : first + rate // 20] *= 1000
    return samples.astype(np.int16)


def read_waveform(path: Path) -> np.ndarray:
    """Read the whole sound of a video as asdtune hears it: int16 (n,), 16 kHz."""
    return np.concatenate([np.zeros(0, np.int16), *read_audio(path)])
