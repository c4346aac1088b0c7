"""Every stage that prepares data, killed with SIGKILL at many moments and run again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.render import render_talking_face

N_KILLS = 20  # per stage
KILLS_IN_A_ROW = 4  # before the stage may end
STAGES = {
    "collect-chunk": ["--chunk-seconds", "1", "--min-chunk-seconds", "0.4", "--workers", "2"],
    "crops": ["--detector", "haar", "--workers", "2"],
    "mfcc": ["--workers", "2"],
    "splits": ["--window-size", "5", "--windows-per-sample", "4", "--min-speech-share", "0"],
}


def start(folder: Path, stage: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "asdtune", "--quiet", stage, *STAGES[stage]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a process group of its own, which can be killed as a whole
    )


def finish(folder: Path, stage: str) -> float:
    """Run a stage to its end and give the seconds it took."""
    started = time.monotonic()
    assert start(folder, stage).wait(120) == 0
    return time.monotonic() - started


def files(folder: Path, *, hidden: bool) -> dict[str, bytes]:
    """Give what lies below a folder: what was made, or what is beside it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and hidden == any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    for i in range(4):
        render_talking_face(root / f"s{i}/v.mp4", seconds=3, width=320, height=240, seed=i)
    return root


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "raw").symlink_to(raw, target_is_directory=True)
    rng = np.random.default_rng(0)
    for stage in STAGES:
        seconds = finish(whole, stage)
        (output,) = [folder for folder in whole.iterdir() if not (killed / folder.name).exists()]
        n_mid_way = 0
        moments = rng.permutation((np.arange(N_KILLS) + rng.uniform(0, 1, N_KILLS)) / N_KILLS)
        for i_kill, moment in enumerate(moments):
            process = start(killed, stage)
            time.sleep(moment * seconds)
            if process.poll() is None:
                n_mid_way += 1
            else:  # the whole run was measured while the machine was busier
                seconds *= 0.8
            if i_kill % 2:  # the parent alone: its workers must end by themselves
                process.kill()
            elif process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            made = files(killed / output.name, hidden=False)
            expected = files(output, hidden=False)
            for name, content in made.items():
                if name == "chunks.csv":  # which grows: rows of chunks that are done stay
                    rows = {row for row in content.splitlines() if not row.endswith(b",")}
                    assert rows <= {*expected[name].splitlines()}
                else:
                    assert expected[name] == content, f"{name} is there and not whole"
            if i_kill % KILLS_IN_A_ROW == KILLS_IN_A_ROW - 1:
                finish(killed, stage)
                assert files(killed / output.name, hidden=False) == expected
                beside = files(killed / output.name, hidden=True)
                assert sorted(beside) == sorted(files(output, hidden=True))
                if i_kill < N_KILLS - 1:  # from the beginning
                    shutil.rmtree(killed / output.name)
        assert n_mid_way >= N_KILLS / 4
