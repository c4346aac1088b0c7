"""What must hold on a GPU, too; run with `-m gpu` where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asdtune.core.evaluation.track_scoring import TrackScorer
from asdtune.core.models.registry import NETWORKS, make_network
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.devices import choose_device
from asdtune.core.training.reports import EpochReport
from asdtune.core.training.scoring import score_windows
from tests.small import TALKERS, run_training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_those_of_the_cpu(windows: WindowDataset, name: str) -> None:
    torch.manual_seed(0)
    network = make_network(name)
    of_cpu, of_gpu = (
        np.concatenate([*score_windows(network.to(device), windows, batch_size=8)])
        for device in (torch.device("cpu"), choose_device("cuda"))
    )
    np.testing.assert_allclose(of_gpu, of_cpu, atol=1e-3)  # TF32 rounds to ten bits


def test_tracks_are_scored(windows: WindowDataset) -> None:
    network = make_network("talknet").to(choose_device("cuda"))
    crops, mfcc = windows.crops(np.arange(4)).reshape(-1, 112, 112), windows.mfcc(np.arange(4))
    scores = TrackScorer(network, 9, "bf16").score(
        crops, np.arange(len(crops)), mfcc.reshape(-1, mfcc.shape[-1])
    )
    assert ((scores >= 0) & (scores <= 1)).all()


def test_training_ends_with_finite_losses(splits: Path, tmp_path: Path) -> None:
    steps = run_training(splits, tmp_path, settings=TALKERS, device="cuda")
    reports = [step for step in steps if isinstance(step, EpochReport)]
    assert len(reports) == TALKERS.total_epochs
    assert np.isfinite([report.loss for report in reports]).all()
