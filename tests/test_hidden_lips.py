"""Pictures from which no lips can be read: photographs, frozen calls, cut off and tiny faces."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from asdtune.core.prepare import detectors
from asdtune.core.prepare.detectors import YUNET, FaceDetector, load_detector
from asdtune.core.prepare.media import read_audio, read_frames
from asdtune.core.prepare.quality import why_unfit
from asdtune.core.prepare.stillness import STEP_FRAMES, motion, shrink_crop, still_frames
from asdtune.core.prepare.tracking import _without_photographs
from asdtune.core.prepare.tracks import Track
from tests.bench.conversations import read_faces
from tests.conftest import Run

Picture = np.ndarray  # (H, W, 3) red-green-blue
SECONDS = 6


def write(path: Path, sound_of: Path, pictures: list[Picture], *, crf: int = 23) -> None:
    """Write pictures over the sound of another video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": str(crf)})
        video.height, video.width = (side // 2 * 2 for side in pictures[0].shape[:2])
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for picture in pictures:
            even = np.ascontiguousarray(picture[: video.height, : video.width])
            container.mux(video.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(video.encode(None))
        samples = np.concatenate(list(read_audio(sound_of)))[: SECONDS * 16_000]
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def read(path: Path) -> list[Picture]:
    frames = (frame.to_ndarray(format="rgb24") for frame in read_frames(path))
    return [picture for _, picture in zip(range(SECONDS * 25), frames, strict=False)]


def zoomed(pictures: list[Picture], detector: FaceDetector, shown: float) -> list[Picture]:
    """Enlarge a face of which so much is in the picture, from its top on."""
    first = np.ascontiguousarray(pictures[0][..., ::-1])
    x0, y0, x1, y1 = detector.detect(first)[0, :4].astype(int)
    end = y0 + int(shown * (y1 - y0))
    top, width = max(0, end - (y1 - y0)), x1 - x0
    columns = slice(max(0, (x0 + x1) // 2 - width), (x0 + x1) // 2 + width)
    return [cv2.resize(picture[top:end, columns], (640, 480)) for picture in pictures]


@pytest.fixture(scope="module")
def odd(shared: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a project of one good clip and one of each odd kind, prepared as far as splits."""
    root = tmp_path_factory.mktemp("odd")
    clips, model = shared / "clips", shared / "models" / YUNET.name
    good, other = clips / "speakers/s01/s01_00.mp4", clips / "speakers/s07/s07_00.mp4"
    pictures, others = read(good), read(other)
    detector = load_detector("yunet", model, 0.7)
    rng = np.random.default_rng(0)

    def zoom(i: int) -> Picture:
        factor = 1 + 0.1 * i / len(pictures)
        matrix = np.array([[factor, 0, -0.15 * i], [0, factor, -0.1 * i]])
        return cv2.warpAffine(others[20], matrix, others[20].shape[1::-1])

    noise = [np.clip(others[20] + rng.normal(0, 6, others[20].shape), 0, 255) for _ in pictures]
    webcam = [cv2.resize(picture, (160, 160)) for picture in pictures]
    slide = np.full((480, 640, 3), 235, np.uint8)
    slide[40:440, 20:420] = cv2.resize(others[20], (400, 400))
    slides = []
    for small in webcam:
        slides.append(slide.copy())
        slides[-1][300:460, 460:620] = small
    tiny = np.full((240, 320, 3), 128, np.uint8)
    tinies = []
    for picture in pictures:
        tinies.append(tiny.copy())
        tinies[-1][100:136, 140:176] = cv2.resize(picture, (36, 36), interpolation=cv2.INTER_AREA)
    odd_clips = {
        "good": pictures,
        "photograph": [others[20]] * len(pictures),
        "grainy_photograph": [each.astype(np.uint8) for each in noise],
        "zooming_photograph": [zoom(i) for i in range(len(pictures))],
        "slide": slides,
        "frozen": [*pictures[:60], *[pictures[60]] * 60, *pictures[60:90]],
        "no_mouth": zoomed(pictures, detector, 0.55),
        "close_up": zoomed(pictures, detector, 1.0),
        "tiny": tinies,
    }
    for name, made in odd_clips.items():
        write(root / "videos" / "training" / name / f"{name}.mp4", good, made)
    folders = ["--video-dir", root / "videos", "--face-crops-output-dir", root / "face_crops"]
    run("crops", *folders, "--detector-model", model, "--workers", 1)
    run(
        "mfcc", "--video-dir", root / "videos", "--face-crops-dir", root / "face_crops",
        "--mfccs-output-dir", root / "mfccs",
    )  # fmt: skip
    run(
        "splits", "--face-crops-dir", root / "face_crops", "--mfccs-dir", root / "mfccs",
        "--splits-output-dir", root / "splits", "--window-size", 25,
    )  # fmt: skip
    return root


def why_left_out(odd: Path) -> dict[str, str]:
    report = json.loads((odd / "splits" / "report.json").read_text())
    left_out = report["splits"]["training"]["left_out"]
    return {Path(each["clip"]).name: each["problem"] for each in left_out}


def test_clips_without_readable_lips_are_left_out_by_name(odd: Path) -> None:
    why = why_left_out(odd)
    assert why.keys() == {
        "photograph", "grainy_photograph", "zooming_photograph", "no_mouth", "tiny"
    }  # fmt: skip
    assert all("a still picture" in why[name] for name in why if "photograph" in name)
    assert "the mouth is outside the picture" in why["no_mouth"]
    assert "too small" in why["tiny"]


def test_quality_tells_how_many_frames_are_still(odd: Path) -> None:
    quality = pd.read_csv(odd / "face_crops" / "quality.csv")
    quality.index = [Path(clip).name for clip in quality["clip"]]
    still = quality["n_frames_still"]
    assert still["good"] == still["close_up"] == still["slide"] == 0
    assert still["photograph"] >= 0.95 * quality["n_frames"]["photograph"]
    assert 40 <= still["frozen"] <= 64


def test_no_window_shows_a_frozen_call(odd: Path) -> None:
    windows = pd.read_csv(odd / "splits" / "training.csv")
    centres = windows[windows["video_id"] == "frozen"]["video_window_center"]
    assert len(centres)
    assert not centres.between(60 + 5, 120 - 5).any()


def test_a_webcam_beside_a_large_portrait_is_the_speaker(odd: Path) -> None:
    with np.load(odd / "face_crops" / "training" / "slide" / "slide.npz") as file:
        assert (file["boxes"][file["detected"], 0] > 440).all()
        assert (file["n_faces"] == 1).all()


class SideDetector:
    """Finds a face whose nose is far beside its eyes: no clip at hand shows one for long."""

    def detect(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return np.array(
            [[0.25 * width, 0.2 * height, 0.75 * width, 0.8 * height, 1.4, 0]], np.float32
        )


def test_a_face_seen_from_the_side_is_left_out_by_name(
    shared: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = "asdtune.core.prepare.detectors.load_detector"
    monkeypatch.setattr(loaded, lambda *_args, **_kwargs: SideDetector())
    video = tmp_path / "videos" / "training" / "a" / "a.mp4"
    video.parent.mkdir(parents=True)
    shutil.copy(shared / "clips" / "speakers" / "s04" / "s04_00.mp4", video)
    folders = ["--face-crops-output-dir", tmp_path / "crops"]
    run(
        "crops", "--video-dir", tmp_path / "videos", *folders, "--detector", "haar",
        "--workers", 1,
    )  # fmt: skip
    (path,) = (tmp_path / "crops").rglob("*.npz")
    problem = why_unfit(path, all_clips=True)
    assert problem is not None
    assert problem.problem == "seen from the side in 100.0 % of the frames with the face"


def test_pose_is_that_of_the_landmarks() -> None:
    boxes = np.array([[0, 0, 100, 100]] * 3, np.float32)
    frontal = [[30, 40], [70, 40], [52, 60], [35, 75], [65, 75]]
    side = [[30, 40], [45, 40], [60, 60], [35, 75], [55, 75]]
    low = [[30, 40], [70, 40], [50, 60], [35, 95], [65, 95]]
    faces = detectors._with_pose(boxes, np.array([frontal, side, low], np.float32), 100)
    np.testing.assert_allclose(faces[:, 4], [2 / 40, 22.5 / 15, 0], atol=1e-6)
    assert faces[:, 5].tolist() == [0, 0, 1]


def test_people_who_listen_are_no_photographs(shared: Path, tmp_path: Path) -> None:
    for path in (shared / "clips" / "conversations").glob("newsreaders*"):
        (tmp_path / path.name).symlink_to(path)
    for face in read_faces(tmp_path):  # two, who listen half the time
        small = [shrink_crop(crop) for crop in face.crops[::STEP_FRAMES]]
        motions = [motion(*pair) for pair in pairwise(small)]
        assert not still_frames(motions, len(face.crops)).any()


def test_a_photograph_is_not_beaten_by_what_is_there_for_a_moment() -> None:
    def track(frames: range, size: float, *, moves: bool) -> Track:
        made = Track(0, frames[0])
        made.appearances.append(np.full(4, 0.25 if moves else 0.1, np.float32))
        for i in frames:
            crop = rng.integers(0, 255, (112, 112), np.uint8) if moves else still
            made.add(np.array([0, 0, size, size, 0, 0], np.float32), crop, i)
        return made

    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (112, 112), np.uint8)
    photograph = [track(range(200), 250, moves=False)]
    assert _without_photographs([photograph, [track(range(6), 50, moves=True)]])[0] is photograph
    person = [track(range(150), 50, moves=True)]
    assert _without_photographs([photograph, person]) == [person]
