"""`data.html` of `splits`: minutes that add up, and every clip in a strip."""

from __future__ import annotations

import base64
import os
import re
import shutil
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest

from asdtune.core.evaluation import data_page
from asdtune.core.prepare.quality import FLAWS
from tests.clips import write_clip
from tests.conftest import Run
from tests.test_report import Page

SIDE = 56  # pixels of a small crop
MINUTE = 25 * 60  # frames


def splits_of(run: Run, root: Path, *, exit_code: int = 0) -> str:
    """Draw windows of nine frames; give the page."""
    run(
        "splits", "--face-crops-dir", root / "face_crops", "--mfccs-dir", root / "mfccs",
        "--splits-output-dir", root / "splits", "--window-size", 9, "--windows-per-sample", 4,
        "--set", f"paths.video_dir='{root / 'videos'}'", exit_code=exit_code,
    )  # fmt: skip
    return (root / "splits" / "data.html").read_text(encoding="utf-8")


def tables_of(page: str) -> list[list[list[str]]]:
    """Give the cells of each table, without its head."""
    bodies = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    rows = [re.findall(r"<tr>(.*?)</tr>", body) for body in bodies]
    cell = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>")
    return [[[unescape(each) for each in cell.findall(row)] for row in body] for body in rows]


def strips_of(page: str) -> list[tuple[str, np.ndarray | None]]:
    """Give the words of each clip and its pictures."""
    found = []
    for figure in re.findall(r"<figure.*?</figure>", page, re.DOTALL):
        words = unescape(" ".join(re.sub(r"<[^>]*>", "", figure).split()))
        jpeg = re.search(r'base64,([^"]+)"', figure)
        raw = None if jpeg is None else np.frombuffer(base64.b64decode(jpeg[1]), np.uint8)
        picture = None if raw is None else cv2.imdecode(raw, cv2.IMREAD_GRAYSCALE)
        found.append((words, picture))
    return found


def mark(root: Path, name: str, **arrays: np.ndarray) -> None:
    """Add arrays to face crops."""
    path = root / "face_crops" / f"{name}.npz"
    with np.load(path) as file:
        np.savez(path, **{**file, **arrays})


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """Give splits of good clips and one of each kind that is left out, a minute each."""
    root = tmp_path_factory.mktemp("odd")
    everywhere = range(MINUTE)
    for name in ("a/good", "a/other", "b/good", *(f"c/{flaw}" for flaw in FLAWS), "c/no_mfcc"):
        write_clip(root, f"training/{name}", MINUTE, speech=everywhere)
    write_clip(root, "training/c/several", MINUTE, speech=everywhere, several_faces=range(400))
    write_clip(root, "training/c/faceless", MINUTE, speech=everywhere, without_face=range(800))
    write_clip(root, "training/c/small", MINUTE, speech=everywhere)
    write_clip(root, "training/d/silent", MINUTE, speech=range(3))
    write_clip(root, "training/d/short", 8)
    write_clip(root, "training/d/no_crops", MINUTE)
    write_clip(root, "training/d/damaged", MINUTE)
    for i, flaw in enumerate(FLAWS):
        mark(root, f"training/c/{flaw}", **{flaw: np.arange(MINUTE) < 800 + 100 * i})
    boxes = np.tile(np.array([0, 0, 20, 20], np.float32), (MINUTE, 1))
    mark(root, "training/c/small", boxes=boxes, provenance=np.array("{}"))
    (root / "mfccs/training/c/no_mfcc.npz").unlink()
    (root / "face_crops/training/d/no_crops.npz").unlink()
    (root / "face_crops/training/d/damaged.npz").write_bytes(b"no zip")
    for folder, failed in {
        "videos": "d/raw.mov,no video stream",
        "face_crops": "training/d/no_crops.mp4,no face found\ntraining/d/lost.mp4,no face found",
        "mfccs": "training/c/no_mfcc.mp4,no sound\ntraining/d/lost.mp4,no sound",
    }.items():
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "failed.csv").write_text(f"video,problem\n{failed}\n")
    splits_of(run, root, exit_code=1)
    return root


def page_of(root: Path) -> str:
    return (root / "splits" / "data.html").read_text(encoding="utf-8")


def test_funnel_adds_up(odd: Path) -> None:
    funnel, failed, _ = tables_of(page_of(odd))
    reasons = {
        "several people": "1.0", "too few faces": "1.0", "a still picture": "1.0",
        "seen from the side": "1.0", "the mouth is outside the picture": "1.0",
        "the face is too small": "1.0", "too little speech": "1.0", "no window": "0.0",
        "no face crops": "1.0", "no MFCC": "1.0",
        "not a readable .npz file with an array `data` (File is not a zip file)": "0.0",
    }  # fmt: skip
    rows = {name: (minutes, n) for name, minutes, _, n in funnel}
    assert rows == {
        "found": ("12.0", "14"),
        "used": ("3.0", "3"),
        **{f"left out: {name}": (minutes, "1") for name, minutes in reasons.items()},
        "collect-chunk failed": ("", "1"),
        "crops failed": ("", "1"),
    }
    assert failed == [
        ["collect-chunk", "d/raw.mov", "no video stream"],
        ["crops", "training/d/lost.mp4", "no face found"],
    ]


def test_speakers_are_told_though_they_give_nothing(odd: Path) -> None:
    speakers = tables_of(page_of(odd))[2]
    assert [[*row[:4], row[5]] for row in speakers] == [
        ["a", "training", "2.0", "2", "0"],
        ["b", "training", "1.0", "1", "0"],
        ["c", "training", "0.0", "0", "7"],
        ["d", "training", "0.0", "0", "4"],
    ]
    n_windows = len((odd / "splits" / "training.csv").read_text().splitlines()) - 1
    assert sum(int(row[4]) for row in speakers) == n_windows


def test_clips_that_are_left_out_come_first_the_worst_first(odd: Path) -> None:
    words = [words for words, _ in strips_of(page_of(odd))]
    names = [each.split(",")[0] for each in words]
    assert names[:2] == ["damaged", "no_crops"]  # nothing is known of their pictures
    assert names[2:6] == ["mouth_outside", "profile", "faceless", "still"]
    assert names[-3:] == ["good", "other", "good"]
    assert ["Left out: " in each for each in words] == [True] * 11 + [False] * 3
    (still,) = (each for each in words if each.startswith("still,"))
    assert (
        "60.0 s, speaker c, training; speech in 100 %; still in 53 %. Left out: a still picture"
        in still
    )


def test_marks_lie_where_the_sound_does(odd: Path) -> None:
    page = page_of(odd)
    figure = page[page.index("<b>still</b>") :]
    paths = re.findall(r'<path class="(\w+)"[^>]* d="([^"]*)"', figure)[:2]
    assert paths == [("hidden", f"M0.0,0H{800 / MINUTE * 672:.1f}"), ("speech", "M0.0,0H672.0")]


def test_names_are_text(tmp_path: Path, run: Run) -> None:
    speaker, clip = '<b>"Ann" & co', "<script>alert(1)<script>"
    for name in (f"training/{speaker}/{clip}", f"training/{speaker}/<img>"):
        write_clip(tmp_path, name, 50)
    write_clip(tmp_path, "training/x/<i>", 5)
    (tmp_path / "face_crops/failed.csv").write_text("video,problem\n<u>.mp4,<s>\n")
    page = splits_of(run, tmp_path)
    assert page.count("<script") == 1
    assert not re.search(r"<(b>\"|img>|i>|u>|s>)", page)
    words = [words for words, _ in strips_of(page)]
    assert words[0].startswith("<i>, 0.2 s, speaker x, training. Left out: no window of 9")
    assert any(each.startswith(f"{clip}, 2.0 s, speaker {speaker}, training") for each in words)
    assert speaker in [row[0] for row in tables_of(page)[2]]


def test_page_can_be_read_offline_and_heard(odd: Path) -> None:
    text = page_of(odd)
    page = Page(text)
    assert "http" not in text
    assert not page.all("link")
    assert len(text[text.index("<script>") : text.index("</script>")].splitlines()) <= 20
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch(r"h\d", tag)]
    assert levels == [1] + [2] * (len(levels) - 1)
    assert page.all("html")[0]["lang"] == "en"
    for image in page.all("img"):
        assert image["loading"] == "lazy"
        assert image["alt"]
    assert {each["aria-hidden"] for each in page.all("svg")} == {"true"}
    assert {each["scope"] for each in page.all("th")} == {"row", "col"}


def test_page_is_written_again_only_where_it_is_gone_or_old(tmp_path: Path, run: Run) -> None:
    for name in ("a/a_0", "b/b_0"):
        write_clip(tmp_path, f"training/{name}", 50)
    first, page = splits_of(run, tmp_path), tmp_path / "splits" / "data.html"
    os.utime(page, (0, 0))
    assert splits_of(run, tmp_path) == first
    assert page.stat().st_mtime == 0
    page.unlink()
    assert splits_of(run, tmp_path) == first
    write_clip(tmp_path, "training/b/b_1", 50)
    assert "b_1" in splits_of(run, tmp_path)


def test_of_many_clips_those_left_out_and_some_others_are_shown(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(9):
        write_clip(tmp_path, f"training/s{i % 3}/c{i}", 50)
    for i in range(2):
        write_clip(tmp_path, f"training/s0/short{i}", 5)
    monkeypatch.setattr(data_page, "_MAX_CLIPS", 5)
    monkeypatch.setattr(data_page, "_LEAST_USED", 1)
    page = splits_of(run, tmp_path)
    names = [words.split(",")[0] for words, _ in strips_of(page)]
    assert names == ["short0", "short1", "c0", "c4", "c8"]
    said = "5 of 11 clips are shown: 2 of the 2 that are left out, the worst first, and an even"
    assert said in " ".join(page.split())
    assert tables_of(page)[0][0][3] == "11"


@pytest.fixture(scope="module")
def real(people: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give splits of four of the people, one of whom has a clip that shows several."""
    root = tmp_path_factory.mktemp("real")
    chosen = sorted((people / "face_crops" / "training").glob("*/*.npz"))[:4]
    for path in chosen:
        below = path.relative_to(people / "face_crops")
        for stage in ("face_crops", "mfccs"):
            (root / stage / below).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(people / stage / below, root / stage / below)
    last = chosen[-1].relative_to(people / "face_crops").with_suffix("").as_posix()
    with np.load(root / "face_crops" / f"{last}.npz") as file:
        n_frames = len(file["data"])
    mark(root, last, n_faces=np.full(n_frames, 2, np.uint8))
    splits_of(run, root)
    return root


def test_strips_of_real_people_show_their_faces(real: Path) -> None:
    files = {path.stem: path for path in (real / "face_crops").rglob("*.npz")}
    strips = strips_of(page_of(real))
    assert len(strips) == len(files)
    assert "Left out: several people: 100.0 %" in strips[0][0]
    assert not any("Left out" in words for words, _ in strips[1:])
    for words, picture in strips:
        assert "; speech in " in words
        assert picture is not None
        assert picture.shape == (SIDE, 12 * SIDE)
        with np.load(files[words.split(",")[0]]) as file:
            crops = file["data"]
        for i in range(12):
            crop = crops[int((i + 0.5) * len(crops) / 12)]
            small = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            shown = picture[:, i * SIDE : (i + 1) * SIDE]
            assert np.abs(shown.astype(int) - small).mean() < 8
            assert np.corrcoef(shown.ravel(), small.ravel())[0, 1] > 0.95
            assert shown.std() > 10  # it is not black


def test_a_clip_takes_fifteen_kilobytes_at_the_most(real: Path) -> None:
    figures = re.findall(r"<figure.*?</figure>", page_of(real), re.DOTALL)
    assert max(map(len, figures)) < 15_000


def test_files_of_every_kind_are_drawn_as_far_as_they_can_be(tmp_path: Path, run: Run) -> None:
    for i in range(3):
        write_clip(tmp_path, f"training/s{i}/c{i}", 50, only_data=True)
    mark(tmp_path, "training/s0/c0", data=np.full((50, 112, 112), 200, np.int64))
    mark(tmp_path, "training/s1/c1", data=np.full((50, 112, 112), 200, np.float32))
    for i, n in enumerate((50 * 640, 0, 3)):
        path = tmp_path / "mfccs" / f"training/s{i}/c{i}.npz"
        with np.load(path) as file:
            np.savez(path, **file, waveform=np.arange(n).astype(np.int16))
    page = splits_of(run, tmp_path)
    strips = strips_of(page)
    assert [words for words, _ in strips] == [
        f"c{i}, 2.0 s, speaker s{i}, training." for i in range(3)
    ]
    assert [int(picture.mean().round()) for _, picture in strips[:2]] == [200, 200]
    assert [len(each) > 0 for each in re.findall(r'points="(.*?)"', page)] == [True, False, False]
