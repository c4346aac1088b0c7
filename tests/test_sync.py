"""Flash and click stay together, from the video to the face crops and the MFCC.

A flash is timed by the first frame that is lit. The face in the source lights up with the first
picture at or after an event, so the truth is that picture's time, not the event's.

A click is timed by the first MFCC frame that holds a tenth of the click's energy (its codec may
smear less than that over the samples before it). Frame m covers samples 160 m to 160 m + 400, and
the click, longer than a frame, fills a tenth of it when it begins at 160 m + 360 at the latest,
and not before 160 m + 200, or else frame m - 1 were the first. So it begins at 160 m + 280 samples,
that is 10 m + 17.5 ms, give or take 5 ms.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asdtune.core.arrays import map_data, read_npz
from asdtune.core.prepare.batch import n_cores
from asdtune.core.prepare.chunk_table import CHUNKS_CSV
from asdtune.core.rates import MFCC_FPS, VIDEO_FPS
from tests.conftest import Run
from tests.render import render_flashes_and_clicks

CLICK_SECONDS = 0.0175  # from the time of its first MFCC frame to the click; see above

MEDIAN_SECONDS, WORST_SECONDS = 0.020, 0.045  # how far flash and click may come apart
DRIFT_SECONDS = 0.010  # from the beginning to the end of ten minutes


@dataclass(frozen=True)
class Case:
    """A video to measure: the rate of its pictures, where its sound begins, and its form."""

    fps: Fraction | None  # None: variable
    sound_start: Fraction = Fraction(0)
    suffix: str = ".mp4"
    form: dict[str, Any] = field(default_factory=dict)

    def times(self, seconds: int) -> list[Fraction]:
        """Give the times of the pictures."""
        if self.fps is not None:
            return [i / self.fps for i in range(int(seconds * self.fps))]
        rng = np.random.default_rng(1)
        gaps = rng.integers(20, 46, seconds * 50)  # ms, as of a phone
        times = np.concatenate([[0], gaps.cumsum()])
        return [Fraction(int(time), 1000) for time in times if time < seconds * 1000]


NTSC = Fraction(30_000, 1001)
STEREO = {"audio_rate": 44_100, "layout": "stereo"}
FORMS: dict[str, tuple[Fraction | None, str, dict[str, Any]]] = {
    "24": (Fraction(24), ".mp4", {}),
    "25": (Fraction(25), ".mkv", STEREO),
    "29.97": (NTSC, ".mp4", STEREO),
    "30": (Fraction(30), ".webm", {"video_codec": "libvpx", "audio_codec": "libopus"}),
    "60": (Fraction(60), ".mp4", {"layout": "stereo"}),
    "variable": (None, ".mp4", {"audio_rate": 44_100}),
}
LATE, EARLY = Fraction(37, 100), Fraction(-1, 2)
AVI = {"video_codec": "mpeg4", "audio_codec": "pcm_s16le", "audio_rate": 16_000}
CASES = {
    f"{rate}_{start}": Case(fps, LATE if start == "late" else EARLY, suffix, form)
    for rate, (fps, suffix, form) in FORMS.items()
    for start in ("late", "early")
} | {
    "25_avi": Case(Fraction(25), suffix=".avi", form=AVI),
    "29.97_flv": Case(NTSC, LATE, ".flv", {"audio_rate": 44_100}),
    "30_ts": Case(Fraction(30), EARLY, ".ts"),
}
SHORT_CASES = ("24_late", "25_early", "29.97_early", "30_late", "60_late", "variable_early",
               "25_avi", "29.97_flv", "30_ts")  # fmt: skip
LONG_CASES = ("24_early", "25_late", "29.97_late", "30_early", "60_early", "variable_late",
              "25_avi")  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """Where the videos and what the stages made of them lie, and how long they are."""

    root: Path
    seconds: int
    chunk_seconds: int


@pytest.fixture(scope="module")
def short(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = Corpus(tmp_path_factory.mktemp("short"), 6, 3)
    for name in SHORT_CASES:
        render(name, corpus)
    run_stages(run, corpus, workers=1)
    return corpus


@pytest.fixture(scope="module")
def ten_minutes(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    corpus = Corpus(tmp_path_factory.mktemp("long"), 600, 20)
    with ProcessPoolExecutor(n_cores(), get_context("spawn")) as pool:
        list(pool.map(render, LONG_CASES, repeat(corpus)))
    run_stages(run, corpus, workers=0)
    yield corpus
    shutil.rmtree(corpus.root)  # some gigabytes


def run_stages(run: Run, corpus: Corpus, *, workers: int) -> None:
    """Run the stages on the videos chunked, and as they are."""
    root = corpus.root
    # fmt: off
    run("collect-chunk", root / "raw", "--video-dir", root / "chunks", "--chunk-seconds",
        corpus.chunk_seconds, "--min-chunk-seconds", 1, "--workers", workers)
    for videos in ("raw", "chunks"):
        run("crops", "--video-dir", root / videos, "--detector", "haar", "--detection-size", 80,
            "--face-crops-output-dir", root / f"{videos}_crops", "--workers", workers)
        run("mfcc", "--video-dir", root / videos, "--face-crops-dir", root / f"{videos}_crops",
            "--mfccs-output-dir", root / f"{videos}_mfccs", "--workers", workers)
    # fmt: on


def render(name: str, corpus: Corpus) -> None:
    case = CASES[name]
    render_flashes_and_clicks(
        corpus.root / "raw" / "training" / name / f"{name}{case.suffix}",
        times=case.times(corpus.seconds),
        events=events(corpus.seconds),
        sound_start=case.sound_start,
        **case.form,
    )


def events(seconds: int) -> list[Fraction]:
    """Give one event in every second, at ever other places on the grids of frames."""
    return [k + Fraction(50 + 89 * k % 700, 1000) for k in range(seconds)]


@dataclass(frozen=True)
class Measured:
    """How much later than in the source the clicks come, relative to their flashes.

    Attributes:
        at: Seconds after the beginning of the source, shape (n,).
        errors: Seconds, shape (n,).
    """

    at: np.ndarray
    errors: np.ndarray


def measure(
    corpus: Corpus, name: str, videos: str, clip: Path, *, start: float, end: float
) -> Measured:
    """Measure the crops and MFCC of a clip, which is `start` to `end` of its source."""
    case = CASES[name]
    pictures = np.array([float(time) for time in case.times(corpus.seconds)])
    clicks = np.array([float(event) for event in events(corpus.seconds)])
    clicks = clicks[(clicks >= start) & (clicks < end)]
    flashes = pictures[np.searchsorted(pictures, clicks)]
    seen = flash_frames(corpus.root / f"{videos}_crops" / f"{clip}.npz") / VIDEO_FPS
    heard = click_frames(corpus.root / f"{videos}_mfccs" / f"{clip}.npz") / MFCC_FPS
    assert len(seen) == len(clicks)
    is_recorded = clicks >= float(case.sound_start)
    assert len(heard) == is_recorded.sum()
    distances = heard + CLICK_SECONDS - seen[is_recorded]
    return Measured(clicks[is_recorded], distances - (clicks - flashes)[is_recorded])


def flash_frames(crops_path: Path) -> np.ndarray:
    """Give the video frames with which flashes begin."""
    light = np.array([crop.mean() for crop in map_data(crops_path)])
    return rises(light > (light.min() + light.max()) / 2)


def click_frames(mfcc_path: Path) -> np.ndarray:
    """Give the MFCC frames that are the first to hold a tenth of a click's energy."""
    arrays = read_npz(mfcc_path, "data", "padded")
    log_energy = arrays["data"][~arrays["padded"], 0]
    return rises(log_energy > log_energy.max() - np.log(10))


def rises(claim: np.ndarray) -> np.ndarray:
    return np.flatnonzero(claim[1:] & ~claim[:-1]) + 1


def check(of_parts: Sequence[Measured], seconds: int) -> None:
    """Check the parts of a video one by one, and that nothing drifts from first to last."""
    at = np.concatenate([part.at for part in of_parts])
    errors = np.concatenate([part.errors for part in of_parts])
    for part in of_parts:
        assert np.median(np.abs(part.errors)) <= MEDIAN_SECONDS
        assert np.abs(part.errors).max() <= WORST_SECONDS
    if seconds >= 60:  # a line through less would be one through the rounding to frames
        slope, _ = np.polyfit(at, errors, 1)
        assert abs(slope * seconds) <= DRIFT_SECONDS


def check_chunks(corpus: Corpus, name: str) -> None:
    with (corpus.root / "chunks" / CHUNKS_CSV).open() as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] == name]
    assert len(rows) == corpus.seconds // corpus.chunk_seconds
    of_chunks = []
    for row in rows:
        start = float(row["start_seconds"])
        clip = Path(row["split"], name, row["clip"])
        end = start + int(row["n_frames"]) / VIDEO_FPS
        of_chunks.append(measure(corpus, name, "chunks", clip, start=start, end=end))
    check(of_chunks, corpus.seconds)


def check_video(corpus: Corpus, name: str) -> None:
    clip = Path("training", name, name)
    measured = measure(corpus, name, "raw", clip, start=0, end=corpus.seconds)
    check([measured], corpus.seconds)


@pytest.mark.parametrize("name", SHORT_CASES)
def test_flash_and_click_stay_together_in_chunks(short: Corpus, name: str) -> None:
    check_chunks(short, name)


@pytest.mark.parametrize("name", SHORT_CASES)
def test_flash_and_click_stay_together_without_chunks(short: Corpus, name: str) -> None:
    check_video(short, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG_CASES)
def test_nothing_drifts_from_the_first_chunk_to_the_last(ten_minutes: Corpus, name: str) -> None:
    check_chunks(ten_minutes, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG_CASES)
def test_nothing_drifts_in_ten_minutes_without_chunks(ten_minutes: Corpus, name: str) -> None:
    check_video(ten_minutes, name)
