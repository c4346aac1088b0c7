"""Light-ASD and LR-ASD are the published networks, and are trained as TalkNet is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (as everybody calls it)

from asdtune.core.downloads import matches
from asdtune.core.models.checkpoints import load_network, load_weights, read_info, read_state
from asdtune.core.models.network import Logits
from asdtune.core.models.registry import NETWORKS, STARTS, make_network
from asdtune.core.training.losses import Embedded, contrast_loss
from asdtune.core.training.reports import EpochReport
from asdtune.errors import AsdtuneError
from tests.conftest import Run
from tests.small import TALKERS, altered, run_training

SMALL = ("light-asd", "lr-asd")
TOLERANCE = 1e-4  # of golden values, absolute; ours are within 2e-6


def published(shared: Path, network: str, weights: str) -> Path:
    return shared / "models" / f"{network.replace('-', '_')}_{weights}.model"


def golden(shared: Path, network: str) -> tuple[dict[str, np.ndarray], torch.Tensor, torch.Tensor]:
    inputs = np.load(shared / "golden" / "talknet_forward.npz")
    values = np.load(shared / "golden" / f"{network.replace('-', '_')}_forward.npz")
    mfcc, crops = (torch.from_numpy(inputs[name]).float() for name in ("audio", "video"))
    return dict(values), mfcc, crops


@pytest.mark.parametrize("weights", ["ava", "talkset"])
@pytest.mark.parametrize("name", SMALL)
def test_what_it_computes_is_what_the_published_network_does(
    shared: Path, name: str, weights: str
) -> None:
    values, mfcc, crops = golden(shared, name)
    found, network = load_network(published(shared, name, weights))
    assert found == name
    network.eval()

    def outputs(rows: slice) -> dict[str, torch.Tensor]:
        audio = network.encode_mfcc(mfcc[rows])
        visual = network.embed_features(network.encode_frames(crops[rows]))
        logits = network(mfcc[rows], crops[rows]).audio_visual
        torch.testing.assert_close(logits, network.detect(audio, visual).audio_visual)
        return {
            "audio_embedding": audio,
            "visual_embedding": visual,
            "logits": logits,
            "score": logits.softmax(-1),
        }

    n_compared = 0
    with torch.inference_mode():
        together = outputs(slice(None))
        for i in range(len(mfcc)):
            alone = outputs(slice(i, i + 1))
            for key in alone:
                expected = torch.from_numpy(values[f"{weights}_{key}_{i}"])
                for value in (alone[key][0], together[key][i]):
                    torch.testing.assert_close(value, expected, rtol=0, atol=TOLERANCE)
                n_compared += 1
    assert n_compared == sum(key.startswith(weights) for key in values)


@pytest.mark.parametrize("name", SMALL)
def test_state_dict_is_the_published_one(shared: Path, name: str) -> None:
    path = shared / "golden" / f"{name.replace('-', '_')}_state_dict.json"
    names = json.loads(path.read_text())
    found = {
        key: [list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in make_network(name).state_dict().items()
    }
    assert list(found) == list(names)
    assert found == names


def test_loss_of_light_asd_cools_down_and_is_the_published_one() -> None:
    generator = torch.Generator().manual_seed(0)
    both, visual = torch.randn(2, 4, 5, 2, generator=generator)
    labels = torch.tensor([0, 1, 1, 0])
    per_frame = labels[:, None].expand(-1, 5).reshape(-1).float()

    def binary(logits: torch.Tensor, heat: float) -> torch.Tensor:
        return F.binary_cross_entropy((logits / heat).softmax(-1)[..., 1].reshape(-1), per_frame)

    network = make_network("light-asd")
    for epoch, heat in ((1, 1.3), (2, 1.28), (30, 0.72), (1000, 0.7)):
        losses = network.loss(Logits(both, None, visual), labels, epoch=epoch, label_smoothing=0.0)
        expected = binary(both, heat) + 0.5 * binary(visual, heat)
        torch.testing.assert_close(losses.total, expected)
        assert losses.audio == 0
    losses = make_network("lr-asd").loss(
        Logits(both, None, visual), labels, epoch=7, label_smoothing=0.0
    )
    torch.testing.assert_close(losses.total, binary(both, 1.0) + 0.5 * binary(visual, 1.0))


def test_contrast_is_least_where_each_frame_sounds_as_it_looks() -> None:
    generator = torch.Generator().manual_seed(0)
    visual = torch.randn(3, 6, 16, generator=generator)
    labels = torch.tensor([[1], [0], [1]]).expand(3, 6)
    same = contrast_loss(Embedded(visual, visual), labels)
    shifted = contrast_loss(Embedded(visual.roll(1, 1), visual), labels)
    assert same < 0.1 < 1 < shifted
    assert contrast_loss(Embedded(visual.roll(1, 1), visual), 0 * labels) == 0
    # Two of three windows count, so the mean is two thirds of theirs.
    of_two = contrast_loss(Embedded(visual.roll(1, 1)[::2], visual[::2]), labels[::2])
    torch.testing.assert_close(shifted, of_two * 2 / 3)


@pytest.mark.parametrize("name", SMALL)
def test_tuned_checkpoint_keeps_the_keys_and_tells_its_network(
    shared: Path, splits: Path, tmp_path: Path, name: str
) -> None:
    start = published(shared, name, "talkset")
    settings = altered(
        TALKERS, network=name, checkpoint=str(start), freeze="visual-frontend",
        contrast=0.1, dropout=0.1, time_mask_frames=3, encoder_rate=0.5, balance_speakers=True,
        label_smoothing=0.1,
    )  # fmt: skip
    reports = run_training(splits, tmp_path, settings=settings, sizes=None)
    epochs = [report for report in reports if isinstance(report, EpochReport)]
    assert [epoch.loss_audio for epoch in epochs] == [None, None]
    assert epochs[1].loss != epochs[0].loss
    best = tmp_path / "checkpoints" / "best.pth"
    before, after = read_state(start), read_state(best)
    assert list(after) == list(before)
    assert all(after[key].shape == before[key].shape for key in before)
    for key in before:
        is_same = torch.equal(before[key], after[key])
        if "visualEncoder" in key:
            assert is_same, key
        elif key.endswith("weight"):
            assert not is_same, key
    assert read_info(best).network == name
    load_weights(make_network(name), best)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_tells_which_network_it_is_of(name: str, tmp_path: Path) -> None:
    state = make_network(name).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "a.pth")
    found, network = load_network(tmp_path / "a.pth")
    assert found == name
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["start.txt", "start.csv"])
def test_a_file_that_is_no_weights_at_all_is_told_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# not weights\n" * 100)
    with pytest.raises(AsdtuneError, match="not a file of network weights"):
        load_network(tmp_path / name)


def test_weights_of_another_network_are_told_so_in_one_line(shared: Path) -> None:
    path = published(shared, "light-asd", "ava")
    with pytest.raises(AsdtuneError, match="these are weights of light-asd") as caught:
        load_weights(make_network("talknet"), path)
    assert caught.value.fix == "give --network light-asd, or name another checkpoint"


def test_a_start_of_another_network_is_wrong_usage(run: Run, in_tmp: Path) -> None:
    done = run("train", "--network", "lr-asd", "--checkpoint", "light-asd-ava", exit_code=2)
    assert "light-asd-ava is of light-asd: give --network light-asd" in " ".join(
        done.output.split()
    )


def test_every_published_start_names_its_network_and_how_to_check_it() -> None:
    for name, start in STARTS.items():
        assert start.network in NETWORKS
        kind, digest = start.file.check.split(":")
        assert len(digest) == {"sha256": 64, "git-blob": 40}[kind], name


def test_published_files_are_those_that_are_checked_for(shared: Path) -> None:
    for name, start in STARTS.items():
        if start.network != "talknet":
            network, weights = name.rsplit("-", 1)
            assert matches(published(shared, network, weights), start.file.check)
