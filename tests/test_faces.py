"""Detectors, tracks and crops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asdtune.core import downloads
from asdtune.core.prepare.boxes import iou, match_boxes
from asdtune.core.prepare.crops import extract_crops
from asdtune.core.prepare.detection import Detections, detect_faces
from asdtune.core.prepare.detectors import YUNET, find_detector_model, load_detector
from asdtune.core.prepare.media import read_frames
from asdtune.core.prepare.tracking import FaceTracker, clamp_box, cut_crop
from asdtune.errors import AsdtuneError
from tests.render import render_talking_face, render_video

SETTINGS = {
    "detector": "yunet",
    "detector_model": None,
    "detection_size": 320,
    "min_score": 0.7,
    "detect_every": 1,
    "max_gap_frames": 3,
    "workers": 1,
    "overwrite": False,
}


def yunet(shared: Path) -> Path:
    return shared / "models" / YUNET.name


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_detector_finds_the_one_face_of_a_real_clip(shared: Path, name: str) -> None:
    frame = next(read_frames(shared / "clips" / "speakers" / "s07" / "s07_00.mp4"))
    detector = load_detector(name, yunet(shared), 0.7)
    boxes = detector.detect(frame.to_ndarray(format="bgr24"))
    assert len(boxes) == 1
    x0, y0, x1, y1 = boxes[0, :4]
    assert 0.2 < (x1 - x0) / frame.width < 0.7
    assert 0.2 < (y1 - y0) / frame.height < 0.7


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_detector_finds_nothing_in_noise(shared: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    assert load_detector(name, yunet(shared), 0.7).detect(noise).shape == (0, 6)


def test_without_a_network_the_error_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path))

    def no_network(url: str, path: Path) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(downloads, "_download", no_network)
    with pytest.raises(AsdtuneError) as caught:
        find_detector_model("yunet", None)
    assert str(tmp_path / YUNET.name) in str(caught.value.fix)
    assert "--detector-model" in str(caught.value.fix)
    assert "--detector haar" in str(caught.value.fix)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_download_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr(downloads, "_download", lambda _url, path: path.write_text("<html>"))
    with pytest.raises(AsdtuneError, match="not the published file"):
        find_detector_model("yunet", None)
    assert list(tmp_path.iterdir()) == []


def test_the_cached_file_is_used_and_checked(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path))
    (tmp_path / YUNET.name).write_bytes(yunet(shared).read_bytes())
    assert find_detector_model("yunet", None) == tmp_path / YUNET.name


def test_git_blob_check_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello\n")  # git hash-object gives this id
    assert downloads.matches(tmp_path / "a", "git-blob:ce013625030ba8dba906f756967f9e9ca394464a")


def test_broken_detector_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("nonsense")
    with pytest.raises(AsdtuneError, match="not a YuNet model"):
        load_detector("yunet", tmp_path / "a.onnx", 0.7)


coordinates = st.floats(-500, 500, width=32)


@given(st.tuples(*[coordinates] * 4), st.integers(1, 300), st.integers(1, 300))
def test_clamped_box_lies_in_the_frame_and_is_not_empty(
    box: tuple[float, ...], width: int, height: int
) -> None:
    x0, y0, x1, y1 = clamp_box(np.array(box, np.float32), width, height)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


def test_crop_is_the_clamped_box_resized_grey(shared: Path) -> None:
    path = shared / "clips" / "speakers" / "s07" / "s07_00.mp4"
    frame = next(read_frames(path))
    grey = cv2.cvtColor(cv2.VideoCapture(str(path)).read()[1], cv2.COLOR_BGR2GRAY)
    crop = cut_crop(frame, np.array([-20.0, 30.5, 200.2, 700.0], np.float32))
    np.testing.assert_array_equal(crop, cv2.resize(grey[30:450, 0:200], (112, 112)))


def box(x: float, size: float = 10) -> np.ndarray:
    return np.array([x, 0, x + size, size, 0, 0], np.float32)


def test_each_box_goes_on_with_the_one_it_overlaps_most() -> None:
    known, new = np.stack([box(0), box(20)]), np.stack([box(21), box(1), box(60)])
    assert match_boxes(known, new) == [1, 0, None]


def test_no_box_is_continued_twice() -> None:
    assert match_boxes(np.stack([box(0)]), np.stack([box(2), box(1)])) == [None, 0]


def test_iou_of_equal_and_of_distant_boxes() -> None:
    assert iou(box(3), box(3)) == 1.0
    assert iou(box(0), box(10)) == 0.0


class Blinking:
    """Finds a face that moves right, except in some frames."""

    def __init__(self, missing: set[int]) -> None:
        self.missing, self.i_frame = missing, -1

    def detect(self, image: np.ndarray) -> np.ndarray:
        self.i_frame += 1
        if self.i_frame in self.missing:
            return np.zeros((0, 6), np.float32)
        return np.array([[self.i_frame, 0, self.i_frame + 40, 40, 0, 0]], np.float32)


def crop_with(
    detector: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    monkeypatch.setattr("asdtune.core.prepare.detectors.load_detector", lambda *_: detector)
    monkeypatch.setattr("asdtune.core.prepare.detectors.find_detector_model", lambda *_: None)
    render_video(tmp_path / "videos" / "a.mp4", seconds=1)
    (result,) = extract_crops(tmp_path / "videos", tmp_path / "crops", **SETTINGS)
    if result.error is not None:
        raise result.error
    with np.load(tmp_path / "crops" / "a.npz", allow_pickle=False) as file:
        return dict(file)


def test_short_gap_is_bridged_and_a_long_one_is_black(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = crop_with(Blinking({5, 6, 7, *range(15, 19)}), tmp_path, monkeypatch)
    assert crops["data"].shape == (25, 112, 112)
    assert crops["data"].dtype == np.uint8
    assert crops["detected"].tolist() == [not 15 <= i < 19 for i in range(25)]
    np.testing.assert_allclose(crops["boxes"][:15, 0], np.arange(15))
    assert not crops["data"][15:19].any()
    assert not crops["boxes"][15:19].any()
    assert json.loads(str(crops["provenance"]))["settings"]["detector"] == "yunet"
    # What bridges a gap is cut from the frame itself, not from a neighbour.
    frames = list(read_frames(tmp_path / "videos" / "a.mp4"))
    np.testing.assert_array_equal(crops["data"][6], cut_crop(frames[6], crops["boxes"][6]))


class Counting:
    """Finds one face that moves at a steady speed, told by the brightness of the picture."""

    def __init__(self, pixels_per_frame: float) -> None:
        self.n_looks, self.speed = 0, pixels_per_frame

    def detect(self, image: np.ndarray) -> np.ndarray:
        self.n_looks += 1
        x = self.speed * float(image.mean()) / 2
        return np.array([[x, 10, x + 40, 50, 0, 0]], np.float32)


def brightening(n_frames: int, *, cut_at: int | None = None) -> Iterator[av.VideoFrame]:
    """Give pictures that tell their number by their brightness, and jump at a cut."""
    for i in range(n_frames):
        level = 2 * i + (60 if cut_at is not None and i >= cut_at else 0)
        picture = np.full((64, 96, 3), level, np.uint8)
        yield av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")


def detections_of(
    frames: Iterator[av.VideoFrame], detector: object, every: int
) -> list[Detections]:
    return list(detect_faces(frames, detector, detection_size=96, detect_every=every))


@pytest.mark.parametrize(("speed", "n_looks"), [(0.5, 11), (30.0, 51)])
def test_faces_between_two_looks_are_found_and_fast_ones_are_looked_at(
    speed: float, n_looks: int
) -> None:
    detector = Counting(speed)
    seen = detections_of(brightening(51), detector, 5)
    assert detector.n_looks == n_looks
    found = np.array([detections.faces[0, 0] for detections in seen])
    everywhere = detections_of(brightening(51), Counting(speed), 1)
    expected = np.array([detections.faces[0, 0] for detections in everywhere])
    np.testing.assert_allclose(found, expected, atol=1.0)  # brightness comes in whole levels


def test_no_stretch_goes_across_a_cut() -> None:
    seen = detections_of(brightening(20, cut_at=8), Counting(0.5), 5)
    assert [i for i, detections in enumerate(seen) if detections.is_after_cut] == [8]
    found = np.array([detections.faces[0, 0] for detections in seen])
    np.testing.assert_allclose(np.diff(found)[7], 15.5, atol=1.5)  # the jump, between 7 and 8
    assert np.diff(np.delete(found, slice(8, 20))).max() < 2


def test_gap_is_not_bridged_across_a_cut(tmp_path: Path) -> None:
    class Follow:
        def write(self, _: bytes) -> None:
            pass

    tracker = FaceTracker(Follow(), max_gap_frames=5)
    face, nothing = np.array([[10, 10, 50, 50, 0, 0]], np.float32), np.zeros((0, 6), np.float32)
    for i, frame in enumerate(brightening(12)):
        boxes = nothing if i == 5 else face
        tracker.update(Detections(frame, boxes, is_after_cut=i == 6))
    followed = tracker.finish()
    assert np.flatnonzero(followed.rows < 0).tolist() == [5]  # behind the cut it looks the same
    assert followed.quality.n_cuts == 1


def test_looking_at_every_fifth_frame_finds_the_same_faces(shared: Path) -> None:
    path = shared / "clips" / "speakers" / "s13" / "s13_00.mp4"  # a head that moves much
    detector = load_detector("yunet", yunet(shared), 0.7)
    every, some = (
        list(detect_faces(read_frames(path), detector, detection_size=320, detect_every=n))
        for n in (1, 5)
    )
    overlaps = [iou(a.faces[0], b.faces[0]) for a, b in zip(every, some, strict=True)]
    assert np.mean(overlaps) > 0.9


def test_video_without_a_face_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AsdtuneError, match="no face found in 25 frames"):
        crop_with(Blinking(set(range(25))), tmp_path, monkeypatch)
    assert not (tmp_path / "crops" / "a.npz").exists()


def test_drawn_faces_are_cut_the_same_whatever_the_workers(tmp_path: Path) -> None:
    for i in range(3):
        path = tmp_path / "videos" / f"{i}.mp4"
        render_talking_face(path, seconds=1.2, width=320, height=240, seed=i)
    settings = {**SETTINGS, "detector": "haar", "detect_every": 8}
    for workers in (1, 2):
        results = extract_crops(
            tmp_path / "videos", tmp_path / str(workers), **{**settings, "workers": workers}
        )
        assert {result.status.value for result in results} == {"written"}
    for i in range(3):
        a, b = ((tmp_path / name / f"{i}.npz").read_bytes() for name in "12")
        assert a == b
        with np.load(tmp_path / "1" / f"{i}.npz") as file:
            assert file["detected"].all()
            assert file["data"].shape == (30, 112, 112)


def test_videos_that_differ_in_suffix_only_are_named_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asdtune.core.prepare.detectors.load_detector", lambda *_: Blinking(set()))
    monkeypatch.setattr("asdtune.core.prepare.detectors.find_detector_model", lambda *_: None)
    for name in ("a.mp4", "a.mkv", "b.mp4"):
        render_video(tmp_path / "videos" / name, seconds=1)
    results = list(extract_crops(tmp_path / "videos", tmp_path / "crops", **SETTINGS))
    assert [result.name for result in results if result.error] == ["a.mkv", "a.mp4"]
    assert [path.name for path in (tmp_path / "crops").glob("*.npz")] == ["b.npz"]
