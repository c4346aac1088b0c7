"""doctor: what it finds in every state a machine and a project can be in, and what it says next."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import asdtune
from asdtune import terminal
from asdtune.core.checkup import machine
from asdtune.core.checkup.finding import Finding, Mark
from asdtune.core.checkup.machine import check_gpu, check_opencvs, check_python
from asdtune.core.checkup.provisions import (
    Footage,
    check_disk,
    check_memory,
    check_published,
    measure_footage,
    needed_disk,
    needed_memory,
)
from asdtune.core.networks.catalogue import STARTS
from asdtune.core.prepare.records import record_file
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
def offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have an empty cache and no network: whoever downloads fails."""
    cache = tmp_path_factory.mktemp("cache")

    def download(url: str, path: Path) -> None:
        raise AssertionError(f"doctor downloads {url}")

    monkeypatch.setattr("asdtune.core.downloads._download", download)
    monkeypatch.setattr(
        "asdtune.core.downloads.platformdirs.user_cache_dir", lambda *_, **__: str(cache)
    )
    return cache


@pytest.fixture(scope="module")
def finished(corpus: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a project that is done; nobody may write there."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "asdtune.toml").write_text(PROJECT.format(source=corpus.as_posix()))
    with pytest.MonkeyPatch.context() as patch:
        faces = "asdtune.core.prepare.faces"
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


def progress(told: dict[str, Any], *stages: str) -> list[str]:
    return [told["stages"][stage]["progress"] for stage in stages]


def test_the_threads_are_those_that_training_will_have(in_tmp: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", "doctor", "--json"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert finding(json.loads(done.stdout), "cpu")["text"].startswith("2 threads")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    stats = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


def test_an_empty_folder_is_told_to_begin(run: Run, in_tmp: Path) -> None:
    result = run("doctor")
    assert result.stdout.splitlines()[-1] == "next: asdtune init my-project --language LANGUAGE"
    assert "asdtune demo" in result.stdout
    assert "note     project: no asdtune.toml here: the defaults hold" in result.stdout
    assert not list(in_tmp.iterdir())
    assert diagnosis(run)["stages"] == {}


def test_a_new_project_is_told_where_the_videos_go(run: Run, in_tmp: Path) -> None:
    run("init", "p", "--language", "sw")
    told = diagnosis(run, "--project", "p", exit_code=1)
    assert finding(told, "sources")["mark"] == "problem"
    assert "p/raw/<speaker>/*.mp4" in finding(told, "sources")["fix"]
    assert told["next"] == "asdtune collect-chunk --project p"
    assert set(progress(told, *STAGES)) == {"not begun"}
    raw = in_tmp / "p" / "raw"
    video = render_video(raw / "anna" / "talk.mp4", seconds=3)
    told = diagnosis(run, "--project", "p", exit_code=1)
    text = finding(told, "sources")["text"]
    assert text == "1 speaker, 1 video, 0.1 min; 3 splits need at least 3 speakers"
    for name in ("ben", "cleo"):
        (raw / name).mkdir()
        shutil.copy(video, raw / name)
    told = diagnosis(run, "--project", "p")
    assert finding(told, "sources")["text"] == "3 speakers, 3 videos, 0.1 min"
    assert told["next"] == "asdtune collect-chunk --project p"


def test_mistakes_in_the_project_file_are_listed_and_the_machine_looked_at(
    run: Run, in_tmp: Path
) -> None:
    Path("asdtune.toml").write_text('[crops]\ndetecter = "haar"\n[train]\nbatch_size = 0\n')
    told = diagnosis(run, exit_code=1)
    text = finding(told, "project")["text"]
    assert "crops.detecter: unknown key; did you mean detector?" in text
    assert "train.batch_size: input should be greater than 0" in text
    assert finding(told, "torch")["mark"] == "ok"
    assert told["next"] == "asdtune doctor"
    assert text.startswith("asdtune.toml cannot be used: crops.detecter: ")
    told = diagnosis(run, "-p", ".", exit_code=1)
    assert finding(told, "project")["text"] == text
    assert told["next"] == "asdtune doctor --project ."
    told = diagnosis(run, "-p", "absent.toml", exit_code=1)
    assert "no such project file" in finding(told, "project")["text"]


def test_a_finished_project_is_told_to_publish_and_nothing_is_touched(
    run: Run, project: Path
) -> None:
    before = contents(project)
    told = diagnosis(run)
    assert contents(project) == before
    assert set(progress(told, *STAGES)) == {"done"}
    assert not [each for each in told["findings"] if each["mark"] == "problem"]
    assert "7 speakers, 9 videos, 0.6 min" in finding(told, "sources")["text"]
    assert "checkpoint_url, authors" in finding(told, "submission")["text"]
    assert told["next"] == "asdtune export-config --checkpoint-url URL"
    with Path("asdtune.toml").open("a") as file:
        file.write('[export-config]\ncheckpoint_url = "https://zenodo.org/records/1"\n')
    assert diagnosis(run)["next"] == "asdtune export-config"
    run("export-config")
    assert diagnosis(run)["next"] == f"follow {Path('export/PULL_REQUEST.md')}"


def test_a_link_that_the_folder_has_is_not_asked_for_again(run: Run, project: Path) -> None:
    run("export-config", "--checkpoint-url", "https://huggingface.co/ana/asd")
    assert diagnosis(run)["next"] == f"follow {Path('export/PULL_REQUEST.md')}"
    run("export-config")  # which writes it anew, without the link
    assert diagnosis(run)["next"] == "asdtune export-config --checkpoint-url URL"


def test_a_folder_of_an_earlier_evaluation_is_out_of_date(run: Run, project: Path) -> None:
    run("evaluate", "--baseline", "exps/checkpoints/last.pth")
    told = diagnosis(run)
    assert progress(told, "evaluate", "export-config") == ["done", "out of date"]
    assert "evaluate has found something else since" in told["stages"]["export-config"]["text"]
    assert told["next"] == "asdtune export-config"
    run("export-config")
    assert progress(diagnosis(run), "evaluate", "export-config") == ["done", "done"]


def test_a_demo_is_to_be_finished_and_not_to_be_submitted(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".asdtune").mkdir(exist_ok=True)
    (project / ".asdtune" / "demo.json").write_text('{"version": 1}')
    told = diagnosis(run)
    assert told["next"] == "asdtune init my-project --language LANGUAGE"
    assert not [each for each in told["findings"] if each["name"] == "submission"]
    assert "asdtune demo has made this project" in told["notes"][0]
    shutil.rmtree(project / "report")
    shutil.rmtree(project / "export")
    assert diagnosis(run)["next"] == "asdtune demo ."
    monkeypatch.chdir(project.parent)
    assert diagnosis(run, "-p", "project/asdtune.toml")["next"] == "asdtune demo project"


def test_a_half_finished_stage_is_counted_and_comes_next(run: Run, project: Path) -> None:
    clips = sorted((project / "face_crops").rglob("*.npz"))
    for clip in clips[:3]:
        name = clip.relative_to(project / "face_crops").with_suffix(".mp4").as_posix()
        record = record_file(project / "face_crops", "crops", name)
        if clip == clips[0]:  # killed in the middle
            record.write_text('{"state": "begun", "outputs": []}')
            (clip.parent / ".0123456789abcdef.part").touch()
        else:
            record.unlink()
        clip.unlink()
    told = diagnosis(run)
    state = told["stages"]["crops"]
    assert state["progress"] == "half finished"
    assert (state["n_done"], state["n_total"]) == (len(clips) - 3, len(clips))
    assert "1 interrupted, 1 file half written" in state["text"]
    assert finding(told, "crops")["mark"] == "note"
    text = finding(told, "train")["text"]
    assert text.startswith("cannot be told: until crops is done (")
    assert told["next"] == "asdtune crops"


def test_room_is_asked_for_only_for_what_is_not_there(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, float]] = []

    def needed(footage: Footage, shares: dict[str, float], **_: object) -> float:
        asked.append(shares)
        return 0

    monkeypatch.setattr("asdtune.stages.examining.needed_disk", needed)
    edit(project / "asdtune.toml", 'detector = "haar"', 'detector = "haar"\nmax_gap_frames = 3')
    diagnosis(run)  # crops are written over
    clips = sorted((project / "face_crops").rglob("*.npz"))
    clips[0].unlink()
    diagnosis(run)
    assert [shares["crops"] for shares in asked] == pytest.approx([0, 1 / len(clips)])


def test_what_failed_is_counted_and_does_not_hold_up_the_rest(run: Run, project: Path) -> None:
    clip = min((project / "mfccs").rglob("*.npz"))
    name = clip.relative_to(project / "mfccs").with_suffix(".mp4").as_posix()
    record_file(project / "mfccs", "mfcc", name).write_text('{"state": "failed", "outputs": []}')
    clip.unlink()
    told = diagnosis(run)
    assert progress(told, "mfcc", "splits") == ["done, with failures", "out of date"]
    assert "1 failed" in told["stages"]["mfcc"]["text"]
    assert finding(told, "mfcc")["fix"] == "asdtune mfcc names what failed, and why"
    assert told["next"] == "asdtune splits"


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
    edit(project / "asdtune.toml", old, new)
    told = diagnosis(run)
    assert progress(told, stage) == ["out of date"]
    assert told["next"] == f"asdtune {stage}"


def test_an_interrupted_run_is_to_be_resumed(run: Run, project: Path) -> None:
    path = project / "exps" / "run.json"
    begun = json.loads(path.read_text())
    del begun["result"]
    path.write_text(json.dumps(begun))
    edit(project / "asdtune.toml", "total_epochs = 1", "total_epochs = 3")
    told = diagnosis(run)
    assert progress(told, "train") == ["half finished"]
    assert "1 of 3 epochs" in told["stages"]["train"]["text"]
    assert told["next"] == "asdtune train --resume"


def test_report_and_folder_of_another_checkpoint_are_out_of_date(run: Run, project: Path) -> None:
    import torch

    best = project / "exps" / "checkpoints" / "best.pth"
    state = torch.load(best, weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, best)
    told = diagnosis(run)
    assert progress(told, "evaluate", "export-config") == ["out of date", "out of date"]
    assert told["next"] == "asdtune evaluate"
    shutil.rmtree(project / "report")
    (project / "export" / "SHA256SUMS").unlink()
    told = diagnosis(run)
    assert progress(told, "evaluate", "export-config") == ["not needed", "half finished"]


def test_sources_may_go_once_they_are_cut(run: Run, project: Path, tmp_path: Path) -> None:
    text = (project / "asdtune.toml").read_text()
    (project / "asdtune.toml").write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("source ="))
    )
    told = diagnosis(run)
    assert "are gone" in finding(told, "sources")["text"]
    assert "9 videos, of videos that are no longer there" in told["stages"]["collect-chunk"]["text"]
    shutil.rmtree(project / "videos")
    told = diagnosis(run)
    assert progress(told, "collect-chunk", "crops", "mfcc") == ["not needed", "done", "done"]
    assert told["next"] == "asdtune export-config --checkpoint-url URL"


def test_files_of_others_count_as_done(run: Run, in_tmp: Path, splits: Path) -> None:
    for name in ("face_crops", "mfccs", "splits"):
        shutil.copytree(splits.parent / name, in_tmp / name)
    shutil.rmtree(in_tmp / "splits" / ".asdtune")
    (in_tmp / "splits" / "report.json").unlink()
    told = diagnosis(run)
    assert progress(told, "collect-chunk", "crops", "mfcc", "splits") == [
        "not needed", "done", "done", "done",
    ]  # fmt: skip
    assert told["next"] == "asdtune train"


def test_without_weights_and_network_it_says_what_to_put_where(
    run: Run, project: Path, offline: Path
) -> None:
    edit(project / "asdtune.toml", 'checkpoint = "scratch"', 'checkpoint = "lr-asd-ava"')
    edit(project / "asdtune.toml", 'detector = "haar"', 'detector = "yunet"')
    edit(project / "asdtune.toml", "toolkit_clips = 0", 'baseline = "lr-asd-talkset"')
    told = diagnosis(run)
    for name in ("detector", "weights", "baseline"):
        assert finding(told, name)["mark"] == "note"
        assert f"at {offline}" in finding(told, name)["fix"]
        assert "https://" in finding(told, name)["fix"]
    (offline / STARTS["lr-asd-ava"].file.name).write_text("not these")
    assert "damaged, or another file" in finding(diagnosis(run), "weights")["text"]
    edit(project / "asdtune.toml", 'checkpoint = "lr-asd-ava"', 'checkpoint = "mine.pth"')
    told = diagnosis(run, exit_code=1)
    assert finding(told, "weights")["text"].startswith("no such checkpoint: ")
    edit(project / "asdtune.toml", '"mine.pth"', '"english"')
    told = diagnosis(run, exit_code=1)
    assert "english is of talknet: give --network talknet" in finding(told, "settings")["text"]
    shutil.copy(project / "exps" / "checkpoints" / "best.pth", project / "mine.pth")
    edit(project / "asdtune.toml", '"english"', '"mine.pth"')
    assert "whole and of a network" in finding(diagnosis(run), "weights")["text"]


def test_drawn_weights_are_a_start_and_no_baseline(run: Run, project: Path) -> None:
    assert finding(diagnosis(run), "weights")["mark"] == "ok"  # scratch
    edit(project / "asdtune.toml", "toolkit_clips = 0", 'baseline = "scratch"')
    told = diagnosis(run, exit_code=1)
    assert finding(told, "baseline")["text"].startswith("scratch is no checkpoint")


def test_a_detector_file_that_is_not_there_is_a_problem(run: Run, project: Path) -> None:
    edit(project / "asdtune.toml", '"haar"', '"yunet"\ndetector_model = "absent.onnx"')
    told = diagnosis(run, exit_code=1)
    assert finding(told, "detector")["text"].endswith("absent.onnx")


def test_a_folder_that_cannot_be_read_is_named(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def iterdir(path: Path) -> Any:
        if path.name == "videos":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    told = diagnosis(run, exit_code=1)
    crops = finding(told, "crops")
    assert crops["text"] == "permission denied: videos"
    assert crops["fix"] == "mend what the system refuses"


def diagnosis_with_broken(tmp_path: Path, package: str, error: str) -> dict[str, Any]:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{package}.py").write_text(f"raise {error}('it is broken')")
    paths = [str(tmp_path / "broken"), str(Path(asdtune.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("package", "error", "name"),
    [
        ("torch", "ImportError", "torch"),
        ("torch", "AttributeError", "torch"),
        ("cv2", "ImportError", "OpenCV"),
        ("av", "OSError", "FFmpeg"),
    ],
)
def test_a_broken_package_is_a_problem_and_the_rest_is_looked_at(
    project: Path, tmp_path: Path, package: str, error: str, name: str
) -> None:
    told = diagnosis_with_broken(tmp_path, package, error)
    assert finding(told, name)["mark"] == "problem"
    assert finding(told, name)["text"] == "cannot be used (it is broken)"
    assert finding(told, name)["fix"].startswith("python -m pip")
    assert finding(told, "packages")["mark"] == "ok"
    assert progress(told, "collect-chunk", "mfcc", "splits") == ["done", "done", "done"]


@pytest.mark.parametrize(
    ("package", "error"),
    [
        ("numpy", "ImportError"),
        ("numpy", "AttributeError"),
        ("pandas", "ValueError"),
        ("platformdirs", "TypeError"),
    ],
)
def test_what_all_stages_need_may_be_broken_and_is_named(
    project: Path, tmp_path: Path, package: str, error: str
) -> None:
    told = diagnosis_with_broken(tmp_path, package, error)
    assert finding(told, package)["text"] == "cannot be used (it is broken)"
    assert finding(told, package)["fix"].startswith("python -m pip install")
    assert finding(told, "FFmpeg")["mark"] == "ok"
    assert told["next"] == "asdtune doctor"
    if package == "numpy":
        fixes = [finding(told, name)["fix"] for name in ("pandas", "scipy", "torch", "OpenCV")]
        assert fixes == ["mend numpy first"] * 4
    else:
        assert finding(told, "torch")["mark"] == "ok"
        assert finding(told, "OpenCV")["mark"] == "ok"


def test_a_missing_package_is_installed_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "asdtune_lacks.py").write_text("import asdtune_absent")
    (tmp_path / "asdtune_torn.py").write_text("import asdtune_torn.part")
    assert machine.try_package("json", "json") is None
    for name in ("asdtune_absent", "asdtune_lacks"):
        found = machine.try_package(name, "it>=1")
        assert found is not None
        assert found.text == "cannot be used (No module named 'asdtune_absent')"
        assert found.fix == 'python -m pip install "it>=1"'
    torn = machine.try_package("asdtune_torn", "it>=1")
    assert torn is not None
    assert torn.fix == 'python -m pip install --force-reinstall --no-deps "it>=1"'


def test_every_dependency_is_looked_at() -> None:
    pyproject = Path(asdtune.__file__).parents[1] / "pyproject.toml"
    (listed,) = re.findall(r"(?ms)^dependencies = \[(.*?)^\]", pyproject.read_text("utf-8"))
    looked_at = Path(machine.__file__).read_text("utf-8")
    needed = re.findall(r'(?m)^    "([^";]+)', listed)
    assert [each for each in needed if f'"{each}"' not in looked_at] == [
        "av>=14",
        "rich>=13.7",
        "typer>=0.20",
    ]  # fmt: skip -- PyAV is mended by its name alone, and no command begins without the others


def test_where_all_videos_failed_the_stage_is_not_over(run: Run, in_tmp: Path) -> None:
    for name in "abc":
        video = in_tmp / "raw" / name / "talk.mp4"
        video.parent.mkdir(parents=True)
        video.write_text("this is text")
    run("collect-chunk", "--workers", 1, exit_code=1)
    told = diagnosis(run)
    assert progress(told, "collect-chunk") == ["failed"]
    assert told["stages"]["collect-chunk"]["text"] == "0 of 3 videos, 3 failed"
    assert told["next"] == "asdtune collect-chunk"


def test_garbage_where_a_report_should_be_is_a_problem(run: Run, project: Path) -> None:
    (project / "report" / "report.json").write_text("{")
    told = diagnosis(run, exit_code=1)
    assert "not a report of evaluate" in finding(told, "evaluate")["text"]
    assert told["next"] == "asdtune evaluate"


def test_a_line_fits_a_narrow_terminal_and_its_mark_is_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Finding("disk", Mark.OK, "54.0 GB free; about 0.4 GB more needed, for crops, mfcc, train"),
        Finding("torch", Mark.PROBLEM, "cannot be used", "python -m pip install torch"),
    ]
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    terminal.show_summary(terminal.Summary("doctor", "done", findings=found))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert lines[0] == "ok       disk: 54.0 GB free; about 0.4"
    assert lines[1] == "         GB more needed, for crops,"
    assert max(map(len, lines[:4])) <= 40
    assert "problem  torch: cannot be used" in lines
    assert "         fix: python -m pip install torch" in lines


def test_a_gpu_that_torch_cannot_use_is_noted() -> None:
    assert check_gpu("13.0", has_gpu=True, is_seen=True).mark is Mark.OK
    assert check_gpu(None, has_gpu=False, is_seen=False).mark is Mark.OK
    assert "built for the CPU" in check_gpu(None, has_gpu=False, is_seen=True).text
    driver = check_gpu("13.0", has_gpu=False, is_seen=True)
    assert driver.mark is Mark.NOTE
    assert "driver" in str(driver.fix)


def test_two_opencv_packages_are_noted() -> None:
    one = check_opencvs({"opencv-python-headless": "4.14.0"})
    assert (one.mark, one.fix) == (Mark.OK, None)
    both = check_opencvs({"opencv-python-headless": "4.14.0", "opencv-python": "4.14.0"})
    assert both.mark is Mark.NOTE
    assert "works while both stay" in both.text
    assert "uninstall -y opencv-python" in str(both.fix)
    mixed = check_opencvs({"opencv-python-headless": "4.14.0", "opencv-python": "4.11.0"})
    assert "of different versions" in mixed.text


def test_pythons_beyond_the_tested_ones_are_noted() -> None:
    assert check_python((3, 11)).mark is Mark.OK
    assert check_python((3, 9)).mark is check_python((3, 14)).mark is Mark.NOTE


def test_too_little_room_is_said(tmp_path: Path) -> None:
    assert check_disk(tmp_path / "absent", 1, what_for="crops").mark is Mark.OK
    full = check_disk(tmp_path, 1e18, what_for="crops")
    assert full.mark is Mark.PROBLEM
    assert "1000000000.0 GB more needed, for crops" in full.text
    assert check_memory(1, 2, what_for="x").mark is Mark.OK
    assert check_memory(1, None, what_for="x").mark is Mark.OK
    assert check_memory(2, 1, what_for="x").mark is Mark.NOTE
    assert "--freeze visual-frontend" in str(check_memory(2, 1, what_for="x").fix)


def test_needs_grow_with_what_is_to_be_done(corpus: Path) -> None:
    videos = sorted(corpus.rglob("*.mp4"))
    known = measure_footage(videos, dict.fromkeys(videos, 100))
    assert (known.seconds, known.n_measured) == (36, 9)
    guessed = measure_footage(videos, {})
    assert guessed.n_measured == 9 or guessed.n_measured == 8
    assert guessed.seconds == pytest.approx(36, rel=0.1)
    assert measure_footage([], {}).seconds is None
    more = {"network": "talknet", "n_windows": 100, "is_frozen": False}
    crops = needed_disk(known, {"crops": 1}, **more)
    assert crops == 36 * 25 * 112 * 112  # 6.3 MB per 20 s
    assert needed_disk(known, {"crops": 0.25}, **more) == crops / 4
    assert needed_disk(known, {}, **more) == 0
    assert needed_disk(known, {"crops": 1, "train": 1}, **more) > crops
    size = {"batch_size": 32, "window_size": 51}
    frozen = needed_memory("talknet", is_frozen=True, **size)
    assert frozen < needed_memory("talknet", is_frozen=False, **size)


def test_a_published_file_of_the_right_content_is_ok(offline: Path) -> None:
    from dataclasses import replace

    file = replace(STARTS["english"].file, check="sha256:" + "0" * 64)
    assert check_published("weights", "english", file, instead="x").mark is Mark.NOTE
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (offline / file.name).touch()
    file = replace(file, check=f"sha256:{empty}")
    assert check_published("weights", "english", file, instead="x").mark is Mark.OK
