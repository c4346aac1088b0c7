"""How windows are made different: pictures, and mixed voices."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from asdtune.core.arrays import write_npz
from asdtune.core.prepare.mfcc import mfcc
from asdtune.core.training.augment import (
    change_pictures,
    draw_changes,
    draw_masks,
    mask_sound,
    mfcc_of_mixture,
    mix_sound,
)
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.reports import EpochReport
from tests.small import (
    TALKERS,
    altered,
    run_training,
)


def test_mixing_in_silence_gives_the_stored_mfcc_of_every_window(windows: WindowDataset) -> None:
    rows = np.arange(len(windows))
    own = windows.voices(rows)
    assert (own.n_samples > 0).all()
    assert own.begins_clip.any() or (windows.audio_starts > 0).all()
    silence = replace(own, samples=np.zeros_like(own.samples))
    found = mfcc_of_mixture(own, silence, torch.zeros(len(rows)))
    np.testing.assert_allclose(found, windows.mfcc(rows), atol=2e-3, rtol=0)


@pytest.mark.parametrize("n_samples", [16_000, 15_999, 15_800])
def test_voices_end_where_the_clip_ends(tmp_path: Path, n_samples: int) -> None:
    waveform = np.random.default_rng(0).integers(-9000, 9000, n_samples, np.int16)
    n_rows = len(mfcc(waveform)) // 4 * 4
    write_npz(tmp_path / "mfcc.npz", data=mfcc(waveform)[:n_rows], waveform=waveform)
    write_npz(tmp_path / "crops.npz", data=np.zeros((25, 112, 112), np.uint8))
    size = 5
    rows = [(2, 8), (12, 4 * (n_rows // 4 - 3)), (9, 36)]  # at the beginning, the end, within
    lines = [f"crops,mfcc,1,{v},crops.npz,mfcc.npz,{a},positive" for v, a in rows]
    header = ("video_id,audio_id,label,video_window_center,video_path,audio_path,"
              "audio_window_center,kind")  # fmt: skip
    (tmp_path / "split.csv").write_text("\n".join([header, *lines]) + "\n")
    windows = WindowDataset(tmp_path / "split.csv", size)
    own = windows.voices(np.arange(3))
    silence = replace(own, samples=np.zeros_like(own.samples))
    found = mfcc_of_mixture(own, silence, torch.zeros(3))
    np.testing.assert_allclose(found, windows.mfcc(np.arange(3)), atol=2e-3, rtol=0)


@pytest.mark.parametrize("decibel", [-5.0, 0.0, 5.0])
def test_a_mixture_has_the_loudness_asked_for(windows: WindowDataset, decibel: float) -> None:
    own, other = windows.voices(np.array([0])), windows.voices(np.array([len(windows) - 1]))
    powers = [np.square(each.samples.astype(np.float64)).mean() for each in (own, other)]
    gain = math.sqrt(powers[0] / powers[1]) * 10 ** (-decibel / 20)
    total = own.samples + gain * other.samples
    expected = mfcc(total[0, 1:].round().clip(-(2**15), 2**15 - 1).astype(np.int16))
    found = mfcc_of_mixture(own, other, torch.tensor([decibel]))[0].numpy()
    # The first sample has one before it here, and rounding to int16 is heard in the faintest bands.
    np.testing.assert_allclose(found[1:, 0], expected[1:, 0], atol=0.02)


def test_sound_is_mixed_with_other_clips_only(windows: WindowDataset) -> None:
    rows = np.arange(len(windows))
    changes = draw_changes(windows, rows, np.random.default_rng(0))
    wanted = np.flatnonzero(changes.noise >= 0)
    assert 0.35 < len(wanted) / len(rows) < 0.65
    for i in wanted:
        other = windows.audio_paths[changes.noise[i]].stem
        assert other not in (windows.audio_paths[i].stem, windows.video_paths[i].stem)
    before = torch.from_numpy(windows.mfcc(rows))
    after = mix_sound(before.clone(), windows, rows, changes)
    is_changed = (before != after).flatten(1).any(1)
    assert is_changed.numpy().nonzero()[0].tolist() == wanted.tolist()


def test_windows_without_kept_sound_stay_as_they_are(data_without_sound: WindowDataset) -> None:
    rows = np.arange(len(data_without_sound))
    changes = draw_changes(data_without_sound, rows, np.random.default_rng(0))
    before = torch.from_numpy(data_without_sound.mfcc(rows))
    assert torch.equal(mix_sound(before.clone(), data_without_sound, rows, changes), before)


@pytest.fixture
def data_without_sound(splits: Path, tmp_path: Path) -> WindowDataset:
    table = pd.read_csv(splits / "training.csv")
    for column in ("video_path", "audio_path"):
        for name in table[column].unique():
            with np.load(splits / name) as file:
                write_npz(tmp_path / column / Path(name).name, data=file["data"])
        table[column] = column + "/" + table[column].map(lambda name: Path(name).name)
    table.to_csv(tmp_path / "split.csv", index=False)
    return WindowDataset(tmp_path / "split.csv", 9)


def test_pictures_are_kept_mirrored_cut_or_turned_as_a_whole_window(
    windows: WindowDataset,
) -> None:
    crops = torch.from_numpy(windows.crops(np.arange(1)))
    kept = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    torch.testing.assert_close(change_pictures(crops, kept), crops.float(), rtol=0, atol=0.01)
    mirrored = change_pictures(crops, torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]))
    torch.testing.assert_close(mirrored, crops.float().flip(-1), rtol=0, atol=0.01)
    half = change_pictures(crops, torch.tensor([[[0.5, 0, 0.5], [0, 0.5, 0.5]]]))
    inner = crops.float()[..., 56:, 56:]
    assert (half.mean((2, 3)) - inner.mean((2, 3))).abs().max() < 1.5
    changes = draw_changes(windows, np.zeros(400, int), np.random.default_rng(0))
    affine = changes.affine
    is_kept = (affine == np.eye(2, 3, dtype=np.float32)).all((1, 2))
    assert 0.15 < is_kept.mean() < 0.35
    inside = np.abs(affine[:, :, 2]) + np.abs(affine[:, 0, :2]).max(1)[:, None]
    is_cut = (affine[:, 0, 0] < 1) & (affine[:, 0, 0] >= 0.7) & (affine[:, 0, 1] == 0)
    assert 0.15 < is_cut.mean() < 0.35
    assert (inside[is_cut] <= 1 + 1e-6).all()  # a cut leaves nothing out of the picture


def test_augmentation_changes_training_and_not_validation(splits: Path, tmp_path: Path) -> None:
    seen = {}
    for augment in (False, True):
        settings = altered(
            TALKERS, augment=augment, total_epochs=1, learning_rate=1e-30, batchnorm="frozen"
        )
        steps = run_training(splits, tmp_path / str(augment), settings=settings)
        seen[augment] = next(step for step in steps if isinstance(step, EpochReport))
    assert seen[True].loss != pytest.approx(seen[False].loss, abs=1e-4)
    assert seen[True].validation_by_kind == seen[False].validation_by_kind


def test_masked_sound_is_the_mean_of_the_window_and_the_rest_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    mfcc = torch.randn(3, 4 * 9, 13, generator=generator)
    masked = mask_sound(mfcc, np.array([[2, 5], [0, 0], [0, 9]]))
    assert torch.equal(masked[0, :8], mfcc[0, :8])
    assert torch.equal(masked[0, 20:], mfcc[0, 20:])
    assert torch.equal(masked[0, 8:20], mfcc[0].mean(0).expand(12, 13))
    assert torch.equal(masked[1], mfcc[1])
    assert torch.equal(masked[2], mfcc[2].mean(0).expand(36, 13))


def test_masks_are_within_the_window_and_not_too_long() -> None:
    masks = draw_masks(5000, 9, 4, np.random.default_rng(0))
    lengths = masks[:, 1] - masks[:, 0]
    assert set(lengths) == {0, 1, 2, 3, 4}
    assert set(masks[lengths == 4][:, 0]) == set(range(6))
    assert masks.min() == 0
    assert masks.max() == 9
