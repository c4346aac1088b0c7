"""Scores of tracks against doing what the toolkit does, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from asdtune.core.evaluation.toolkit_scoring import ToolkitNetwork
from asdtune.core.models.registry import LIGHT_ASD, TALKNET, make_network
from tests.small import tiny_network

W = 9


def toolkit_scores(network: torch.nn.Module, crops: np.ndarray, mfcc: np.ndarray) -> list[float]:
    """Score a track as FACTS.md 4.7 and 5 say, a frame at a time."""
    n = len(crops)
    rows = [mfcc[i % len(mfcc)] for i in range(4 * max(n, W))]
    pictures = [crops[i % n] for i in range(max(n, W))]
    listed: list[float] = []
    centre = 0
    while centre < n + W + 1:
        sound = [
            rows[i] if 0 <= i < len(rows) else np.zeros(13)
            for i in range(4 * (centre - W // 2), 4 * (centre + W // 2) + 4)
        ]
        seen = [
            pictures[i] if 0 <= i < len(pictures) else np.zeros((112, 112))
            for i in range(centre - W // 2, centre + W // 2 + 1)
        ]
        with torch.no_grad():
            logits = network(
                torch.tensor(np.array(sound), dtype=torch.float32)[None],
                torch.tensor(np.array(seen), dtype=torch.float32)[None],
            ).audio_visual[0]
        listed += [float(each.softmax(0)[1]) for each in logits]
        centre += W
    for i in range(len(listed)):
        listed[i] = float(np.mean(listed[max(0, i - 5) : i + 6]))
    return listed[W // 2 : n + W // 2]


@pytest.mark.parametrize("n_frames", [4, W, 40])
@pytest.mark.parametrize("n_rows", [-7, 0, 30], ids=["short sound", "as long", "long sound"])
def test_tracks_are_scored_as_the_toolkit_scores_them(n_frames: int, n_rows: int) -> None:
    rng = np.random.default_rng(n_frames)
    crops = rng.integers(0, 256, (n_frames, 112, 112), dtype=np.uint8)
    mfcc = rng.normal(0, 10, (4 * n_frames + n_rows, 13)).astype(np.float32)
    network = tiny_network()
    scorer = ToolkitNetwork(TALKNET, network, dropout=False)
    got = scorer.score_track(crops, mfcc, W)
    for module in network.train().modules():
        if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
            module.eval()
    assert got.shape == (n_frames,)
    np.testing.assert_allclose(got, toolkit_scores(network, crops, mfcc), atol=1e-4)


def test_dropout_is_live_seeded_and_leaves_the_network_alone() -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (30, 112, 112), dtype=np.uint8)
    mfcc = rng.normal(0, 10, (120, 13)).astype(np.float32)
    network = tiny_network().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with_it, again, without = (
        ToolkitNetwork(TALKNET, network, dropout=dropout).score_track(crops, mfcc, W)
        for dropout in (True, True, False)
    )
    assert np.array_equal(with_it, again)
    assert np.abs(with_it - without).max() > 1e-3
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_networks_of_our_own_detectors_are_in_eval_mode() -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (20, 112, 112), dtype=np.uint8)
    mfcc = rng.normal(0, 10, (80, 13)).astype(np.float32)
    torch.manual_seed(0)
    network = make_network(LIGHT_ASD)
    got = ToolkitNetwork(LIGHT_ASD, network).score_track(crops, mfcc, W)
    np.testing.assert_allclose(got, toolkit_scores(network.eval(), crops, mfcc), atol=1e-4)
