from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from asdtune.core.prepare.chunk_writer import SoundQueue, write_chunk
from asdtune.core.prepare.media import count_frames, probe, read_frames
from asdtune.core.prepare.pictures import grey_region, shrink
from asdtune.core.rates import SAMPLE_RATE, SAMPLES_PER_FRAME
from asdtune.errors import AsdtuneError
from tests.render import read_waveform, render_video


def variable_times(seconds: float) -> list[Fraction]:
    """Give irregular times of pictures, 20 to 45 ms apart."""
    rng = np.random.default_rng(1)
    times, now = [], Fraction(0)
    while now < seconds:
        times.append(now)
        now += Fraction(int(rng.integers(20, 46)), 1000)
    return times


RATES = {
    "24": {"fps": 24},
    "25": {"fps": 25},
    "29.97": {"fps": Fraction(30_000, 1001)},
    "30": {"fps": 30},
    "50": {"fps": 50},
    "60": {"fps": 60},
    "variable": {"times": variable_times(4.2)},
}


@pytest.mark.parametrize("rate", RATES)
def test_frames_come_at_25_per_second_whatever_the_rate(tmp_path: Path, rate: str) -> None:
    path = render_video(tmp_path / "a.mp4", seconds=4.2, **RATES[rate])
    n_frames = sum(1 for _ in read_frames(path))
    assert abs(n_frames - 105) <= 1
    assert count_frames(path) == n_frames


def onset_errors(path: Path) -> np.ndarray:
    """Give the seconds from each flash to its click."""
    means = np.array([frame.to_ndarray(format="gray").mean() for frame in read_frames(path)])
    is_white = means > 180
    flashes = np.flatnonzero(is_white & ~np.roll(is_white, 1)) / 25
    loud = np.abs(read_waveform(path).astype(np.int32)) > 5000
    loud_at = np.flatnonzero(loud) / SAMPLE_RATE
    clicks = loud_at[np.insert(np.diff(loud_at) > 0.5, 0, True)]
    n_both = min(len(clicks), len(flashes))  # early sound ends early
    return clicks[:n_both] - flashes[:n_both]


def test_an_avi_with_reordered_pictures_has_their_true_times(shared: Path) -> None:
    path = shared / "clips" / "speakers" / "s11" / "s11_00.avi"
    assert sum(1 for _ in read_frames(path)) == count_frames(path) == 245
    assert abs(len(read_waveform(path)) / SAMPLES_PER_FRAME - 245) <= 1


def test_rotated_pictures_come_upright(shared: Path) -> None:
    path = shared / "clips" / "edge" / "rotated.mp4"
    frame = next(read_frames(path))
    _, expected = cv2.VideoCapture(str(path)).read()  # OpenCV turns pictures too
    np.testing.assert_array_equal(frame.to_ndarray(format="bgr24"), expected)


@pytest.mark.parametrize(
    "name",
    ["s01/s01_00.mp4", "s03/s03_00.mp4", "s08/s08_00.mp4", "s16/s16_00.mpg", "s18/s18_00.mp4"],
)
def test_grey_is_what_opencv_makes_of_the_picture(shared: Path, name: str) -> None:
    path = shared / "clips" / "speakers" / name
    frame = next(read_frames(path))
    expected = cv2.cvtColor(cv2.VideoCapture(str(path)).read()[1], cv2.COLOR_BGR2GRAY)
    for x0, y0, x1, y1 in [(0, 0, frame.width, frame.height), (31, 17, 90, 118), (7, 8, 8, 9)]:
        np.testing.assert_array_equal(grey_region(frame, x0, y0, x1, y1), expected[y0:y1, x0:x1])


def test_shrink_bounds_the_longest_side_and_never_enlarges(tmp_path: Path) -> None:
    frame = next(read_frames(render_video(tmp_path / "a.mp4", width=96, height=64)))
    assert shrink(frame, 48).shape == (32, 48, 3)
    assert shrink(frame, 500).shape == (64, 96, 3)


def test_chunk_round_trip_keeps_pictures_and_sound(tmp_path: Path) -> None:
    source = render_video(tmp_path / "a.mp4", seconds=2, flashes=True)
    frames, waveform = list(read_frames(source)), read_waveform(source)
    for name in ("b.mp4", "c.mp4"):
        with write_chunk(tmp_path / name, frames[0], crf=18) as writer:
            for frame in frames:
                writer.write_frame(frame)
            writer.write_samples(waveform)
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()
    again = list(read_frames(tmp_path / "b.mp4"))
    assert len(again) == len(frames)
    for before, after in zip(frames, again, strict=True):
        difference = before.to_ndarray(format="gray").astype(int) - after.to_ndarray(format="gray")
        assert np.abs(difference).mean() < 4
    assert np.abs(onset_errors(tmp_path / "b.mp4") - onset_errors(source)).max() < 0.005


MEMORY = """
import gc, sys
from pathlib import Path
from asdtune.core.prepare.media import read_frames
from tests.bench.measuring import peak_mb
gc.disable()
frames = read_frames(Path(sys.argv[1]))
next(frames)
before = peak_mb()
n_frames = sum(1 for _ in frames)
of_one = peak_mb()
for _ in range(20):
    next(read_frames(Path(sys.argv[1])))
print(n_frames, of_one - before, peak_mb() - of_one)
"""


def test_no_more_than_a_few_pictures_are_held(tmp_path: Path) -> None:
    path = render_video(tmp_path / "a.mp4", seconds=8, width=640, height=480)  # 92 MB decoded
    command = [sys.executable, "-c", MEMORY, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    n_frames, within_one, from_one_to_the_next = done.stdout.split()
    assert n_frames == "199"
    assert float(within_one) < 40
    assert float(from_one_to_the_next) < 10


ENCODE = """
import sys, itertools, numpy
from pathlib import Path
from asdtune.core.prepare.media import read_frames
from asdtune.core.prepare.chunk_writer import write_chunk
frames = list(itertools.islice(read_frames(Path(sys.argv[1])), 40))
with write_chunk(Path(sys.argv[2]), frames[0], crf=18) as writer:
    for frame in frames:
        writer.write_frame(frame)
    writer.write_samples(numpy.zeros(25600, numpy.int16))
"""


def test_chunk_does_not_depend_on_what_memory_held_before(shared: Path, tmp_path: Path) -> None:
    source = shared / "clips" / "speakers" / "s07" / "s07_00.mp4"
    for value in ("0", "85"):  # glibc fills fresh memory with this; elsewhere it does nothing
        subprocess.run(
            [sys.executable, "-c", ENCODE, source, tmp_path / f"{value}.mp4"],
            env={**os.environ, "MALLOC_PERTURB_": value},
            check=True,
        )
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "85.mp4").read_bytes()


def test_sound_that_ends_early_is_not_filled_up() -> None:
    queue = SoundQueue(iter([np.arange(100, dtype=np.int16), np.arange(100, 150, dtype=np.int16)]))
    taken = [queue.take(60) for _ in range(4)]
    assert [len(each) for each in taken] == [60, 60, 30, 0]
    assert np.concatenate(taken).tolist() == list(range(150))


def test_full_range_pictures_keep_their_grey_in_a_chunk(shared: Path, tmp_path: Path) -> None:
    frame = next(read_frames(shared / "clips" / "speakers" / "s18" / "s18_00.mp4"))
    with write_chunk(tmp_path / "a.mp4", frame, crf=18) as writer:
        for _ in range(5):
            writer.write_frame(frame)
        writer.write_samples(np.zeros(3200, np.int16))
    again = next(read_frames(tmp_path / "a.mp4")).to_ndarray(format="gray").astype(int)
    assert np.abs(again - frame.to_ndarray(format="gray")).mean() < 1


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("appledouble.mp4", "not a readable video"),
        ("lfs_pointer.flv", "not a readable video"),
        ("text_named.mp4", "not a readable video"),
        ("truncated.mp4", "not a readable video"),
        ("zero_bytes.mp4", "the file is empty"),
        ("audio_only.mov", "no video stream"),
        ("bit_flips.mp4", "damaged"),
        ("truncated_readable.avi", "truncated"),
    ],
)
def test_bad_videos_give_one_clear_error(shared: Path, name: str, problem: str) -> None:
    path = shared / "clips" / "edge" / name
    with pytest.raises(AsdtuneError, match=problem) as caught:
        for _ in read_frames(path):
            pass
    assert caught.value.where == str(path)
    assert caught.value.fix


def test_mp4_cut_off_behind_its_header_is_named_truncated(tmp_path: Path) -> None:
    path = render_video(tmp_path / "a.mp4", seconds=8, width=320, height=240, header_first=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AsdtuneError, match=r"truncated|damaged"):
        for _ in read_frames(path):
            pass


def test_missing_video_and_missing_sound_are_named(tmp_path: Path) -> None:
    with pytest.raises(AsdtuneError, match="no such file"):
        probe(tmp_path / "absent.mp4")
    mute = render_video(tmp_path / "mute.mp4", audio_rate=None)
    assert not probe(mute).n_audio_tracks
    with pytest.raises(AsdtuneError, match="no audio stream"):
        read_waveform(mute)
