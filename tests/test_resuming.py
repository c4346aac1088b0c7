"""Where training stops, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from asdtune.core.locks import stage_lock
from asdtune.core.training.reports import EpochReport, RunReport, Stopped
from asdtune.errors import AsdtuneError
from tests.conftest import Run
from tests.small import (
    TALKERS,
    TINY,
    altered,
    assert_same_weights,
    project_of,
    run_training,
    weights,
)

MODES = {
    "plain": {},
    "augmented and averaged": {"augment": True, "ema_decay": 0.9, "warmup_steps": 5},
    "frozen, then not": {"head_epochs": 1, "temporal_epochs": 1},
    "another network": {"network": "lr-asd", "head_epochs": 2, "time_mask_frames": 3},
}
SLOW_MODES = ("another network",)  # which has one size only


@pytest.mark.parametrize(
    "mode",
    [pytest.param(mode, marks=[pytest.mark.slow] if mode in SLOW_MODES else []) for mode in MODES],
)
def test_a_run_that_was_stopped_anywhere_ends_as_if_it_had_not_been(
    splits: Path, tmp_path: Path, mode: str
) -> None:
    settings = altered(TALKERS, total_epochs=3, **MODES[mode])
    sizes = TINY if settings.network == "talknet" else None
    run_training(splits, tmp_path / "whole", settings=settings, sizes=sizes)
    n_looks = iter(range(1000))
    stops = {2, 15, 17, 22, 25}
    options = {"settings": settings, "sizes": sizes}
    options["should_stop"] = lambda: next(n_looks) in stops
    stopped = []
    for _ in range(10):
        last = run_training(splits, tmp_path / "cut", resume=None, **options)[-1]
        if not isinstance(last, Stopped):
            break
        stopped.append((last.epoch, last.step))
    assert isinstance(last, RunReport)
    assert len(stopped) == len(stops)
    assert any(step for _, step in stopped)
    for name in ("last", "best"):
        assert_same_weights(weights(tmp_path / "whole", name), weights(tmp_path / "cut", name))
    lines = [
        [
            {k: v for k, v in json.loads(line).items() if k not in ("seconds", "frames_per_second")}
            for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in ("whole", "cut")
    ]
    assert lines[0] == lines[1]


def test_a_damaged_state_is_an_error_and_loses_nothing(splits: Path, tmp_path: Path) -> None:
    looks = iter(range(1000))
    run_training(splits, tmp_path, settings=TALKERS, should_stop=lambda: next(looks) == 3)
    state = tmp_path / "checkpoints" / "training_state.pth"
    torch.save({"network": {}}, state)
    with pytest.raises(AsdtuneError, match="not the state of this run"):
        run_training(splits, tmp_path, settings=TALKERS, resume=True)
    assert state.is_file()


def test_tensorboard_gets_the_numbers(splits: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = run_training(splits, tmp_path, settings=TALKERS)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [event.value for event in board.Scalars("loss")]
    expected = [step.loss for step in steps if isinstance(step, EpochReport)]
    assert found == pytest.approx(expected, rel=1e-5)
    assert "validation_by_kind/temporal_mismatch/mAP" in board.Tags()["scalars"]


@pytest.mark.parametrize(
    ("flag", "value", "text"),
    [
        ("--precision", "fp16", "--precision"),
        ("--freeze", "everything", "--freeze"),
        ("--set", "train.batchnorm=off", "train.batchnorm"),
        ("--set", "train.ema_decay=1.0", "train.ema_decay"),
        ("--head-epochs", -1, "--head-epochs"),
    ],
)
def test_flags_out_of_range_are_wrong_usage(run: Run, flag: str, value: object, text: str) -> None:
    assert text in run("train", flag, value, exit_code=2).output


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_command_stops_when_asked_and_goes_on(
    splits: Path, tmp_path: Path, number: signal.Signals, run: Run
) -> None:
    project = project_of(splits, tmp_path, total_epochs=5, freeze="frontends", save_minutes=0.001)
    command = [sys.executable, "-m", "asdtune", "train", "--project", str(project)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    store = tmp_path / "exps" / "features" / "training" / "features.json"
    while not store.is_file() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 130, text
    assert "--resume" in text
    assert "Traceback" not in text
    done = run("train", "--project", project, "--resume")
    assert "is the best" in done.output


def test_two_runs_do_not_share_a_folder(splits: Path, tmp_path: Path) -> None:
    project = project_of(splits, tmp_path)
    with stage_lock(tmp_path / "exps", "train"):
        done = subprocess.run(
            [sys.executable, "-m", "asdtune", "train", "--project", str(project)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "another asdtune train is at work" in done.stderr


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_it_ends_with_the_same_weights(
    splits: Path, tmp_path: Path
) -> None:
    changed = {"freeze": "visual-frontend", "total_epochs": 3, "precision": "fp32"}
    changed |= {"save_minutes": 1e-6, **MODES["augmented and averaged"]}
    whole = project_of(splits, tmp_path / "whole", **changed)
    cut = project_of(splits, tmp_path / "cut", **changed)
    command = [sys.executable, "-m", "asdtune", "train", "--resume", "--project"]
    subprocess.run([*command[:-2], "--project", str(whole)], check=True)
    state = cut.parent / "exps" / "checkpoints" / "training_state.pth"
    first = [*command[:-2], "--project", str(cut)]
    n_killed = 0
    for n_saved in (3, 5, 7):
        process = subprocess.Popen(first if not state.is_file() else [*command, str(cut)])
        seen = set()
        while len(seen) < n_saved and process.poll() is None:
            if state.is_file():
                seen.add(state.stat().st_mtime_ns)
            time.sleep(0.002)
        n_killed += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert n_killed == 3
    subprocess.run([*command, str(cut)], check=True)
    for name in ("last", "best"):
        a, b = (weights(folder / "exps", name) for folder in (whole.parent, cut.parent))
        assert_same_weights(a, b)
