"""Training runs: what they write, where they stop, what they refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from asdtune.commands.train import about_time
from asdtune.core.files import content_hash
from asdtune.core.models.checkpoints import CheckpointInfo, read_info
from asdtune.core.models.talknet import TalkNet
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.reports import EpochReport, RunReport, StepReport
from asdtune.core.training.trainer import train
from asdtune.errors import AsdtuneError, UsageError
from tests.conftest import Run
from tests.small import (
    OPTIONS,
    SETTINGS,
    TALKERS,
    TINY,
    altered,
    assert_same_weights,
    run_training,
    run_training_steps,
    weights,
)


def test_seeded_run_has_known_losses_and_writes_what_it_promises(
    data: Path, tmp_path: Path
) -> None:
    steps = run_training(data, tmp_path)
    epochs = [step for step in steps if isinstance(step, EpochReport)]
    # Pinned on x86-64 with torch 2.14; the tolerance is for other kernels.
    assert [report.loss for report in epochs] == pytest.approx([1.3704, 1.2169], rel=0.02)
    assert [report.learning_rate for report in epochs] == pytest.approx([1e-3, 0.95e-3])
    done = steps[-1]
    assert isinstance(done, RunReport)
    assert done.test is not None
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert [json.loads(line)["validation_mAP"] for line in lines] == [
        report.validation_mAP for report in epochs
    ]
    best = read_info(tmp_path / "checkpoints" / "best.pth")
    assert best == CheckpointInfo(5, done.best_epoch, done.validation_mAP, "scratch", "0.1.0")


def test_same_seed_same_weights_another_seed_others(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_training(data, tmp_path / name, settings=altered(SETTINGS, seed=seed))
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not torch.equal(
        weights(tmp_path / "a")["lossAV.FC.weight"], weights(tmp_path / "c")["lossAV.FC.weight"]
    )


def test_resumed_run_equals_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    settings = altered(SETTINGS, total_epochs=3)
    run_training(data, tmp_path / "whole", settings=settings)
    csvs = (data / f"{split}.csv" for split in ("training", "validation", "test"))
    steps = train(*csvs, tmp_path / "cut", **{**OPTIONS, "settings": settings})
    for step in steps:  # stop in the middle of the second epoch
        if not isinstance(step, (EpochReport, RunReport)) and (step.epoch, step.step) == (2, 2):
            break
    steps.close()
    with pytest.raises(AsdtuneError, match="interrupted run") as caught:
        run_training(data, tmp_path / "cut", settings=settings)
    assert "--resume" in str(caught.value.fix)
    run_training(data, tmp_path / "cut", settings=settings, resume=True)
    for name in ("last", "best"):
        assert_same_weights(weights(tmp_path / "whole", name), weights(tmp_path / "cut", name))
    without_times = [
        [
            {k: v for k, v in json.loads(line).items() if k not in ("seconds", "frames_per_second")}
            for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in ("whole", "cut")
    ]
    assert without_times[0] == without_times[1]


def test_finished_run_is_fresh_and_more_epochs_carry_it_on(data: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path)
    (again,) = run_training(data, tmp_path)
    assert again.is_fresh
    steps = run_training(data, tmp_path, settings=altered(SETTINGS, total_epochs=3))
    assert [step.epoch for step in steps if isinstance(step, EpochReport)] == [3]


def test_run_of_an_earlier_asdtune_stays_and_learns_which_splits_it_had(
    data: Path, tmp_path: Path
) -> None:
    run_training(data, tmp_path)
    path = tmp_path / "run.json"
    told = json.loads(path.read_text())
    names = ("training", "validation", "test")
    assert told["dataset_hashes"] == {name: content_hash(data / f"{name}.csv") for name in names}
    path.write_text(json.dumps({k: told[k] for k in told if k != "dataset_hashes"}))
    (again,) = run_training(data, tmp_path)
    assert again.is_fresh
    assert json.loads(path.read_text()) == told


def test_test_split_may_come_later_and_changes_nothing_else(data: Path, tmp_path: Path) -> None:
    csvs = (data / "training.csv", data / "validation.csv")
    without = list(train(*csvs, None, tmp_path, **OPTIONS))[-1]
    before = (tmp_path / "checkpoints" / "best.pth").stat().st_mtime_ns
    assert without.test is None
    with_test = list(train(*csvs, data / "test.csv", tmp_path, **OPTIONS))[-1]
    assert with_test.test is not None
    assert (tmp_path / "checkpoints" / "best.pth").stat().st_mtime_ns == before
    (again,) = train(*csvs, data / "test.csv", tmp_path, **OPTIONS)
    assert again.is_fresh
    assert again.test == with_test.test


def test_other_crops_under_the_same_names_are_another_run(data: Path, tmp_path: Path) -> None:
    copied = tmp_path / "data"
    shutil.copytree(data.parent, copied)
    run_training(copied / "splits", tmp_path / "exps")
    path = next((copied / "face_crops" / "training").rglob("*.npz"))
    np.savez(path, data=np.zeros((40, 112, 112), np.uint8))
    assert len(run_training(copied / "splits", tmp_path / "exps")) > 1
    assert (tmp_path / "exps" / "earlier-001" / "run.json").is_file()


@pytest.mark.parametrize(
    ("gone", "n_epochs"),
    [("checkpoints/best.pth", 2), ("checkpoints/training_state.pth", 3), ("run.json", 2)],
)
def test_what_cannot_be_carried_on_is_kept_aside(
    data: Path, tmp_path: Path, gone: str, n_epochs: int
) -> None:
    run_training(data, tmp_path)
    (tmp_path / gone).unlink()
    before = {
        path.relative_to(tmp_path): path.read_bytes()
        for path in [*(tmp_path / "checkpoints").iterdir(), tmp_path / "metrics.jsonl"]
    }
    settings = altered(SETTINGS, total_epochs=n_epochs)
    with pytest.raises(AsdtuneError, match=f"cannot be carried on: its {gone} is gone"):
        run_training(data, tmp_path, settings=settings, resume=True)
    assert len(run_training(data, tmp_path, settings=settings)) > 1
    for path, content in before.items():
        assert (tmp_path / "earlier-001" / path).read_bytes() == content
    assert (tmp_path / "checkpoints" / "best.pth").is_file()


def test_a_run_whose_best_epoch_is_gone_is_not_trained_on_to_a_dead_end(
    data: Path, tmp_path: Path
) -> None:
    settings = altered(SETTINGS, total_epochs=4)
    steps = iter(run_training_steps(data, tmp_path, settings=settings))
    n_epochs = 0
    while n_epochs < 2:
        n_epochs += isinstance(next(steps), EpochReport)
    steps.close()
    (tmp_path / "checkpoints" / "best.pth").unlink()
    with pytest.raises(AsdtuneError, match=r"its checkpoints/best\.pth is gone"):
        run_training(data, tmp_path, settings=settings, resume=True)


def test_damaged_state_stops_the_run_and_changes_nothing(data: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path)
    (tmp_path / "checkpoints" / "training_state.pth").write_text("junk")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    settings = altered(SETTINGS, total_epochs=3)
    with pytest.raises(AsdtuneError, match="not a file of network weights"):
        run_training(data, tmp_path, settings=settings, resume=True)
    assert {path: path.read_bytes() for path in before} == before
    (done,) = run_training(data, tmp_path)
    assert done.is_fresh


@pytest.mark.parametrize("resume", [True, None])
def test_more_epochs_from_scratch_carry_the_run_on(
    splits: Path, tmp_path: Path, resume: bool | None
) -> None:
    settings = altered(TALKERS, temporal_epochs=None, total_epochs=2)
    run_training(splits, tmp_path, settings=settings)
    longer = altered(settings, total_epochs=6)  # of which three would be temporal, not one
    run_training(splits, tmp_path, settings=longer, resume=resume)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["is_temporal"] for line in lines] == [True, False, False, False, False, False]
    assert not (tmp_path / "earlier-001").exists()


def test_splits_used_for_other_windows_are_warned_of(
    splits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "of_7"
    shutil.copytree(splits.parent, folder)
    WindowDataset(folder / "splits" / "validation.csv", 9)
    assert not caplog.records
    table = pd.read_csv(folder / "splits" / "validation.csv")
    table[table.kind != "temporal_mismatch"].to_csv(
        folder / "splits" / "validation.csv", index=False
    )
    WindowDataset(folder / "splits" / "validation.csv", 7)
    assert "made for windows of 9 frames, and is used for 7" in caplog.text


def test_a_finished_run_needs_no_state(data: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path)
    (tmp_path / "checkpoints" / "training_state.pth").unlink()
    (again,) = run_training(data, tmp_path)
    assert again.is_fresh


@pytest.mark.parametrize("has_others", [True, False])
def test_a_speaker_in_two_splits_is_refused(
    data: Path, tmp_path: Path, run: Run, has_others: bool
) -> None:
    training, output = data / "training.csv", tmp_path / "exps"
    table = pd.read_csv(training)
    of_s0 = table.video_path.str.contains("/s0/")
    table, of_s0 = table[of_s0 | has_others], of_s0[of_s0 | has_others]
    first = table.video_id.str.endswith("_0000")
    halves = {"one": table[~of_s0 | first], "other": table[of_s0 & ~first]}  # other clips
    for name, half in halves.items():
        half.to_csv(data / f"{name}.csv", index=False)
    text = run(
        "train", "--training-dataset", data / "one.csv", "--validation-dataset",
        data / "other.csv", "--checkpoint", "scratch", "--window-size", 5,
        "--output-dir", output, exit_code=1,
    ).output  # fmt: skip
    assert "both the training and the validation split: s0;" in " ".join(text.split())
    assert not output.exists()


def test_resume_refuses_what_it_cannot_carry_on(data: Path, tmp_path: Path) -> None:
    with pytest.raises(AsdtuneError, match="no run here to carry on"):
        run_training(data, tmp_path, resume=True)
    run_training(data, tmp_path)
    settings = altered(SETTINGS, learning_rate=0.5)
    with pytest.raises(AsdtuneError, match=r"cannot be carried on: learning_rate 0\.5, was 0\.001"):
        run_training(data, tmp_path, settings=settings, resume=True)


def test_run_of_other_settings_is_kept_aside(data: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path)
    before = weights(tmp_path)
    run_training(data, tmp_path, settings=altered(SETTINGS, seed=5))
    assert_same_weights(before, weights(tmp_path / "earlier-001"))
    run_training(data, tmp_path, settings=altered(SETTINGS, seed=5), overwrite=True)
    assert not (tmp_path / "earlier-002").exists()


def test_a_bad_checkpoint_leaves_the_earlier_run_alone(data: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    bad = tmp_path.parent / f"{tmp_path.name}.pth"
    torch.save({"a": torch.zeros(1)}, bad)
    with pytest.raises(AsdtuneError, match="not a checkpoint of this network"):
        run_training(data, tmp_path, settings=altered(SETTINGS, checkpoint=str(bad)))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_run_does_not_start_from_what_it_would_replace(data: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path)
    best = tmp_path / "checkpoints" / "best.pth"
    before = best.read_bytes()
    settings = altered(SETTINGS, checkpoint=str(best))
    with pytest.raises(UsageError, match="a checkpoint that it would replace"):
        run_training(data, tmp_path, settings=settings, overwrite=True)
    assert best.read_bytes() == before
    run_training(data, tmp_path.parent / f"{tmp_path.name}-on", settings=settings)


def test_one_batch_can_be_overfitted(data: Path) -> None:
    torch.manual_seed(0)
    network = TalkNet(replace(TINY, dropout=0.0))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    batch = WindowDataset(data / "training.csv", 5).batch(range(0, 24, 3))
    assert 0 < batch.labels.sum() < batch.labels.size
    for _ in range(150):
        logits = network(torch.from_numpy(batch.sound), torch.from_numpy(batch.pictures))
        loss = network.loss(logits, torch.from_numpy(batch.labels)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


@pytest.mark.parametrize(
    "changed",
    [
        {"window_size": 4},
        {"contrast": 0.5, "freeze": "frontends"},
        {"encoder_rate": 0.5, "freeze": "frontends"},
        {"head_epochs": 1, "freeze": "visual-frontend"},
        {"time_mask_frames": 5},
        {"compile": True, "network": "light-asd"},
    ],
)
def test_settings_that_do_not_go_together_are_wrong_usage(
    data: Path, tmp_path: Path, changed: dict[str, float]
) -> None:
    with pytest.raises(UsageError):
        run_training(data, tmp_path, settings=altered(SETTINGS, **changed))


@pytest.mark.parametrize("batch_size", [8, 1000])  # several steps an epoch, and one
def test_diverged_run_says_so(data: Path, tmp_path: Path, batch_size: int) -> None:
    settings = altered(SETTINGS, learning_rate=1e30, batch_size=batch_size)
    with pytest.raises(AsdtuneError, match="diverged"):
        run_training(data, tmp_path, settings=settings)


@pytest.mark.parametrize("name", ["training", "validation", "test"])
def test_a_split_with_a_single_label_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    table = pd.read_csv(data / f"{name}.csv")
    changed = data / f"{name}_positive.csv"
    table[table.label == 1].to_csv(changed, index=False)
    csvs = {each: data / f"{each}.csv" for each in ("training", "validation", "test")}
    csvs[name] = changed
    with pytest.raises(AsdtuneError, match=f"the {name} split needs windows of both labels"):
        list(train(*csvs.values(), tmp_path / "exps", **OPTIONS))
    assert not (tmp_path / "exps").exists()


def test_a_run_of_many_hours_is_told_with_what_is_faster() -> None:
    # 30,000 windows of 51 frames at 104 frames per second, as on two cores.
    settings = SETTINGS.model_copy(
        update={"window_size": 51, "batch_size": 32, "total_epochs": 10, "freeze": "none"}
    )
    step = StepReport(1, 10, 938, 0.5, 104.0)
    told = about_time(step, settings)
    assert told is not None
    assert "takes 41 hours" in told
    assert "--network lr-asd" in told
    assert about_time(replace(step, frames_per_second=5000.0), settings) is None
    assert about_time(step, settings.model_copy(update={"freeze": "visual-frontend"})) is None
    assert about_time(step, settings.model_copy(update={"network": "lr-asd"})) is None
