"""What training reads and stores: checked against computing it plainly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from asdtune.core.arrays import write_npz
from asdtune.core.models.checkpoints import read_state
from asdtune.core.models.dropout import Dropout
from asdtune.core.models.network import Network
from asdtune.core.splits import WindowKind
from asdtune.core.training.clips import ClipStore, build_store
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.feeds import open_frozen, store_frozen
from asdtune.core.training.freezing import Freeze, set_learning, settle_statistics
from asdtune.core.training.losses import Objective
from asdtune.core.training.stores import FeatureReport
from tests.small import (
    TALKERS,
    run_training,
    tiny_network,
    weights,
)


def test_packed_clips_are_the_clips_whatever_their_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (30, 112, 112)).astype(np.uint8)
    coefficients = rng.standard_normal((120, 13)).astype(np.float32)
    write_npz(tmp_path / "a.npz", data=crops)
    np.savez_compressed(tmp_path / "b.npz", data=crops[:20].astype(np.float64) + 0.3)
    write_npz(tmp_path / "c.npz", data=coefficients, waveform=np.arange(5, dtype=np.int16))
    write_npz(tmp_path / "d.npz", data=coefficients[:8])
    a, b, c, d = (tmp_path / f"{name}.npz" for name in "abcd")
    store = open_store(tmp_path / "store", [a, b], [c, d], has_waveforms=True)
    np.testing.assert_array_equal(store.crops(a), crops)
    np.testing.assert_array_equal(store.crops(b), crops[:20])
    np.testing.assert_array_equal(store.mfcc(c), coefficients)
    np.testing.assert_array_equal(store.mfcc(d), coefficients[:8])
    assert store.waveform(c).tolist() == [0, 1, 2, 3, 4]
    assert len(store.waveform(d)) == 0


def test_store_is_built_once_and_again_when_a_clip_changes(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", data=np.zeros((5, 112, 112), np.uint8))
    write_npz(tmp_path / "b.npz", data=np.zeros((20, 13), np.float32))
    paths = [tmp_path / "a.npz"], [tmp_path / "b.npz"]
    open_store(tmp_path / "store", *paths, has_waveforms=False)
    first = (tmp_path / "store" / "crops.npy").stat().st_mtime_ns
    open_store(tmp_path / "store", *paths, has_waveforms=False)
    assert (tmp_path / "store" / "crops.npy").stat().st_mtime_ns == first
    write_npz(tmp_path / "a.npz", data=np.ones((5, 112, 112), np.uint8))
    store = open_store(tmp_path / "store", *paths, has_waveforms=False)
    assert store.crops(tmp_path / "a.npz").all()


def store_all(
    network: Network, windows: WindowDataset, folder: Path, *,
    freeze: Freeze = Freeze.VISUAL, precision: str = "fp32",
) -> list[FeatureReport]:  # fmt: skip
    return list(store_frozen(network, windows, folder, freeze=freeze, precision=precision))


def objective_of(network: Network, freeze: Freeze) -> Objective:
    return Objective(
        network, freeze, 1, dropout=0.0, label_smoothing=0.0, contrast=0.0, distillation=0.0
    )


def open_store(
    folder: Path, crops: list[Path], mfcc: list[Path], *, has_waveforms: bool
) -> ClipStore:
    build_store(folder, crops, mfcc, has_waveforms=has_waveforms)
    return ClipStore(folder, [*crops, *mfcc])


@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_a_damaged_store_is_built_again(tmp_path: Path, damage: str) -> None:
    write_npz(tmp_path / "a.npz", data=np.ones((5, 112, 112), np.uint8))
    write_npz(tmp_path / "b.npz", data=np.zeros((20, 13), np.float32))
    paths = [tmp_path / "a.npz"], [tmp_path / "b.npz"]
    open_store(tmp_path / "store", *paths, has_waveforms=False)
    crops = tmp_path / "store" / "crops.npy"
    if damage == "delete":
        crops.unlink()
    else:
        crops.write_bytes(crops.read_bytes()[:1000])
    assert open_store(tmp_path / "store", *paths, has_waveforms=False).crops(paths[0][0]).all()


def test_windows_of_the_store_are_those_of_the_files(
    windows: WindowDataset, tmp_path: Path
) -> None:
    rows = np.arange(0, len(windows), 3)
    expected = windows.batch(rows)
    crops, coefficients = sorted(set(windows.video_paths)), sorted(set(windows.audio_paths))
    windows.clips = open_store(tmp_path, crops, coefficients, has_waveforms=False)
    found = windows.batch(rows)
    np.testing.assert_array_equal(found.pictures, expected.pictures)
    np.testing.assert_array_equal(found.sound, expected.sound)


@pytest.mark.parametrize("size", [9, 5, 3, 1])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-3)])
def test_stored_features_are_those_of_each_window(
    splits: Path, tmp_path: Path, size: int, precision: str, tolerance: float
) -> None:
    table = pd.read_csv(splits / "training.csv")
    path = splits / f"of_{size}_{precision}.csv"
    table[table.kind != WindowKind.TEMPORAL.value].to_csv(path, index=False)
    windows, network = WindowDataset(path, size), tiny_network(precision).eval()
    store_all(network, windows, tmp_path, precision=precision)
    rows = np.arange(len(windows))
    found = torch.from_numpy(
        open_frozen(network, windows, tmp_path, freeze=Freeze.VISUAL).batch(rows).pictures
    ).float()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
        expected = network.encode_frames(torch.from_numpy(windows.crops(rows))).float()
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


def test_stored_embeddings_are_those_of_each_window(windows: WindowDataset, tmp_path: Path) -> None:
    network = tiny_network().eval()
    store_all(network, windows, tmp_path, freeze=Freeze.FRONTENDS)
    rows = np.arange(len(windows))[::-1].copy()
    batch, plain = (
        open_frozen(network, windows, tmp_path, freeze=Freeze.FRONTENDS).batch(rows),
        windows.batch(rows),
    )
    with torch.inference_mode():
        visual = network.encode_crops(torch.from_numpy(plain.pictures))
        audio = network.encode_mfcc(torch.from_numpy(plain.sound))
    torch.testing.assert_close(torch.from_numpy(batch.pictures), visual, rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(batch.sound), audio, rtol=0, atol=1e-4)


def test_a_feature_pass_goes_on_where_it_was_and_begins_anew_for_other_weights(
    windows: WindowDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asdtune.core.training.stores._SECONDS_BETWEEN_MARKS", 0.0)
    network = tiny_network()
    store_all(network, windows, tmp_path / "whole")
    steps = store_frozen(network, windows, tmp_path / "cut", freeze=Freeze.VISUAL, precision="fp32")
    for _ in range(3):
        next(steps)
    steps.close()
    assert network.training  # as it was
    rest = store_all(network, windows, tmp_path / "cut")
    assert rest[0].n_done == 4
    for name in ("frames.npy", "edges.npy"):
        whole, cut = (tmp_path / folder / name for folder in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()
    assert store_all(network, windows, tmp_path / "cut") == []
    nn.init.ones_(network.model.visualFrontend.frontend3D[0].weight)
    again = store_all(network, windows, tmp_path / "cut")
    assert again[0].n_done == 1


@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_damaged_features_are_computed_again(
    windows: WindowDataset, tmp_path: Path, damage: str
) -> None:
    network = tiny_network()
    n_reports = len(store_all(network, windows, tmp_path))
    path = tmp_path / "frames.npy"
    whole = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2])
    assert len(store_all(network, windows, tmp_path)) == n_reports
    assert path.read_bytes() == whole


@pytest.mark.parametrize("freeze", ["visual-frontend", "frontends"])
def test_what_is_frozen_does_not_change_and_the_rest_learns(
    splits: Path, tmp_path: Path, freeze: str
) -> None:
    start = tmp_path / "start.pth"
    torch.save(tiny_network().state_dict(), start)
    settings = replace(TALKERS, freeze=freeze, checkpoint=str(start))
    run_training(splits, tmp_path, settings=settings)
    before, after = read_state(start), weights(tmp_path)
    parts = {"visual-frontend": ["visualFrontend"]}
    parts["frontends"] = ["visualFrontend", "visualTCN", "visualConv1D", "audioEncoder"]
    for name in before:
        is_frozen = any(f"model.{part}." in name for part in parts[freeze])
        is_used = "layer1.downsample" not in name and ".se." not in name  # a single, dead ReLU
        if is_frozen:
            assert torch.equal(before[name], after[name]), name
        elif name.endswith("weight") and is_used:
            assert not torch.equal(before[name], after[name]), name


def test_learning_from_stored_features_is_learning_with_the_part_frozen(
    windows: WindowDataset, tmp_path: Path
) -> None:
    network = tiny_network()
    set_learning(network, Freeze.VISUAL, "adapt")
    for module in network.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    store_all(network, windows, tmp_path)
    rows = np.arange(8)
    gradients = []
    for freeze, batch in (
        (Freeze.VISUAL, open_frozen(network, windows, tmp_path, freeze=Freeze.VISUAL).batch(rows)),
        (Freeze.NONE, windows.batch(rows)),
    ):
        arrays = (batch.pictures, batch.sound, batch.labels)
        network.zero_grad()
        objective_of(network, freeze)(*map(torch.from_numpy, arrays)).total.backward()
        gradients.append(
            {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5)


def test_frozen_batch_norms_keep_their_statistics(splits: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    torch.save(tiny_network().state_dict(), start)
    settings = replace(TALKERS, batchnorm="frozen", checkpoint=str(start))
    run_training(splits, tmp_path, settings=settings)
    before, after = read_state(start), weights(tmp_path)
    statistics = [name for name in before if "running" in name or "tracked" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["lossAV.FC.weight"], after["lossAV.FC.weight"])


def test_drawn_front_ends_give_features_of_one_size(windows: WindowDataset) -> None:
    network = tiny_network()
    rows = np.arange(0, len(windows), 4)
    crops, sound = torch.from_numpy(windows.crops(rows)), torch.from_numpy(windows.mfcc(rows))
    settle_statistics(network, crops, sound, network.frozen_parts("visual-frontend"))
    set_learning(network, Freeze.VISUAL, "adapt")
    deviation = network.encode_frames(crops).flatten(0, 1).std(0)
    assert ((deviation - 1).abs() < 0.01).float().mean() > 0.8  # the rest hardly move at all
