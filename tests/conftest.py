"""Videos to test with: rendered ones, and the real ones that lie beside the repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from typer.testing import CliRunner, Result

from asdtune.cli import app
from asdtune.core.prepare.detectors import YUNET
from asdtune.core.prepare.splits import make_splits
from asdtune.core.training.dataset import WindowDataset
from tests.clips import write_clip, write_pausing_people
from tests.render import render_video
from tests.talkers import write_corpus

settings.register_profile("fixed", derandomize=True, print_blob=True, deadline=None)
settings.load_profile("fixed")

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of real clips and reference values, or skip where it is absent."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("ASDTUNE_SHARED", default))
    if not (folder / "clips").is_dir():
        pytest.skip("the folder of real clips and reference values is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command line as a user would, in process."""

    def run_command(*args: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result

    return run_command


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give raw videos of seven speakers, 4 s each; two of the speakers have two videos."""
    root = tmp_path_factory.mktemp("raw")
    for i_speaker in range(7):
        for i_video in range(2 if i_speaker in (1, 4) else 1):
            render_video(
                root / f"s{i_speaker}" / f"v{i_video}.mp4",
                seconds=4,
                seed=10 * i_speaker + i_video,
            )
    return root


@pytest.fixture(scope="session")
def people(shared: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give `face_crops/` and `mfccs/` of the 27 real speakers; nobody may write there."""
    root = tmp_path_factory.mktemp("people")
    videos, crops = root / "videos", root / "face_crops"
    run("collect-chunk", shared / "clips" / "speakers", "--video-dir", videos)
    run(
        "crops", "--video-dir", videos, "--face-crops-output-dir", crops,
        "--detector-model", shared / "models" / YUNET.name,
    )  # fmt: skip
    run(
        "mfcc", "--video-dir", videos, "--face-crops-dir", crops,
        "--mfccs-output-dir", root / "mfccs",
    )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give splits of rendered people, 2 s a clip, windows of 9 frames, with their waveforms."""
    return write_corpus(
        tmp_path_factory.mktemp("talkers"),
        {"training": 4, "validation": 2, "test": 2},
        seconds=2,
        window_size=9,
        windows_per_clip=6,
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give splits of windows of 5 frames whose pictures are as bright as their sound is loud."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i, split in enumerate(["training"] * 4 + ["validation"] * 2 + ["test"] * 2):
        for i_clip in range(2):
            name = f"{split}/s{i}/s{i}_{i_clip:04d}"
            write_clip(root, name, 40)
            loudness = rng.uniform(0, 1, 40)
            crops = np.repeat(loudness * 255, 112 * 112).reshape(40, 112, 112).astype(np.uint8)
            mfcc = np.repeat(loudness, 4)[:, None] * np.ones((1, 13)) * 5
            np.savez(root / "face_crops" / f"{name}.npz", data=crops)
            np.savez(root / "mfccs" / f"{name}.npz", data=mfcc.astype(np.float32))
    for _ in make_splits(
        root / "face_crops", root / "mfccs", root / "splits",
        window_size=5, windows_per_sample=6, n_samples=None, seed=0,
        silent_face_share=0.0, min_speech_share=0.5, all_clips=False, overwrite=False,
    ):  # fmt: skip
        pass
    return root / "splits"


@pytest.fixture(scope="session")
def pausing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give splits of people who pause, of the tutorial's four kinds, for windows of 9 frames."""
    root = tmp_path_factory.mktemp("pausing")
    return write_pausing_people(root, {"training": 1, "validation": 2, "test": 2})


@pytest.fixture
def windows(splits: Path) -> WindowDataset:
    return WindowDataset(splits / "training.csv", 9)


class CentreDetector:
    """Finds one face in the middle of every picture."""

    def detect(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        box = [width * 0.25, height * 0.25, width * 0.75, height * 0.75]
        return np.array([[*box, 0, 0]], np.float32)


@pytest.fixture
def fake_faces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every detector find one face in the middle (in this process: give --workers 1)."""
    monkeypatch.setattr(
        "asdtune.core.prepare.detectors.load_detector", lambda *_args, **_kwargs: CentreDetector()
    )
    monkeypatch.setattr(
        "asdtune.core.prepare.detectors.find_detector_model", lambda *_args, **_kwargs: None
    )
    return
