"""doctor: what it tells of a machine and of a project in every state, and what it says next."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import asdtune
from asdtune.core.models.registry import STARTS
from tests.conftest import CentreDetector, Run
from tests.render import render_video

PROJECT = """
[project]
language = "swahili"
window_size = 5
workers = 1
[paths]
source = "{source}"
[collect-chunk]
chunk_seconds = 3
min_chunk_seconds = 1
[crops]
detector = "haar"
[splits]
windows_per_sample = 2
min_speech_share = 0
[model]
network = "lr-asd"
[train]
checkpoint = "scratch"
total_epochs = 1
device = "cpu"
[evaluate]
toolkit_clips = 0
"""
STAGES = ["collect-chunk", "crops", "mfcc", "splits", "train", "evaluate", "export-config"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, and no network: whoever downloads fails."""
    folder = tmp_path_factory.mktemp("cache")

    def download(url: str, path: Path) -> None:
        raise AssertionError(f"doctor downloads {url}")

    downloads = "asdtune.core.downloads"
    monkeypatch.setattr(f"{downloads}._download", download)
    monkeypatch.setattr(f"{downloads}.platformdirs.user_cache_dir", lambda *_, **__: str(folder))
    return folder


@pytest.fixture(scope="module")
def finished(corpus: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a project that is done; nobody may write there."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "asdtune.toml").write_text(PROJECT.format(source=corpus.as_posix()))
    with pytest.MonkeyPatch.context() as patch:
        faces = "asdtune.core.prepare.detectors"
        patch.setattr(f"{faces}.load_detector", lambda *_, **__: CentreDetector())
        patch.setattr(f"{faces}.find_detector_model", lambda *_, **__: None)
        run("run", "--project", folder)
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a copy of it, and be there."""
    copy = tmp_path / "project"
    shutil.copytree(finished, copy)
    monkeypatch.chdir(copy)
    return copy


def diagnosis(run: Run, *args: object, exit_code: int = 0) -> dict[str, Any]:
    return json.loads(run("doctor", "--json", *args, exit_code=exit_code).stdout)


def finding(told: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in told["findings"] if each["name"] == name]
    return found


def states(told: dict[str, Any], *stages: str) -> list[str]:
    return [told["stages"][stage]["state"] for stage in stages or STAGES]


def edit(old: str, new: str) -> None:
    text = Path("asdtune.toml").read_text()
    assert old in text
    Path("asdtune.toml").write_text(text.replace(old, new))


def test_an_empty_folder_is_told_to_begin(run: Run, in_tmp: Path) -> None:
    lines = run("doctor").stdout.splitlines()
    assert lines[-1] == "next: asdtune init my-project --language LANGUAGE"
    assert "note     project: no asdtune.toml here: the defaults hold" in lines
    assert any(line.startswith("ok       packages: all ") for line in lines)
    assert diagnosis(run)["stages"] == {}
    assert not list(in_tmp.iterdir())


def test_a_new_project_is_told_where_the_videos_go(run: Run, in_tmp: Path) -> None:
    run("init", "p", "--language", "sw")
    told = diagnosis(run, "--project", "p", exit_code=1)
    assert "p/raw/<speaker>/*.mp4" in finding(told, "collect-chunk")["fix"]
    assert states(told) == ["blocked"] + ["not begun"] * 6
    render_video(in_tmp / "p" / "raw" / "anna" / "talk.mp4", seconds=1)
    told = diagnosis(run, "--project", "p")
    assert finding(told, "collect-chunk")["text"] == "not begun: 0 of 1"
    assert told["next"] == "asdtune collect-chunk --project p"


def test_all_mistakes_in_the_project_file_are_told(run: Run, in_tmp: Path) -> None:
    Path("asdtune.toml").write_text('[crops]\ndetecter = "haar"\n[train]\nbatch_size = 0\n')
    told = diagnosis(run, exit_code=1)
    assert "detecter: unknown key; did you mean detector?" in finding(told, "project")["text"]
    assert "batch_size: input should be greater" in finding(told, "project")["text"]
    assert told["next"] == "asdtune doctor"
    told = diagnosis(run, "-p", "absent.toml", exit_code=1)
    assert "no such project file" in finding(told, "project")["text"]


def test_a_finished_project_is_told_to_publish_and_nothing_is_touched(
    run: Run, project: Path
) -> None:
    def contents() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in project.rglob("*")}

    before = contents()
    told = diagnosis(run)
    assert contents() == before
    assert states(told) == ["done"] * 7
    assert told["next"] == f"follow {Path('export/PULL_REQUEST.md')}"
    told = diagnosis(run, "--set", "splits.windows_per_sample=3")
    assert told["next"] == "asdtune splits"


def test_what_is_missing_and_what_failed_is_counted(run: Run, project: Path) -> None:
    clip, *others = sorted(Path("mfccs").rglob("*.npz"))
    video = clip.relative_to("mfccs").with_suffix(".mp4").as_posix()
    Path("mfccs/failed.csv").write_text(f"video,problem\n{video},no sound\n")
    clip.unlink()
    told = diagnosis(run)
    assert finding(told, "mfcc")["text"] == f"done: {len(others)} of {len(others) + 1}, 1 failed"
    assert finding(told, "mfcc")["fix"] == "asdtune mfcc says why"
    assert told["next"] == "asdtune splits"  # what failed does not hold up the rest
    gone, *others = sorted(Path("face_crops").rglob("*.npz"))
    gone.unlink()
    told = diagnosis(run)
    assert finding(told, "crops")["text"] == f"half finished: {len(others)} of {len(others) + 1}"
    assert finding(told, "train")["text"] == "waits: for crops"
    assert told["next"] == "asdtune crops"


@pytest.mark.parametrize(
    ("old", "new", "stage"),
    [
        ("chunk_seconds = 3\n", "chunk_seconds = 2\n", "collect-chunk"),
        ('detector = "haar"', 'detector = "haar"\nmax_gap_frames = 3', "crops"),
        ("windows_per_sample = 2", "windows_per_sample = 3", "splits"),
        ("total_epochs = 1", "total_epochs = 1\nlearning_rate = 0.01", "train"),
        ("toolkit_clips = 0", "toolkit_clips = 1", "evaluate"),
    ],
)
def test_a_changed_setting_makes_its_stage_out_of_date(
    run: Run, project: Path, old: str, new: str, stage: str
) -> None:
    edit(old, new)
    told = diagnosis(run)
    assert states(told, stage) == ["out of date"]
    assert told["next"] == f"asdtune {stage}"


def test_an_interrupted_run_is_to_be_resumed(run: Run, project: Path) -> None:
    begun = json.loads(Path("exps/run.json").read_text())
    del begun["result"]
    Path("exps/run.json").write_text(json.dumps(begun))
    edit("total_epochs = 1", "total_epochs = 3")
    told = diagnosis(run)
    assert finding(told, "train")["text"] == "half finished: 1 of 3 epochs"
    assert told["next"] == "asdtune train --resume"


def test_report_and_folder_of_another_checkpoint_are_out_of_date(run: Run, project: Path) -> None:
    shutil.copy("exps/checkpoints/last.pth", "other.pth")
    run("evaluate", "--baseline", "other.pth")
    told = diagnosis(run)
    assert states(told, "evaluate", "export-config") == ["done", "out of date"]
    assert told["next"] == "asdtune export-config"
    run("export-config")
    assert states(diagnosis(run), "export-config") == ["done"]
    with Path("exps/checkpoints/best.pth").open("ab") as file:
        file.write(b"other")
    told = diagnosis(run)
    assert states(told, "evaluate", "export-config") == ["out of date", "out of date"]
    assert told["next"] == "asdtune evaluate"
    Path("report/report.json").write_text("{")
    told = diagnosis(run, exit_code=1)
    assert "not a report of evaluate" in finding(told, "evaluate")["text"]


def test_videos_may_go_once_they_are_used(run: Run, project: Path) -> None:
    edit("source = ", "# source = ")
    for folder in ("videos", "report"):
        assert states(diagnosis(run)) == ["done"] * 7
        shutil.rmtree(folder)
    told = diagnosis(run)
    assert states(told, "collect-chunk", "crops", "mfcc", "evaluate") == [
        *["done"] * 3,
        "not begun",
    ]
    assert told["next"].startswith("follow ")


def test_files_of_others_count_as_done(run: Run, in_tmp: Path, splits: Path) -> None:
    for name in ("face_crops", "mfccs", "splits"):
        shutil.copytree(splits.parent / name, in_tmp / name)
    shutil.rmtree(in_tmp / "splits" / ".asdtune")
    told = diagnosis(run)
    assert states(told, "crops", "mfcc", "splits") == ["done"] * 3
    assert told["next"] == "asdtune train"


def test_where_all_videos_failed_the_stage_is_not_done(run: Run, in_tmp: Path) -> None:
    for name in "abc":
        video = in_tmp / "raw" / name / "talk.mp4"
        video.parent.mkdir(parents=True)
        video.write_text("this is text")
    run("collect-chunk", "--workers", 1, exit_code=1)
    told = diagnosis(run, exit_code=1)
    assert finding(told, "collect-chunk")["text"] == "blocked: 0 of 3, 3 failed"
    assert told["next"] == "asdtune collect-chunk"


def test_a_folder_that_cannot_be_read_is_named(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def iterdir(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert "permission denied: " in finding(diagnosis(run, exit_code=1), "collect-chunk")["text"]


def test_what_is_not_in_the_cache_is_told_with_its_place(
    run: Run, project: Path, cache: Path
) -> None:
    edit('checkpoint = "scratch"', 'checkpoint = "lr-asd-ava"')
    edit('detector = "haar"', 'detector = "yunet"')
    edit("toolkit_clips = 0", 'baseline = "lr-asd-talkset"')
    told = diagnosis(run)
    for name in ("detector", "weights", "baseline"):
        assert finding(told, name)["mark"] == "note"
        assert f"at {cache}" in finding(told, name)["fix"]
        assert "https://" in finding(told, name)["fix"]
    assert states(told, "crops", "train") == ["done", "done"]  # as far as can be told
    (cache / STARTS["lr-asd-ava"].file.name).write_text("not these")
    assert "is damaged, or another file" in finding(diagnosis(run), "weights")["text"]


@pytest.mark.parametrize(
    ("old", "new", "name", "text"),
    [
        ('"scratch"', '"absent.pth"', "weights", "no such checkpoint: absent.pth"),
        ('"scratch"', '"exps/run.json"', "weights", "not a file of network weights"),
        ('"scratch"', '"english"', "settings", "english is of talknet: give --network talknet"),
        ('"haar"', '"yunet"\ndetector_model = "absent.onnx"', "detector", "no such detector file"),
        ("toolkit_clips = 0", 'baseline = "scratch"', "baseline", "scratch is no checkpoint"),
        ('"cpu"', '"xpu:7"', "device", "this machine has no device xpu:7"),
        ('"swahili"', '"swahilli"', "language", "no language is called"),
    ],
)
def test_what_a_stage_would_stop_on_is_a_problem(
    run: Run, project: Path, old: str, new: str, name: str, text: str
) -> None:
    edit(old, new)
    found = finding(diagnosis(run, exit_code=1), name)
    assert text in found["text"]
    assert found["fix"]


@pytest.mark.parametrize(
    ("package", "code", "name"),
    [
        ("torch", "raise AttributeError('it is broken')", "torch"),
        ("numpy", "raise ImportError('it is broken')", "numpy"),
        ("cv2", "__version__ = '5'", "packages"),
    ],
)
def test_a_broken_package_is_a_problem_with_the_way_to_mend_it(
    tmp_path: Path, package: str, code: str, name: str
) -> None:
    (tmp_path / f"{package}.py").write_text(code)
    paths = [str(tmp_path), str(Path(asdtune.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", "doctor", "--json"], cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    told = json.loads(done.stdout)
    problems = [each for each in told["findings"] if each["mark"] == "problem"]
    assert problems[0]["name"] == name
    assert "it is broken" in problems[0]["text"] or "OpenCV cannot be used" in problems[0]["text"]
    assert "python -m pip" in problems[0]["fix"]
    assert told["next"] == "asdtune doctor"


def test_a_gpu_that_torch_cannot_use_and_a_full_disk_are_told(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("shutil.disk_usage", lambda _: namedtuple("Usage", "free")(10**6))
    told = diagnosis(run, exit_code=1)
    assert finding(told, "GPU")["mark"] == "note"
    assert "driver" in finding(told, "GPU")["fix"]
    assert finding(told, "disk")["text"] == "0.0 GB free"
