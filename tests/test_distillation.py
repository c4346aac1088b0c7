"""A tuned network keeps what the one that it started from says of talking and of silent faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (as everybody calls it)

from asdtune.core.models.checkpoints import CheckpointInfo, load_weights, save_weights
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.losses import distillation_loss
from asdtune.core.training.reports import Stopped
from asdtune.core.training.scoring import score_windows
from asdtune.core.training.settings import resolve_settings
from tests.small import TALKERS, altered, assert_same_weights, run_training, tiny_network, weights


def test_loss_is_the_divergence_from_the_start_over_all_frames() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(3, 5, 2), torch.rand(3, 5)
    both = torch.stack([1 - wanted, wanted], -1)
    expected = F.kl_div(logits.log_softmax(-1), both, reduction="none").sum(-1)
    torch.testing.assert_close(distillation_loss(logits, wanted), expected.mean())
    wanted[1] = torch.nan  # a mismatch, of which nothing is kept
    torch.testing.assert_close(
        distillation_loss(logits, wanted), expected[[0, 2]].sum() / expected.numel()
    )
    own = logits.softmax(-1)[..., 1]
    torch.testing.assert_close(distillation_loss(logits, own), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_sure_scores_and_missing_ones_have_finite_gradients() -> None:
    logits = torch.tensor([[[40.0, -40.0], [-40.0, 40.0]]], requires_grad=True)
    distillation_loss(logits, torch.tensor([[1.0, torch.nan]])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[0, 1] == 0).all()


@pytest.fixture(scope="module")
def start(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give weights that have learned something."""
    folder = tmp_path_factory.mktemp("start")
    run_training(splits, folder, settings=TALKERS)
    path = folder / "start.pth"
    save_weights(path, weights(folder), CheckpointInfo(9, 1, 50.0, "scratch", "0.1.0"))
    return path


def scores(checkpoint: Path, windows: WindowDataset) -> np.ndarray:
    network = tiny_network()
    load_weights(network, checkpoint)
    return np.concatenate(list(score_windows(network, windows, batch_size=8)))


def test_scores_of_positive_windows_stay_where_they_were(
    splits: Path, tmp_path: Path, start: Path
) -> None:
    windows = WindowDataset(splits / "training.csv", 9)
    before, moved = scores(start, windows), {}
    for weight in (0.0, 10.0):
        settings = altered(
            TALKERS,
            checkpoint=str(start),
            distillation=weight,
            batchnorm="frozen",
            total_epochs=3,
        )
        run_training(splits, tmp_path / str(weight), settings=settings)
        after = scores(tmp_path / str(weight) / "checkpoints" / "last.pth", windows)
        moved[weight] = np.abs(after - before)[windows.labels == 1].mean()
    assert moved[10.0] < 0.7 * moved[0.0]


@pytest.mark.parametrize("changed", [{}, {"head_epochs": 1}, {"freeze": "visual-frontend"}])
def test_a_stopped_run_keeps_the_same(
    splits: Path, tmp_path: Path, start: Path, changed: dict[str, object]
) -> None:
    settings = altered(TALKERS, checkpoint=str(start), distillation=2.0, total_epochs=2, **changed)
    run_training(splits, tmp_path / "whole", settings=settings)
    looks = iter(range(1000))
    for stops in ({6}, {3}):
        options = {"should_stop": lambda stops=stops: next(looks) in stops}
        last = run_training(splits, tmp_path / "cut", settings=settings, resume=None, **options)[-1]
    while isinstance(last, Stopped):
        last = run_training(splits, tmp_path / "cut", settings=settings, resume=None)[-1]
    assert_same_weights(weights(tmp_path / "whole", "last"), weights(tmp_path / "cut", "last"))


def test_from_scratch_there_is_nothing_to_keep() -> None:
    settings = altered(TALKERS, distillation=1.0)
    assert resolve_settings(settings, torch.device("cpu"), is_scratch=True).distillation == 0
    assert resolve_settings(settings, torch.device("cpu"), is_scratch=False).distillation == 1
