"""The demo: drawn people are found and heard, bad folders refused, and all of it learned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from asdtune.commands import demo as demonstrating
from asdtune.commands.demo import TARGET_AUC, close_demo
from asdtune.console import Summary
from asdtune.core.prepare.detectors import Haar
from asdtune.core.prepare.media import count_frames, read_audio, read_frames
from asdtune.core.prepare.speech import SpeechStream, speech_of_frames
from asdtune.core.rates import SAMPLES_PER_FRAME
from asdtune.core.synthetic import motion
from asdtune.core.synthetic.faces import Pose, draw_face
from asdtune.core.synthetic.motion import (
    BEHAVIOURS,
    Behaviour,
    chew,
    keep_still,
    nod,
    silences,
    smile,
)
from asdtune.core.synthetic.people import SIDE, Person, invent_person, write_talk
from asdtune.core.synthetic.voices import converse, talk
from asdtune.errors import AsdtuneError
from asdtune.project import load_project
from tests.conftest import Run
from tests.test_pipeline import check_export

N_FRAMES = 100


def person(seed: int) -> Person:
    return invent_person(np.random.default_rng(seed))


def written(path: Path, *people: Person, seed: int = 0, **more: bool) -> Path:
    write_talk(path, people, seconds=N_FRAMES / 25, rng=np.random.default_rng(seed), **more)
    return path


def waveform(path: Path) -> np.ndarray:
    return np.concatenate(list(read_audio(path)))


def faces(path: Path) -> list[np.ndarray]:
    detector = Haar()
    return [detector.detect(frame.to_ndarray(format="bgr24")) for frame in read_frames(path)]


def loudness_of_frames(path: Path) -> np.ndarray:
    sound = waveform(path)[: N_FRAMES * SAMPLES_PER_FRAME].astype(float)
    return np.sqrt((sound.reshape(N_FRAMES, -1) ** 2).mean(1))


def darkness_of_mouth(path: Path) -> np.ndarray:
    frames = np.array([frame.to_ndarray(format="gray") for frame in read_frames(path)], float)
    return -frames[:, 90:115, 60:100].mean((1, 2))


def talk_of_frames(n_people: int, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Give how far talk opens each mouth of `write_talk` with this generator, (n_people, T)."""
    said = converse(n_people, n_frames * SAMPLES_PER_FRAME, rng)
    return said.reshape(n_people, n_frames, -1).mean(2)


def is_silent(mouth: np.ndarray) -> np.ndarray:
    """Tell which frames lie in a silence of a second or more."""
    found = np.zeros(len(mouth), bool)
    for start, end in silences(mouth):
        found[start:end] = True
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_person_is_found_and_heard_where_they_talk(tmp_path: Path, seed: int) -> None:
    path = written(tmp_path / "talk.mp4", person(seed), seed=seed)
    sound = waveform(path)
    assert count_frames(path) == N_FRAMES
    assert len(sound) == pytest.approx(N_FRAMES * SAMPLES_PER_FRAME, abs=2048)
    found = [len(boxes) for boxes in faces(path)]
    assert found.count(1) > 0.95 * N_FRAMES
    stream = SpeechStream()
    speech = speech_of_frames(np.concatenate([stream.push(sound), stream.end()]), N_FRAMES)
    (mouth,) = talk_of_frames(1, N_FRAMES, np.random.default_rng(seed))
    assert (speech[~is_silent(mouth)] >= 0.5).mean() > 0.6
    for start, end in silences(mouth):
        assert (speech[start + 4 : end - 2] < 0.2).all()  # silero takes a moment to notice


@pytest.mark.parametrize("behave", BEHAVIOURS)
def test_a_pause_is_silent_and_the_face_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behave: Behaviour
) -> None:
    monkeypatch.setattr(motion, "BEHAVIOURS", [behave])
    path = written(tmp_path / "talk.mp4", person(1), seed=3)
    (mouth,) = talk_of_frames(1, N_FRAMES, np.random.default_rng(3))
    pause = is_silent(mouth)
    assert 1.5 * 25 - 2 < pause.sum() < 3 * 25
    loudness = loudness_of_frames(path)
    assert loudness[pause][4:-4].max() < 0.05 * np.median(loudness[~pause])
    boxes = faces(path)
    assert sum(len(of_frame) == 1 for of_frame in boxes) > 0.95 * N_FRAMES
    heights = np.array([of_frame[0, 1] if len(of_frame) else np.nan for of_frame in boxes])
    assert (np.nanstd(heights[pause]) > 2) == (behave is nod)
    dark = darkness_of_mouth(path)
    assert (dark[pause].std() > 0.2 * dark[~pause].std()) == (behave is chew)


@pytest.mark.parametrize("behave", BEHAVIOURS)
def test_a_listener_begins_and_ends_at_rest(behave: Behaviour) -> None:
    poses = behave(60, np.random.default_rng(0))
    rest = astuple(Pose())
    assert astuple(poses[0]) == astuple(poses[-1]) == pytest.approx(rest)
    moved = np.ptp([astuple(pose) for pose in poses], axis=0) > 0
    assert moved.tolist() == [behave is chew, behave is smile, behave is nod]


def test_a_drawn_smile_is_wider_and_its_ends_are_higher() -> None:
    def lips(pose: Pose) -> tuple[int, float, float]:
        """Give the width of the lips, and the rows in which their middle and their end lie."""
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        looks = replace(person(0).looks, lips=(255.0, 0.0, 255.0))
        draw_face(picture, (80, 75), looks, pose)
        is_lip = (picture == (255, 0, 255)).all(2)
        columns = np.flatnonzero(is_lip.any(0))
        middle, end = (np.flatnonzero(is_lip[:, x]).mean() for x in (80, columns[0]))
        return len(columns), middle, end

    (width, middle, end), (smile_width, smile_middle, smile_end) = lips(Pose()), lips(Pose(smile=1))
    assert smile_width > 1.2 * width
    assert smile_middle > middle
    assert smile_end < end - 1


def test_two_drawn_people_are_both_found_and_one_listens_while_the_other_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listened = []

    def listen(n_frames: int, rng: np.random.Generator) -> list[Pose]:
        listened.append(n_frames)
        return keep_still(n_frames, rng)

    monkeypatch.setattr(motion, "BEHAVIOURS", [listen])
    path = written(tmp_path / "talk.mp4", person(1), person(2))
    assert listened == pytest.approx([50, 50], abs=8)
    assert sum(len(boxes) == 2 for boxes in faces(path)) > 0.95 * N_FRAMES
    frames = [frame.to_ndarray(format="gray") for frame in read_frames(path)]
    assert frames[0].shape == (SIDE, 2 * SIDE)
    mouths = np.array([[half[90:120].std() for half in np.split(f, 2, axis=1)] for f in frames])
    first, second = mouths[5:45].std(0), mouths[55:95].std(0)
    assert first[0] > 4 * first[1]
    assert second[1] > 4 * second[0]


def test_a_mouth_opens_when_there_is_sound(tmp_path: Path) -> None:
    path = written(tmp_path / "talk.mp4", person(3))
    dark, loud = darkness_of_mouth(path), loudness_of_frames(path)
    assert np.corrcoef(dark, loud)[0, 1] > 0.6
    assert np.corrcoef(dark[:-15], loud[15:])[0, 1] < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_every_speaker_of_the_demo_is_silent_long_enough_for_windows(seed: int) -> None:
    chunk_frames, shares = 150, []
    for i, video in enumerate(demonstrating._plan()[: sum(demonstrating._N_SPEAKERS.values())]):
        n_frames = round(25 * video.seconds)
        (mouth,) = talk_of_frames(1, n_frames, np.random.default_rng([seed, 1, i]))
        chunks = np.split(mouth, range(chunk_frames, n_frames, chunk_frames))
        lengths = [end - start for chunk in chunks for start, end in silences(chunk)]
        assert max(lengths) >= 1.5 * 25 - 2  # less than two frames are lost to rounding
        shares.append(sum(lengths) / n_frames)
    assert 0.2 < np.mean(shares) < 0.3


def test_the_same_seed_draws_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    a, b = (written(tmp_path / name / "v.mp4", person(1)).read_bytes() for name in "ab")
    c = written(tmp_path / "c" / "v.mp4", person(2)).read_bytes()
    assert a == b != c


def test_a_silent_talk_has_moving_pictures_and_digital_silence(tmp_path: Path) -> None:
    path = written(tmp_path / "talk.mp4", person(1), silent=True)
    assert not waveform(path).any()
    first, *_, last = [frame.to_ndarray(format="gray") for frame in read_frames(path)]
    assert not np.array_equal(first, last)


def test_loudness_lies_between_0_and_1() -> None:
    loudness = talk(16_000, np.random.default_rng(0))
    assert loudness.shape == (16_000,)
    assert 0 <= loudness.min() < 0.01
    assert 0.3 < loudness.max() <= 1.0


def test_a_folder_with_other_things_is_refused_and_left_as_it_is(run: Run, in_tmp: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    Path("file").write_text("mine")
    for flags in ([], ["--overwrite"]):
        output = " ".join(run("demo", "mine", *flags, exit_code=2).output.split())
        assert "error: the demo goes into a folder of its own" in output
        assert "where: mine" in output
        assert "fix: name a new folder" in output
        assert "this is a file" in run("demo", "file", *flags, exit_code=2).output
    assert [path.name for path in Path("mine").rglob("*")] == ["notes.txt"]


def test_the_folder_of_another_version_is_begun_anew_only_when_asked(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demonstrating._claim(Path("demo"), overwrite=False)
    demonstrating._claim(Path("demo"), overwrite=False)
    monkeypatch.setattr(demonstrating, "_VERSION", demonstrating._VERSION + 1)
    with pytest.raises(AsdtuneError, match="another version"):
        demonstrating._claim(Path("demo"), overwrite=False)
    demonstrating._claim(Path("demo"), overwrite=True)
    demonstrating._claim(Path("demo"), overwrite=False)


def test_only_missing_videos_are_drawn(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = [
        demonstrating._Video("training/a/talk.mp4", (0,), seconds=1),
        demonstrating._Video("training/b/broken.mp4", (1,), seconds=1, is_broken=True),
    ]
    monkeypatch.setattr(demonstrating, "_plan", lambda: videos)

    def drawn(*, overwrite: bool = False) -> int:
        return demonstrating._draw(Path(), overwrite=overwrite).data["written"]

    assert drawn() == 2
    before = [Path("raw", video.name).read_bytes() for video in videos]
    Path("raw", videos[0].name).unlink()
    Path("raw/mine.mp4").write_text("mine")
    assert (drawn(), drawn()) == (1, 0)
    assert drawn(overwrite=True) == 2
    assert before == [Path("raw", video.name).read_bytes() for video in videos]
    assert Path("raw/mine.mp4").read_text() == "mine"
    with pytest.raises(AsdtuneError, match="not a readable video"):
        count_frames(Path("raw", videos[1].name))


def stages_of(sync: float, rejected: list[str]) -> list[Summary]:
    report = {"who_is_speaking": 99.0, "sync": sync, "n_speakers": 6, "page": "report.html"}
    return [
        Summary("crops", "", failures={name: AsdtuneError("broken") for name in rejected}),
        Summary("evaluate", "", report),
        Summary("export-config", "", {"output_dir": "export"}),
        Summary("preview", "", {"path": "preview.mp4"}),
    ]


def test_the_closing_line_forgives_what_is_bad_on_purpose_and_nothing_else() -> None:
    bad = [f"training/{speaker}/{speaker}_0000.mp4" for speaker in demonstrating._BAD]

    def failures(sync: float, rejected: list[str]) -> list[str]:
        return list(close_demo(Path(), stages_of(sync, rejected), 60).failures)

    assert failures(TARGET_AUC, bad) == []
    assert failures(TARGET_AUC, [*bad, "training/a/talk.mp4"]) == ["crops: training/a/talk.mp4"]
    broken = demonstrating._BAD["broken_on_purpose"].name
    assert failures(TARGET_AUC, bad[1:]) == [broken]  # no stage has rejected it
    assert failures(TARGET_AUC - 1, bad) == ["sync"]


def test_the_project_file_of_the_demo_is_read(in_tmp: Path) -> None:
    Path("asdtune.toml").write_text(demonstrating._PROJECT)
    project = load_project(None)
    assert project.crops.detector == "haar"
    assert project.recipe.checkpoint == "scratch"


OFFLINE = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
"""


@pytest.mark.slow
def test_the_demo_learns_offline_and_does_nothing_twice(tmp_path: Path) -> None:
    # Twenty people, all stages: some minutes on two cores.
    (tmp_path / "sitecustomize.py").write_text(OFFLINE)
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def demo(*flags: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "asdtune", "demo", *flags],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    said, folder = demo().splitlines(), tmp_path / "asdtune-demo"
    assert not any("too little speech" in line for line in said)
    report = json.loads((folder / "report" / "report.json").read_text())
    assert min(report["who_is_speaking"], report["sync"]) >= TARGET_AUC
    assert report["n_speakers"] == 6
    for kind in report["by_kind"].values():
        assert kind["accuracy"] > 80  # mAP alone is flattered where most windows are positive
    assert report["by_kind"]["silent_face"]["accuracy"] >= 90
    check_export(folder / "export", window_size=25)
    assert len(list((folder / "export").rglob("*.pth"))) == 1
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert all(words in page for words in ("broken_on_purpose", "the sound is silent"))
    assert count_frames(folder / "preview" / "two_people_on_purpose_preview.mp4") == 300
    trained = (folder / "exps" / "checkpoints" / "best.pth").stat().st_mtime_ns

    again = json.loads(demo("--json"))
    assert again["sync"] == report["sync"]
    found = {Path(name).stem: how["stage"] for name, how in again["bad_on_purpose"].items()}
    assert found == {
        "broken_on_purpose": "collect-chunk",
        "silent_on_purpose": "mfcc",
        "two_people_on_purpose": "splits",
    }
    for stage in ("drawing", "collect-chunk", "crops", "mfcc", "preview"):
        assert again["stages"][stage]["written"] == 0
    assert again["stages"]["train"]["is_fresh"]
    assert again["stages"]["evaluate"]["is_fresh"]
    assert (folder / "exps" / "checkpoints" / "best.pth").stat().st_mtime_ns == trained
