"""Files of every make: what phones, recorders, calls and broadcasts write."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from asdtune.core.prepare.media import count_frames, read_frames
from tests.conftest import Run
from tests.render import read_waveform, render_video
from tests.test_media import onset_errors

NORMAL = Disposition(0)
Draw = Callable[[int], np.ndarray]  # number of the picture -> (H, W, 3), red-green-blue


@dataclass
class Pictures:
    """A video stream: its size, its brightness or how it is drawn, and its form."""

    width: int = 96
    height: int = 64
    draw: Draw | int = 120
    codec: str = "libx264"
    disposition: Disposition = NORMAL
    aspect: Fraction | None = None
    options: dict[str, str] | None = None

    def image(self, i: int) -> np.ndarray:
        if callable(self.draw):
            return self.draw(i)
        return np.full((self.height, self.width, 3), self.draw, np.uint8)


@dataclass
class Tone:
    """An audio stream: a tone in each channel, 0 for silence, negative upside down."""

    hertz: Sequence[float] = (220,)
    disposition: Disposition = NORMAL


def write(path: Path, pictures: Sequence[Pictures], tones: Sequence[Tone] = (Tone(),)) -> Path:
    """Write two seconds of streams."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        videos: list[Any] = []
        for each in pictures:
            video = container.add_stream(each.codec, rate=25, options=each.options or {})
            video.width, video.height = each.width, each.height
            video.pix_fmt = "yuvj420p" if each.codec == "mjpeg" else "yuv420p"
            video.disposition = each.disposition.value
            if each.aspect:
                video.codec_context.sample_aspect_ratio = each.aspect
            videos.append(video)
        sounds: list[Any] = []
        for tone in tones:
            layout = "mono" if len(tone.hertz) == 1 else "stereo"
            sound = container.add_stream("aac", rate=48_000, layout=layout)
            sound.disposition = tone.disposition.value
            sounds.append(sound)
        for video, each in zip(videos, pictures, strict=True):
            for i in range(1 if each.disposition & Disposition.attached_pic else 50):
                frame = av.VideoFrame.from_ndarray(each.image(i), format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        seconds = np.arange(96_000) / 48_000
        for sound, tone in zip(sounds, tones, strict=True):
            waves = [np.sin(2 * np.pi * hertz * seconds) * 8000 for hertz in tone.hertz]
            samples = np.stack(waves, 1).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=sound.layout.name)
            frame.sample_rate = 48_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


@pytest.fixture
def collect(tmp_path: Path, run: Run) -> Callable[..., tuple[Path, str]]:
    """Make a chunk of the one video in `raw`, and give it with the notes."""

    def make(*flags: object) -> tuple[Path, str]:
        result = run(
            *("collect-chunk", tmp_path / "raw", "--video-dir", tmp_path / "videos", "--json"),
            *("--min-chunk-seconds", 1, "--split-ratio", "1,0,0", "--workers", 1, *flags),
        )
        (chunk,) = (tmp_path / "videos").rglob("*.mp4")
        return chunk, " ".join(json.loads(result.stdout).get("notes", [])) + result.stderr

    return make


Collect = Callable[..., tuple[Path, str]]


def loudest_hertz(path: Path) -> float:
    wave = read_waveform(path)[4000:20_000].astype(float)
    assert np.abs(wave).max() > 1000
    return float(np.abs(np.fft.rfft(wave)).argmax()) * 16_000 / len(wave)


@pytest.mark.parametrize("second_clock", [0, 60, 300])
def test_a_clock_that_restarts_is_closed_up(
    tmp_path: Path, collect: Collect, second_clock: int
) -> None:
    parts = [
        render_video(
            tmp_path / f"{i}.ts",
            seconds=4.2,
            flashes=True,
            audio_rate=48_000,
            muxer={"output_ts_offset": str(i * second_clock)},
        )
        for i in range(2)
    ]
    (tmp_path / "raw" / "a").mkdir(parents=True)
    whole = tmp_path / "raw" / "a" / "whole.ts"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    chunk, notes = collect()
    assert abs(count_frames(chunk) - 210) <= 1
    errors = onset_errors(chunk)
    assert len(errors) == 8
    assert np.abs(errors).max() <= 0.02
    assert "clock" in notes


def test_a_pause_of_the_pictures_alone_is_no_restart(tmp_path: Path) -> None:
    times = [Fraction(i, 25) for i in range(25)] + [14 + Fraction(i, 25) for i in range(25)]
    path = render_video(tmp_path / "a.ts", times=times, audio_seconds=15)
    assert abs(count_frames(path) - 375) <= 1
    assert abs(len(read_waveform(path)) - 240_000) <= 1600


def test_a_long_hole_in_the_sound_is_silence_of_its_length(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=1)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for _ in range(16):
            container.mux(video.encode(av.VideoFrame(96, 64, "yuv420p")))
        container.mux(video.encode(None))
        loud = np.full((1, 960), 9000, np.int16)
        for i in [*range(50), *range(750, 800)]:  # the first second and the last of sixteen
            frame = av.AudioFrame.from_ndarray(loud, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 960 * i, Fraction(1, 48_000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    is_loud = read_waveform(path) > 4000
    assert np.flatnonzero(np.diff(is_loud)) == pytest.approx([16_000, 240_000], abs=32)
    assert len(is_loud) == pytest.approx(256_000, abs=32)


def test_cover_art_is_no_video(tmp_path: Path, collect: Collect) -> None:
    cover = Pictures(64, 64, 255, "mjpeg", Disposition.attached_pic)
    path = write(tmp_path / "raw" / "a" / "a.mp4", [cover, Pictures()])
    put_cover_first(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].width == 64
    chunk, notes = collect()
    assert count_frames(chunk) == 50
    assert "video streams" not in notes


def put_cover_first(path: Path) -> None:
    """Move the box of metadata before those of the streams, as some writers do."""
    content = path.read_bytes()
    at = content.index(b"moov") - 4
    boxes, i = [], at + 8
    while i < len(content):
        size = int.from_bytes(content[i : i + 4], "big")
        boxes.append(content[i : i + size])
        i += size
    boxes.sort(key=lambda box: box[4:8] != b"udta")
    path.write_bytes(content[: at + 8] + b"".join(boxes))


@pytest.mark.parametrize(
    ("streams", "width"),
    [
        ([Pictures(64, 48), Pictures(160, 120)], 160),
        ([Pictures(160, 120), Pictures(64, 48, disposition=Disposition.default)], 64),
    ],
)
def test_the_default_video_stream_is_taken_else_the_largest(
    tmp_path: Path, collect: Collect, streams: list[Pictures], width: int
) -> None:
    write(tmp_path / "raw" / "a" / "a.mkv", streams)
    chunk, notes = collect()
    assert next(read_frames(chunk)).width == width
    assert "2 video streams" in notes


@pytest.mark.parametrize(
    ("tones", "flags", "hertz"),
    [
        ([Tone((300,), Disposition.comment), Tone((500,), Disposition.default)], (), 500),
        ([Tone((300,)), Tone((500,), Disposition.default)], (), 500),
        ([Tone((0,), Disposition.default), Tone((500,))], (), 500),
        ([Tone((300,), Disposition.default), Tone((500,))], ("--audio-track", 2), 500),
    ],
    ids=["comment first", "default second", "silent first", "chosen"],
)
def test_the_speakers_sound_is_taken(
    tmp_path: Path, collect: Collect, tones: list[Tone], flags: tuple[object, ...], hertz: float
) -> None:
    write(tmp_path / "raw" / "a" / "a.mkv", [Pictures()], tones)
    chunk, notes = collect(*flags)
    assert loudest_hertz(chunk) == pytest.approx(hertz, abs=3)
    assert ("2 audio tracks" in notes) == (not flags)


def test_an_audio_track_that_is_not_there_is_named(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "raw" / "a.mkv", [Pictures()], [Tone(), Tone()])
    flags = ("--video-dir", tmp_path / "raw", "--mfccs-output-dir", tmp_path / "out")
    result = run("mfcc", *flags, "--audio-track", 3, exit_code=1)
    assert "no audio track 3" in result.output


def test_a_size_that_changes_keeps_its_shape_and_the_largest(
    tmp_path: Path, collect: Collect
) -> None:
    def disc(width: int, height: int) -> Draw:
        y, x = np.mgrid[:height, :width]
        radius = min(width, height) / 4
        is_in = (x - width / 2) ** 2 + (y - height / 2) ** 2 < radius**2
        return lambda _: np.repeat(np.uint8(is_in * 255)[..., None], 3, 2)

    sizes = [(160, 90), (640, 360), (360, 640)]
    parts = [
        write(tmp_path / f"{i}.ts", [Pictures(w, h, disc(w, h))]) for i, (w, h) in enumerate(sizes)
    ]
    (tmp_path / "raw" / "a").mkdir(parents=True)
    whole = tmp_path / "raw" / "a" / "a.ts"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    chunk, _ = collect()
    for i, frame in enumerate(read_frames(chunk)):
        assert (frame.width, frame.height) == (640, 360)
        rows, columns = np.nonzero(frame.to_ndarray(format="gray") > 128)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=6), i


def test_a_stream_that_begins_between_key_pictures_loses_no_more_than_that(
    tmp_path: Path, collect: Collect
) -> None:
    whole = render_video(
        tmp_path / "a.ts", seconds=6, flashes=True, audio_rate=48_000, key_every=50
    ).read_bytes()
    (tmp_path / "raw" / "a").mkdir(parents=True)
    (tmp_path / "raw" / "a" / "a.ts").write_bytes(whole[len(whole) // 188 // 5 * 188 :])
    chunk, notes = collect()
    assert 90 <= count_frames(chunk) <= 101
    errors = onset_errors(chunk)
    assert len(errors) >= 3
    assert np.abs(errors).max() <= 0.02
    assert "begins between" in notes


TURNS = {  # what a player does with the picture, as a display matrix
    "upside down": ((1, 0, 0, 0, -1, 0), lambda image: image[::-1]),
    "mirrored": ((-1, 0, 0, 0, 1, 0), lambda image: image[:, ::-1]),
    "turned": ((0, 1, 0, -1, 0, 0), lambda image: np.rot90(image, -1)),
    "turned and mirrored": ((0, 1, 0, 1, 0, 0), lambda image: image.T),
    "turned back": ((0, -1, 0, 1, 0, 0), lambda image: np.rot90(image)),
}


@pytest.mark.parametrize("name", TURNS)
def test_pictures_are_turned_and_flipped_as_players_show_them(
    tmp_path: Path, collect: Collect, name: str
) -> None:
    def corner(_: int) -> np.ndarray:
        image = np.full((64, 96, 3), 40, np.uint8)
        image[:20, :60] = 220
        return image

    matrix, expected = TURNS[name]
    full = [side << 16 for side in matrix] + [0, 0, 1 << 30]
    path = write(tmp_path / "raw" / "a" / "a.mp4", [Pictures(draw=corner)])
    content = path.read_bytes()
    at = content.index(b"tkhd") + 44  # where the first stream's matrix lies
    path.write_bytes(content[:at] + struct.pack(">9i", *full) + content[at + 36 :])
    chunk, _ = collect()
    seen = next(read_frames(chunk)).to_ndarray(format="gray")
    as_shown = expected(corner(0)[..., 0])
    assert seen.shape == as_shown.shape
    assert np.abs(seen.astype(int) - as_shown).mean() < 8


@pytest.mark.parametrize(("aspect", "size"), [("2/1", (192, 64)), ("8/9", (96, 72))])
def test_pixels_become_square(
    tmp_path: Path, collect: Collect, aspect: str, size: tuple[int, int]
) -> None:
    write(tmp_path / "raw" / "a" / "a.mp4", [Pictures(aspect=Fraction(aspect))])
    chunk, _ = collect()
    frame = next(read_frames(chunk))
    assert (frame.width, frame.height) == size


def test_what_a_chunk_has_no_sound_for_is_marked(
    tmp_path: Path, collect: Collect, run: Run
) -> None:
    render_video(tmp_path / "raw" / "a" / "a.mp4", seconds=4, audio_seconds=3)
    collect()
    run("mfcc", "--video-dir", tmp_path / "videos", "--mfccs-output-dir", tmp_path / "mfccs")
    (path,) = (tmp_path / "mfccs").rglob("*.npz")
    with np.load(path) as file:
        assert file["padded"].sum() == pytest.approx(100, abs=10)


def test_channels_that_cancel_each_other_are_heard(tmp_path: Path, collect: Collect) -> None:
    write(tmp_path / "raw" / "a" / "a.mp4", [Pictures()], [Tone((400, -400))])
    chunk, notes = collect()
    assert loudest_hertz(chunk) == pytest.approx(400, abs=3)
    assert "cancel" in notes


def test_interlaced_pictures_have_no_comb(tmp_path: Path, collect: Collect) -> None:
    def moving(i: int) -> np.ndarray:
        image = np.full((128, 96, 3), 40, np.uint8)
        for field in range(2):
            at = (8 * i + 4 * field) % 60
            image[field::2, at : at + 30] = 220
        return image

    interlaced = {"x264-params": "interlaced=1:tff=1", "crf": "10"}
    write(tmp_path / "raw" / "a" / "a.mp4", [Pictures(96, 128, draw=moving, options=interlaced)])
    chunk, _ = collect()
    frames = list(read_frames(chunk))
    assert len(frames) == 50
    grey = np.stack([frame.to_ndarray(format="gray") for frame in frames[5:45]]).astype(int)
    assert np.abs(np.diff(grey, axis=1)).mean() < 6  # 24 in the file


# Light in nits, and how a usual screen shows it; signals after the curves of the two standards.
HDR = {
    "smpte2084": ([0.0, 0.3061, 0.5081, 0.5807, 0.7518], [0, 10, 100, 203, 1000]),
    "arib-std-b67": ([0.0, 0.2542, 0.6296, 0.7500, 1.0], [0, 10, 100, 203, 1000]),
}


@pytest.mark.parametrize("curve", HDR)
def test_hdr_is_as_bright_as_usual_pictures(tmp_path: Path, collect: Collect, curve: str) -> None:
    signals, nits = HDR[curve]
    path = tmp_path / "raw" / "a" / "a.mp4"
    path.parent.mkdir(parents=True)
    levels = np.repeat(np.array(signals), 20)[None].repeat(64, 0) * 876 + 64
    with av.open(str(path), "w") as container:
        options = {"x265-params": f"transfer={curve}:colorprim=bt2020:log-level=none:crf=5"}
        video = container.add_stream("libx265", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 100, 64, "yuv420p10le"
        video.codec_context.color_trc = {"smpte2084": 16, "arib-std-b67": 18}[curve]
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for _ in range(50):
            frame = av.VideoFrame(100, 64, "yuv420p10le")
            for plane, value in zip(frame.planes, (levels, 512, 512), strict=True):
                row = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                row[:, : plane.width] = value
                plane.update(row)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        wave = (np.sin(np.arange(96_000) * 0.05) * 8000).astype(np.int16)[None]
        noise = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        noise.sample_rate = 48_000
        container.mux([*sound.encode(noise), *sound.encode(None)])
    chunk, notes = collect()
    assert "HDR" in notes
    again: list[str] = []
    grey = next(read_frames(chunk, notes=again)).to_ndarray(format="gray")
    assert not again  # a chunk is a usual video
    shown = [float(grey[20:44, 20 * i + 6 : 20 * i + 14].mean()) for i in range(5)]
    light = np.array(nits) / 203
    expected = 255 * (light * (1 + light / 25) / (1 + light)) ** (1 / 2.2)
    np.testing.assert_allclose(shown, expected, atol=5)
