"""What is learned and when: curriculum, recipe, precision."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from asdtune.core.training.batches import _ahead
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.optimizer import learning_rate_at, make_optimizer
from asdtune.core.training.reports import EpochReport, StepReport
from asdtune.core.training.schedule import _balanced, order_of_epoch, plan_epochs
from asdtune.core.training.trainer import train
from asdtune.core.windows import WindowKind
from asdtune.errors import AsdtuneError
from tests.small import (
    OPTIONS,
    SETTINGS,
    TALKERS,
    altered,
    assert_same_weights,
    run_training,
    tiny_network,
    weights,
)


def test_an_epoch_of_temporal_mismatches_has_as_many_positives(windows: WindowDataset) -> None:
    settings = altered(SETTINGS, temporal_epochs=1, head_epochs=1, total_epochs=3)
    first, second, _ = plan_epochs(settings)
    assert (first.freeze, first.is_temporal) == (Freeze.VISUAL, True)
    assert (second.freeze, second.is_temporal) == (Freeze.NONE, False)
    rows = order_of_epoch(windows, first, 0, balance_speakers=False)
    kinds = list(windows.kinds[rows])
    assert set(kinds) == {"positive", "temporal_mismatch"}
    assert kinds.count("positive") == kinds.count("temporal_mismatch") > 0
    assert len(set(rows.tolist())) == len(rows)
    everything = order_of_epoch(windows, second, 0, balance_speakers=False)
    assert sorted(everything) == list(range(len(windows)))
    # The pictures alone do not tell the label: each is shown as often with 1 as with 0.
    shown = Counter(
        (windows.video_paths[i], windows.video_starts[i], windows.labels[i]) for i in rows
    )
    pictures = {(path, start) for path, start, _ in shown}
    assert all(shown[(*each, 0)] == shown[(*each, 1)] for each in pictures)


def test_balanced_epochs_show_every_speaker_as_often() -> None:
    speakers = np.array(list("aaabbbbbbbbc"))
    rows = _balanced(speakers, np.arange(1, 12), np.random.default_rng(0))
    assert Counter(speakers[rows].tolist()) == {"a": 4, "b": 4, "c": 4}
    assert 0 not in rows
    assert len(set(rows[speakers[rows] == "b"].tolist())) == 4  # none twice where there are enough


@pytest.mark.parametrize(("checkpoint", "n_temporal"), [("scratch", 2), (None, 0)])
def test_from_scratch_half_of_the_epochs_are_temporal_unless_told_otherwise(
    splits: Path, tmp_path: Path, checkpoint: str | None, n_temporal: int
) -> None:
    start = tmp_path / "start.pth"
    torch.save(tiny_network().state_dict(), start)
    settings = altered(
        TALKERS, checkpoint=checkpoint or str(start), temporal_epochs=None, total_epochs=4
    )
    steps = run_training(splits, tmp_path, settings=settings)
    reports = [step for step in steps if isinstance(step, EpochReport)]
    assert [report.is_temporal for report in reports] == [i < n_temporal for i in range(4)]
    kinds = set(reports[0].validation_by_kind)
    assert kinds == {kind.value for kind in WindowKind} - {"silent_face"}


def test_without_temporal_mismatches_there_is_no_curriculum(
    splits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = pd.read_csv(splits / "training.csv")
    others = splits / "others.csv"
    table[table.kind != WindowKind.TEMPORAL.value].to_csv(others, index=False)
    csvs = (others, splits / "validation.csv", None, tmp_path)
    settings = altered(TALKERS, temporal_epochs=1, total_epochs=1)
    first = next(
        step for step in train(*csvs, **{**OPTIONS, "settings": settings})
        if isinstance(step, EpochReport)
    )  # fmt: skip
    assert not first.is_temporal
    assert "no temporal mismatches" in caplog.text


def test_learning_rate_warms_up_and_decays() -> None:
    settings = altered(SETTINGS, learning_rate=1.0, warmup_steps=4, lr_decay=0.5)
    rates = [learning_rate_at(settings, 1 + n // 3, n) for n in range(6)]
    assert rates == [0.25, 0.5, 0.75, 0.5, 0.5, 0.5]


def test_patience_stops_a_run_that_gets_no_better(splits: Path, tmp_path: Path) -> None:
    settings = altered(TALKERS, learning_rate=1e-30, batchnorm="frozen", total_epochs=9, patience=2)
    steps = run_training(splits, tmp_path, settings=settings)
    reports = [step for step in steps if isinstance(step, EpochReport)]
    assert [report.is_best for report in reports] == [True, False, False]
    assert steps[-1].stopped_early
    (again,) = run_training(splits, tmp_path, settings=settings)
    assert again.is_fresh
    more = run_training(splits, tmp_path, settings=altered(settings, patience=4))
    assert [step.epoch for step in more if isinstance(step, EpochReport)] == [4, 5]
    assert more[-1].stopped_early


def test_the_moving_mean_of_the_weights_is_kept(splits: Path, tmp_path: Path) -> None:
    plain, averaged = TALKERS, altered(TALKERS, ema_decay=0.9)
    run_training(splits, tmp_path / "plain", settings=plain)
    run_training(splits, tmp_path / "averaged", settings=averaged)
    state = torch.load(
        tmp_path / "averaged" / "checkpoints" / "training_state.pth", weights_only=True
    )
    assert_same_weights(state["network"], weights(tmp_path / "plain"))
    kept = weights(tmp_path / "averaged")
    assert kept.keys() == state["network"].keys()
    name = "lossAV.FC.weight"
    assert torch.equal(state["averaged"][f"module.{name}"], kept[name])
    assert not torch.equal(kept[name], state["network"][name])


@pytest.mark.parametrize(
    "changed",
    [
        {"contrast": 0.5}, {"dropout": 0.5}, {"time_mask_frames": 5}, {"label_smoothing": 0.2},
        {"balance_speakers": True}, {"encoder_rate": 0.1},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_each_setting_of_a_recipe_changes_what_is_learned(
    splits: Path, tmp_path: Path, changed: dict[str, float]
) -> None:
    losses = []
    for name, settings in {"plain": TALKERS, "changed": altered(TALKERS, **changed)}.items():
        reports = run_training(splits, tmp_path / name, settings=altered(settings, total_epochs=1))
        losses.append([step.loss for step in reports if isinstance(step, StepReport)])
    is_of_the_rate = "encoder_rate" in changed
    assert (losses[0][0] == losses[1][0]) == is_of_the_rate  # the first step is not taken yet
    assert losses[0][1:] != losses[1][1:]


def test_the_encoders_learn_at_their_own_rate_and_gains_do_not_decay() -> None:
    network = tiny_network()
    settings = altered(SETTINGS, encoder_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(network, settings)
    found = {
        id(weight): (group["share"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    for name, weight in network.named_parameters():
        of_encoder = "Encoder" in name or "visual" in name
        is_gain = name.endswith("bias") or weight.squeeze().ndim <= 1
        assert found[id(weight)] == (0.1 if of_encoder else 1.0, 0.0 if is_gain else 0.5), name
    assert any(name.endswith("gamma") for name, _ in network.named_parameters())


def test_long_gradients_are_shortened_and_weights_decay(splits: Path, tmp_path: Path) -> None:
    found = {}
    for name, changed in {
        "plain": {}, "clipped": {"max_gradient_norm": 1e-6}, "decayed": {"weight_decay": 50.0}
    }.items():  # fmt: skip
        run_training(splits, tmp_path / name, settings=altered(TALKERS, **changed))
        found[name] = weights(tmp_path / name)
    weight, bias = "model.selfAV.linear1.weight", "model.selfAV.linear1.bias"
    assert found["decayed"][weight].norm() < 0.8 * found["plain"][weight].norm()
    assert not torch.equal(found["clipped"][weight], found["plain"][weight])
    assert found["decayed"][bias].norm() > 0.8 * found["plain"][bias].norm()


def test_bfloat16_learns_as_float32_does(splits: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        settings = altered(TALKERS, precision=precision)
        steps = run_training(splits, tmp_path / precision, settings=settings)
        losses[precision] = [step.loss for step in steps if isinstance(step, EpochReport)]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]


def test_batches_loaded_ahead_are_the_batches_and_errors_are_raised() -> None:
    assert list(_ahead(iter(range(10)))) == list(range(10))

    def failing() -> object:
        yield 1
        raise AsdtuneError("bad")

    batches = _ahead(failing())
    assert next(batches) == 1
    with pytest.raises(AsdtuneError, match="bad"):
        next(batches)
    endless = _ahead(iter(int, 1))
    assert next(endless) == 0
    endless.close()  # and the thread ends
