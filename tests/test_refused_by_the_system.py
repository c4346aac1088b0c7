"""Disks that are full, folders that may not be written to, long names, links."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asdtune.core.files import whole_file
from tests.conftest import Run
from tests.render import render_video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and capabilities")

CHUNKING = ("--min-chunk-seconds", 1, "--split-ratio", "1,0,0", "--workers", 1)


def fill_disk_at(target: Path) -> Path:
    """Let what is written of a file go to a disk that is full."""
    with whole_file(target) as beside:
        pass_on = beside
        beside.touch()
    target.unlink()
    pass_on.symlink_to("/dev/full")
    return pass_on


def test_a_full_disk_ends_a_stage_and_loses_nothing(
    in_tmp: Path, run: Run, fake_faces: None
) -> None:
    for name in "abc":
        render_video(Path("raw", name, "v.mp4"), seconds=2)
    stages = [
        (("collect-chunk", "raw", *CHUNKING), "videos/training/{0}/{0}_0000.mp4"),
        (("crops", "--workers", 1), "face_crops/training/{0}/{0}_0000.npz"),
        (("mfcc", "--workers", 1), "mfccs/training/{0}/{0}_0000.npz"),
    ]
    for command, output in stages:
        fill_disk_at(Path(output.format("b")))
        told = run(*command, exit_code=1).output
        assert "no space left on device" in told
        assert output.format("b") in " ".join(told.split())
        assert "free some space" in told
        assert Path(output.format("a")).stat().st_size
        assert not Path(output.format("b")).exists()
        kept = Path(output.format("a")).stat().st_mtime_ns
        run(*command)  # there is room again
        assert all(Path(output.format(name)).stat().st_size for name in "abc")
        assert Path(output.format("a")).stat().st_mtime_ns == kept


def obey_permissions() -> None:
    """Let the process that follows obey permissions, though root should start it."""
    drop, override, read = 24, 1, 2  # of linux/prctl.h and linux/capability.h
    for capability in (override, read):
        ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


@pytest.mark.parametrize(
    "command",
    [
        ("collect-chunk", "raw", "--video-dir", "kept/videos"),
        ("crops", "--detector", "haar", "--face-crops-output-dir", "kept/face_crops"),
        ("splits", "--splits-output-dir", "kept/splits"),
        ("init", "kept/project", "--language", "english"),
    ],
)
def test_a_folder_that_may_not_be_used_is_named(
    tmp_path: Path, corpus: Path, splits: Path, command: tuple[str, ...]
) -> None:
    shutil.copytree(corpus, tmp_path / "raw")
    for name in ("face_crops", "mfccs"):
        (tmp_path / name).symlink_to(splits.parent / name, target_is_directory=True)
    video = tmp_path / "videos" / "training" / "s0" / "v0.mp4"
    video.parent.mkdir(parents=True)
    shutil.copy(corpus / "s0" / "v0.mp4", video)
    (tmp_path / "kept").mkdir(0o555)
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", *command], cwd=tmp_path, capture_output=True, text=True,
        check=False, preexec_fn=obey_permissions,
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "permission denied" in said
    assert "kept" in said
    assert not list((tmp_path / "kept").iterdir())


def test_a_video_that_may_not_be_read_is_named_and_the_rest_is_done(
    tmp_path: Path, corpus: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "raw")
    (tmp_path / "raw" / "s0" / "v0.mp4").chmod(0o000)
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", "collect-chunk", "raw", *map(str, CHUNKING)],
        cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=obey_permissions,
    )  # fmt: skip
    assert done.returncode == 1
    assert "failed s0/v0.mp4: permission denied" in done.stdout
    assert "8 videos written, 1 failed" in done.stdout


def test_long_names_and_links_are_taken(in_tmp: Path, run: Run) -> None:
    long = "x" * 246 + ".mp4"
    accented = "\u00e9" * 123 + ".mp4"  # 250 bytes
    for name in (long, accented):
        render_video(Path("raw", "a", name), seconds=2)
    render_video(Path("elsewhere", "b", "v.mp4"), seconds=2)
    Path("raw", "b").symlink_to(Path("..", "elsewhere", "b"), target_is_directory=True)
    Path("raw", "a", "loop").symlink_to(Path(".."), target_is_directory=True)
    run("collect-chunk", "raw", *CHUNKING)
    assert len(list(Path("videos").rglob("*.mp4"))) == 3
    clip = Path("named", "training", "a", long)
    clip.parent.mkdir(parents=True)
    shutil.copy("videos/training/a/a_0000.mp4", clip)
    run("mfcc", "--video-dir", "named")
    assert Path("mfccs", "training", "a", "x" * 246 + ".npz").is_file()


def test_a_speakers_name_that_leaves_no_room_is_refused(in_tmp: Path, run: Run) -> None:
    render_video(Path("raw", "b" * 250, "v.mp4"), seconds=2)
    told = run("collect-chunk", "raw", *CHUNKING, exit_code=1).output
    assert "name is too long" in told
    assert not Path("videos").exists()


def test_a_link_to_a_disk_that_is_not_there_stops_before_anything_is_deleted(
    in_tmp: Path, run: Run
) -> None:
    for name in "ab":
        render_video(Path("disk", name, "v.mp4"), seconds=2)
    Path("raw").mkdir()
    for name in "ab":
        Path("raw", name).symlink_to(Path("..", "disk", name), target_is_directory=True)
    run("collect-chunk", "raw", *CHUNKING)
    Path("disk", "b").rename("unplugged")
    told = run("collect-chunk", "raw", *CHUNKING, "--prune", exit_code=1).output
    assert "a link that leads nowhere" in told
    assert len(list(Path("videos").rglob("*.mp4"))) == 2
