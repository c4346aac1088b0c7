"""Who is followed where several people are on screen, or shots follow each other."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from asdtune.core.prepare.crops import extract_crops
from asdtune.core.prepare.detection import detect_faces, find_cuts
from asdtune.core.prepare.detectors import YUNET, load_detector
from asdtune.core.prepare.media import read_frames
from asdtune.core.prepare.pictures import convert
from asdtune.core.prepare.reidentification import appearance_of, count_faces, reidentify
from asdtune.core.prepare.tracking import FaceTracker, MainSpeaker
from asdtune.core.prepare.tracks import Track
from asdtune.project import Project
from tests.conftest import Run
from tests.render import draw_face

RED, BLUE = (
    appearance_of(np.full((8, 8, 3), colour, np.uint8)) for colour in ((0, 0, 250), (250, 0, 0))
)


def track(
    frames: range, x: float, *, size: float = 10, shot: int = 0, look: np.ndarray = RED
) -> Track:
    made = Track(shot, frames[0], appearances=[look])
    for frame in frames:
        face = np.array([x, 0, x + size, size, 0, 0], np.float32)
        made.add(face, np.zeros((112, 112), np.uint8), frame)
    return made


def test_main_speaker_is_the_largest_for_longest() -> None:
    main, beside = track(range(10), 0), track(range(12), 50, size=5)
    assert reidentify([beside, main]) == [[main], [beside]]


def test_speaker_is_the_same_behind_a_cut_if_the_looks_are() -> None:
    before, after = track(range(10), 0), track(range(10, 15), 90, shot=1)
    assert reidentify([before, after]) == [[before, after]]
    other = track(range(10, 15), 0, shot=1, look=BLUE)
    assert reidentify([before, other]) == [[before], [other]]


def test_a_face_elsewhere_in_the_same_shot_is_somebody_else() -> None:
    before, near, far = track(range(10), 0), track(range(20, 29), 4), track(range(20, 28), 40)
    assert reidentify([before, near, far]) == [[before, near], [far]]


def test_a_person_goes_on_as_whom_they_resemble_most() -> None:
    purple = (RED * 8 + BLUE * 2) / 10
    left, right = track(range(9), 0), track(range(8), 50, look=purple)
    later = track(range(10, 15), 20, shot=1, look=purple)
    assert reidentify([left, right, later]) == [[left], [right, later]] or reidentify(
        [left, right, later]
    ) == [[right, later], [left]]


def test_small_and_flickering_faces_do_not_count() -> None:
    main, small = track(range(10), 0), track(range(10), 50, size=4)
    flicker, other = track(range(2), 80, look=BLUE), track(range(4, 9), 80)
    people = reidentify([main, small, flicker, other])
    assert people == [[main], [other], [small]]
    counts = count_faces(people, 12)
    assert counts.tolist() == [1] * 4 + [2] * 5 + [1] + [0] * 2


def pictures(images: Iterable[np.ndarray]) -> Iterator[av.VideoFrame]:
    for image in images:
        yield convert(av.VideoFrame.from_ndarray(image, format="bgr24"), "yuv420p")


def images_of(path: Path, n_frames: int) -> Iterator[np.ndarray]:
    for frame in islice(read_frames(path), n_frames):
        yield cv2.resize(convert(frame, "bgr24").to_ndarray(), (480, 360))


def follow(images: Iterable[np.ndarray], shared: Path) -> MainSpeaker:
    """Follow the main speaker with the default settings."""
    settings = Project().crops
    detector = load_detector("yunet", shared / "models" / YUNET.name, settings.min_score)
    tracker = FaceTracker(io.BytesIO(), settings.max_gap_frames)
    for detections in detect_faces(
        pictures(images),
        detector,
        detection_size=settings.detection_size,
        detect_every=settings.detect_every,
    ):
        tracker.update(detections)
    return tracker.finish()


@pytest.fixture
def speakers(shared: Path) -> list[Path]:
    folder = shared / "clips" / "speakers"
    return [folder / name for name in ("s03/s03_00.mp4", "s04/s04_00.mp4", "s13/s13_00.mp4")]


def test_two_real_people_side_by_side_are_never_mixed(shared: Path, speakers: list[Path]) -> None:
    sides = zip(images_of(speakers[0], 100), images_of(speakers[1], 100), strict=True)
    followed = follow((np.hstack(pair) for pair in sides), shared)
    centres = followed.boxes[followed.rows >= 0][:, [0, 2]].mean(1)
    assert (followed.rows >= 0).mean() > 0.95
    assert (centres < 480).all() or (centres > 480).all()
    assert followed.quality.n_frames_with_several_faces > 90
    assert followed.quality.n_people == 2


def test_a_cut_between_two_real_people_is_a_cut(shared: Path, speakers: list[Path]) -> None:
    first, other = images_of(speakers[0], 60), images_of(speakers[1], 30)
    followed = follow(chain(first, other), shared)
    assert followed.quality.n_cuts == 1
    assert (followed.rows >= 0).tolist() == [True] * 60 + [False] * 30
    assert followed.quality.n_people == 2
    assert followed.quality.n_frames_with_several_faces == 0


def test_the_speaker_is_found_again_after_another_shot(shared: Path, speakers: list[Path]) -> None:
    of_speaker = list(images_of(speakers[2], 80))
    jumped = [cv2.flip(image, 1) for image in of_speaker[40:]]  # sits elsewhere after a jump cut
    shots = chain(of_speaker[:40], images_of(speakers[0], 20), jumped)
    followed = follow(shots, shared)
    assert (followed.rows >= 0).tolist() == [True] * 40 + [False] * 20 + [True] * 40


def test_a_person_behind_another_is_no_second_speaker(shared: Path) -> None:
    def both(i: int) -> np.ndarray:
        near = draw_face(480, 360, centre=(140 + i, 170), radius=80, mouth=i % 2, seed=1)
        far = draw_face(480, 360, centre=(240, 180), radius=30, mouth=0, seed=1)
        near[:, 300:] = far[:, 150:330]
        return near

    followed = follow((both(i) for i in range(40)), shared)
    assert (followed.rows >= 0).all()
    assert followed.quality.n_frames_with_several_faces == 0
    assert followed.quality.steadiness > 0.9


def flashing(n_flash: int, level: int) -> Iterator[np.ndarray]:
    background = np.random.default_rng(0).integers(20, 120, (360, 480, 3), np.uint8)
    for i in range(60):
        yield np.full_like(background, level) if 30 <= i < 30 + n_flash else background


@pytest.mark.parametrize(
    ("n_flash", "level", "cuts"),
    [(1, 255, []), (6, 255, []), (6, 0, [30, 36]), (20, 255, [30, 50])],
)
def test_a_flash_is_no_cut(n_flash: int, level: int, cuts: list[int]) -> None:
    found = list(find_cuts(pictures(flashing(n_flash, level))))
    assert len(found) == 60
    assert [i for i, (_, is_cut) in enumerate(found) if is_cut] == cuts


def test_a_flash_at_the_end_is_not_lost() -> None:
    found = list(find_cuts(pictures(islice(flashing(6, 255), 33))))
    assert len(found) == 33


@pytest.mark.parametrize(
    ("name", "n_least"),
    [("two_people_a.avi", 2), ("two_people_b.avi", 2), ("four_people_panel.mp4", 3)],
)
def test_crops_of_real_people_never_jump(shared: Path, name: str, n_least: int) -> None:
    images = (convert(f, "bgr24").to_ndarray() for f in read_frames(shared / "clips/edge" / name))
    followed = follow(images, shared)
    detected = followed.rows >= 0
    steps = np.abs(np.diff(followed.boxes[:, :2], axis=0)).max(1)[detected[:-1] & detected[1:]]
    assert steps.max() < 0.5 * followed.quality.face_height_pixels
    assert followed.quality.n_people >= n_least
    assert followed.quality.n_frames_with_several_faces > 0.5 * followed.quality.n_frames


def test_quality_tells_every_clip(shared: Path, tmp_path: Path, run: Run) -> None:
    videos, crops = tmp_path / "videos", tmp_path / "crops"
    for name in ("two_people_a.avi", "cut_then_broll.mp4", "tiny_10fps.mp4"):
        (videos / "a").mkdir(parents=True, exist_ok=True)
        (videos / "a" / name).symlink_to(shared / "clips" / "edge" / name)
    model = shared / "models" / YUNET.name
    command = ("crops", "--video-dir", videos, "--face-crops-output-dir", crops, "--workers", 1)
    run(*command, "--detector-model", model, exit_code=1)
    table = pd.read_csv(crops / "quality.csv")
    assert table["clip"].tolist() == ["a/cut_then_broll", "a/two_people_a"]
    of_faces = table.filter(regex="^n_frames_with").sum(axis=1)
    assert (of_faces == table["n_frames"]).all()
    assert table["n_cuts"].tolist()[0] > 0
    (videos / "a" / "two_people_a.avi").unlink()  # deleted to save space: its crops stay
    before = (crops / "quality.csv").read_bytes()
    run(*command, "--detector-model", model, exit_code=1)
    assert (crops / "quality.csv").read_bytes() == before
    with np.load(crops / "a" / "two_people_a.npz") as file:
        assert (file["n_faces"] > 1).sum() == table["n_frames_with_several_faces"][1]


def test_what_failed_before_leaves_no_quality(tmp_path: Path, fake_faces: None) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_text("no video")
    settings = Project().crops.model_dump()
    (result,) = extract_crops(
        tmp_path / "videos", tmp_path / "crops", **settings, workers=1, overwrite=False
    )
    assert result.error is not None
    assert not (tmp_path / "crops" / "quality.csv").exists()


def test_a_slow_video_is_not_cut_to_pieces() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (90, 160, 3), np.uint8) for _ in range(20)]
    shown_thrice = [frame for frame in pictures(noise) for _ in range(3)]
    assert sum(is_cut for _, is_cut in find_cuts(shown_thrice)) <= 1
    assert len(list(find_cuts(shown_thrice))) == 60


def test_a_picture_of_another_size_begins_a_shot() -> None:
    image = np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8)
    images = [image] * 5 + [cv2.resize(image, (320, 180))] * 5
    assert [i for i, (_, is_cut) in enumerate(find_cuts(pictures(images))) if is_cut] == [5]
