"""What training reads and caches: checked against computing it plainly."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from asdtune.core.arrays import write_npz
from asdtune.core.models.checkpoints import read_state
from asdtune.core.models.network import Network
from asdtune.core.models.registry import LR_ASD, make_network
from asdtune.core.training.clips import ClipFiles
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.feature_cache import FeatureReport, FeatureWindows, cache_features
from asdtune.core.training.freezing import Freeze, set_learning, settle_statistics
from asdtune.core.training.losses import Objective
from asdtune.core.training.reports import Stopped
from asdtune.core.training.scoring import score_by_clip, score_windows
from asdtune.core.windows import WindowKind
from tests.conftest import Run
from tests.render import render_video
from tests.small import SETTINGS, TALKERS, altered, run_training, tiny_network, weights

FROZEN = altered(TALKERS, freeze="visual-frontend")


def cache_all(
    network: Network, windows: WindowDataset, folder: Path, precision: str = "fp32"
) -> list[FeatureReport]:
    return list(cache_features(network, windows, folder, precision=precision))


def test_clips_are_read_whatever_their_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (30, 112, 112)).astype(np.uint8)
    coefficients = rng.standard_normal((120, 13)).astype(np.float32)
    write_npz(tmp_path / "a.npz", data=crops)
    np.savez_compressed(tmp_path / "b.npz", data=crops[:20].astype(np.float64) + 0.3)
    write_npz(tmp_path / "c.npz", data=coefficients, waveform=np.arange(5, dtype=np.int16))
    write_npz(tmp_path / "d.npz", data=coefficients[:8])
    a, b, c, d = (tmp_path / f"{name}.npz" for name in "abcd")
    clips = ClipFiles()
    for _ in range(2):
        np.testing.assert_array_equal(clips.crops(a), crops)
        np.testing.assert_array_equal(clips.crops(b), crops[:20])
        np.testing.assert_array_equal(clips.mfcc(c), coefficients)
        assert clips.waveform(c).tolist() == [0, 1, 2, 3, 4]
        assert len(clips.waveform(d)) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_many_clips_do_not_use_up_the_files_that_may_be_open(tmp_path: Path) -> None:
    for i in range(150):
        write_npz(tmp_path / f"{i}.npz", data=np.full((8, 13), i, np.float32))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))\n"
        "from pathlib import Path; from asdtune.core.training.clips import ClipFiles\n"
        "clips = [ClipFiles() for _ in range(3)]\n"
        "paths = [Path(sys.argv[1]) / f'{i}.npz' for i in range(150)]\n"
        "print(sum(float(each.mfcc(path)[0, 0]) for path in paths for each in clips))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == 3 * sum(range(150))


@pytest.mark.parametrize("size", [9, 5, 3, 1])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-3)])
def test_cached_features_are_those_of_each_window(
    splits: Path, tmp_path: Path, size: int, precision: str, tolerance: float
) -> None:
    table = pd.read_csv(splits / "training.csv")
    path = splits / f"of_{size}_{precision}.csv"
    table[table.kind != WindowKind.TEMPORAL.value].to_csv(path, index=False)
    windows, network = WindowDataset(path, size), tiny_network(precision).eval()
    cache_all(network, windows, tmp_path, precision)
    rows = np.arange(len(windows))[::-1].copy()
    found = torch.from_numpy(FeatureWindows(windows, tmp_path).batch(rows).pictures).float()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
        expected = network.encode_frames(torch.from_numpy(windows.crops(rows))).float()
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", ["talknet", LR_ASD])
def test_scores_clip_by_clip_are_those_of_each_window(windows: WindowDataset, name: str) -> None:
    torch.manual_seed(0)
    network = tiny_network() if name == "talknet" else make_network(name)
    rows = np.arange(len(windows))[::3][::-1].copy()
    expected = np.concatenate([*score_windows(network, windows, batch_size=5, rows=rows)])
    found = dict.fromkeys(rows.tolist())
    for some, scores in score_by_clip(network, windows, batch_size=5, rows=rows):
        found |= dict(zip(some.tolist(), scores, strict=True))
    np.testing.assert_allclose(np.stack([*found.values()]), expected, atol=1e-5)


def test_a_pass_goes_on_where_it_was_and_begins_anew_for_other_weights(
    windows: WindowDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asdtune.core.training.feature_cache._SECONDS_BETWEEN_MARKS", 0.0)
    network = tiny_network()
    n_reports = len(cache_all(network, windows, tmp_path / "whole"))
    steps = cache_features(network, windows, tmp_path / "cut", precision="fp32")
    for _ in range(3):
        next(steps)
    steps.close()
    assert network.training  # as it was
    assert len(cache_all(network, windows, tmp_path / "cut")) == n_reports - 3
    whole, cut = (tmp_path / folder / "features.npy" for folder in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    assert cache_all(network, windows, tmp_path / "cut") == []
    cut.write_bytes(whole.read_bytes()[:-1000])  # damaged
    assert len(cache_all(network, windows, tmp_path / "cut")) == n_reports
    assert whole.read_bytes() == cut.read_bytes()
    nn.init.ones_(network.model.visualFrontend.frontend3D[0].weight)
    assert len(cache_all(network, windows, tmp_path / "cut")) == n_reports


def stop_amid_features(splits: Path, output: Path) -> Path:
    """Leave a run that was stopped while its cache was made; give that of training."""
    assert isinstance(
        run_training(splits, output, settings=FROZEN, should_stop=lambda: True)[-1], Stopped
    )
    cached = output / "features" / "training" / "features.npy"
    assert cached.is_file()
    return cached


def test_nothing_made_of_faces_outlasts_the_run(splits: Path, tmp_path: Path) -> None:
    run_training(splits, tmp_path, settings=FROZEN)
    kept = {path.name for path in tmp_path.iterdir()} - {"tensorboard"}
    assert kept == {"checkpoints", "metrics.jsonl", "run.json", ".asdtune"}
    left = ("features/training/features.npy", "features/validation/frames.npy", "store/crops.npy")
    for name in (*left, "features/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()  # by a run that was killed at its end, and by earlier versions
    (again,) = run_training(splits, tmp_path, settings=FROZEN)
    assert again.is_fresh
    assert [path.name for path in tmp_path.rglob("*") if path.suffix in (".npy", ".txt")] == [
        "notes.txt"  # which is not ours
    ]


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_run_removes_the_features_of_the_earlier_one(
    splits: Path, tmp_path: Path, overwrite: bool
) -> None:
    cached = stop_amid_features(splits, tmp_path)
    settings = altered(TALKERS, learning_rate=0.1)  # nothing is frozen
    options = {"settings": settings, "overwrite": overwrite, "should_stop": lambda: True}
    assert isinstance(run_training(splits, tmp_path, **options)[-1], Stopped)
    assert not cached.exists()


@pytest.mark.parametrize("command", ["crops", "splits"])
def test_features_of_withdrawn_faces_do_not_wait_for_the_next_run(
    splits: Path, tmp_path: Path, run: Run, command: str, fake_faces: None
) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(splits.parent, root)
    for path in (root / "splits").glob("*.csv"):
        path.write_text(path.read_text().replace(str(splits.parent), str(root)))
    cached = stop_amid_features(root / "splits", tmp_path / "exps")
    folders = {"videos": "video_dir", "face_crops": "face_crops_dir", "mfccs": "mfccs_dir"}
    folders |= {"splits": "splits_dir"}
    lines = [f'{key} = "{(root / name).as_posix()}"' for name, key in folders.items()]
    project = tmp_path / "asdtune.toml"
    project.write_text("\n".join(["[project]", "window_size = 9", "[paths]", *lines]) + "\n")
    render_video(root / "videos" / "training" / "new" / "new_0000.mp4", seconds=1, seed=0)

    def run_command() -> None:
        workers = ["--workers", 1] if command == "crops" else []
        run(command, "--project", project, *workers)

    run_command()
    assert cached.is_file()  # all are there
    clip = next((root / "face_crops" / "training").rglob("*.npz"))
    clip.unlink()
    (root / "mfccs" / clip.relative_to(root / "face_crops")).unlink()
    run_command()
    assert not cached.exists()


@pytest.mark.parametrize("freeze", ["visual-frontend", "frontends"])
def test_what_is_frozen_does_not_change_and_the_rest_learns(
    splits: Path, tmp_path: Path, freeze: str
) -> None:
    start = tmp_path / "start.pth"
    torch.save(tiny_network().state_dict(), start)
    settings = altered(TALKERS, freeze=freeze, checkpoint=str(start))
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


def test_learning_from_cached_features_is_learning_with_the_part_frozen(
    windows: WindowDataset, tmp_path: Path
) -> None:
    network = tiny_network()
    set_learning(network, Freeze.VISUAL, "adapt")
    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
            module.eval()
    cache_all(network, windows, tmp_path)
    rows = np.arange(8)
    gradients = []
    for freeze, batch in (
        (Freeze.VISUAL, FeatureWindows(windows, tmp_path).batch(rows)),
        (Freeze.NONE, windows.batch(rows)),
    ):
        arrays = (batch.pictures, batch.sound, batch.labels)
        network.zero_grad()
        objective = Objective(network, freeze, 1, SETTINGS)
        objective(*map(torch.from_numpy, arrays)).total.backward()
        gradients.append(
            {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5)


def test_frozen_batch_norms_keep_their_statistics(splits: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    torch.save(tiny_network().state_dict(), start)
    settings = altered(TALKERS, batchnorm="frozen", checkpoint=str(start))
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
