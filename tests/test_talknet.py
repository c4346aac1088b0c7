"""The network and its checkpoints."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from asdtune.core.models.checkpoints import (
    CheckpointInfo,
    find_checkpoint,
    load_weights,
    read_info,
    read_state,
    save_weights,
)
from asdtune.core.models.talknet import TalkNet
from asdtune.core.training.devices import choose_device
from asdtune.errors import AsdtuneError

# Of the sorted lines "name shape dtype" of golden/talknet_state_dict.json (AnnoTheia at 0cb9156).
STATE_DICT_SHA256 = "28df34e4e42080b58a09fa344bc4c293f643e13383eed10836a1e968a5506c88"
INFO = CheckpointInfo(51, 3, 90.0, "english", "0.1.0")


def drawn_weights() -> dict[str, torch.Tensor]:
    """Draw the weights with which the golden values were computed (FACTS: one stream a name)."""
    return {name: draw(name, value.shape) for name, value in TalkNet().state_dict().items()}


def draw(name: str, shape: torch.Size) -> torch.Tensor:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.tensor(1)
    if last == "running_var":
        values = rng.uniform(0.5, 1.5, shape)
    elif last == "running_mean":
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) <= 1 or last in ("gamma", "beta"):
        values = (last in ("weight", "gamma")) + 0.1 * rng.standard_normal(shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, np.float32))


@pytest.fixture(scope="module")
def network() -> TalkNet:
    made = TalkNet()
    made.load_state_dict(drawn_weights())
    return made.eval()


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "talknet_forward.npz") as file:
        return dict(file)


def test_state_dict_is_the_toolkits() -> None:
    lines = sorted(
        f"{name} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        for name, value in TalkNet().state_dict().items()
    )
    assert len(lines) == 487
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == STATE_DICT_SHA256


@pytest.mark.parametrize("rows", [[0], [1], [0, 1]])
def test_forward_equals_the_golden_values(
    network: TalkNet, golden: dict[str, np.ndarray], rows: list[int]
) -> None:
    mfcc, crops = torch.from_numpy(golden["audio"][rows]), torch.from_numpy(golden["video"][rows])
    with torch.inference_mode():
        audio = network.encode_mfcc(mfcc)
        visual = network.embed_features(network.encode_frames(crops))
        logits, scores = network(mfcc, crops).audio_visual, network.scores(mfcc, crops)
    for i, row in enumerate(rows):
        # Embeddings reach 560. The reference, float32 itself, is up to 2.6e-3 from the exact ones
        # (computed in float64), so 1e-4 is asked of the scale; we are at 5e-6 of it.
        for name, value in (("audio", audio), ("visual", visual)):
            expected = torch.from_numpy(golden[f"{name}_embedding_{row}"])
            scale = float(expected.abs().max())
            torch.testing.assert_close(value[i], expected, rtol=0, atol=1e-5 * scale)
        expected = torch.from_numpy(golden[f"logits_{row}"])
        torch.testing.assert_close(logits[i], expected, rtol=0, atol=1e-4)
        expected = torch.from_numpy(golden[f"score_{row}"])[:, 1]
        torch.testing.assert_close(scores[i], expected, rtol=0, atol=1e-4)


def without_dropout(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return network


def test_loss_and_gradients_equal_the_golden_values(
    shared: Path, golden: dict[str, np.ndarray]
) -> None:
    network = TalkNet()
    network.load_state_dict(drawn_weights())
    without_dropout(network).train()
    logits = network(torch.from_numpy(golden["audio"][:1]), torch.from_numpy(golden["video"][:1]))
    losses = network.loss(logits, torch.tensor([1]))
    expected = torch.from_numpy(golden["train_loss"]).float()
    torch.testing.assert_close(torch.stack(losses).detach(), expected, rtol=0, atol=1e-4)
    losses.total.backward()
    norms = json.loads((shared / "golden" / "talknet_grad_norms.json").read_text())
    found = {
        name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None
    }
    assert found.keys() == norms.keys()
    for name, norm in norms.items():
        # A bias before a batch norm has no gradient but rounding noise (2e-8).
        assert found[name] == pytest.approx(norm, rel=1e-3, abs=1e-6), name


def test_forward_has_known_values_where_the_golden_files_are_not() -> None:
    """Pin what the network, equal to the golden values, says of drawn input."""
    network = TalkNet()
    network.load_state_dict(drawn_weights())
    rng = np.random.Generator(np.random.PCG64(0))
    mfcc = torch.from_numpy(rng.standard_normal((1, 20, 13)).astype(np.float32) * 5)
    crops = torch.from_numpy(rng.integers(0, 256, (1, 5, 112, 112), np.uint8))
    with torch.inference_mode():
        logits = network.eval()(mfcc, crops).audio_visual[0]
    expected = torch.tensor(
        [
            [1.6297, -1.3845],
            [1.6277, -1.4012],
            [1.3023, -1.1705],
            [1.8991, -1.2345],
            [1.6195, -1.2434],
        ]
    )
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)


def test_windows_of_a_batch_do_not_see_each_other(network: TalkNet) -> None:
    rng = torch.Generator().manual_seed(0)
    mfcc = torch.randn(3, 28, 13, generator=rng)
    crops = torch.randint(0, 256, (3, 7, 112, 112), generator=rng, dtype=torch.uint8)
    with torch.inference_mode():
        together = network.scores(mfcc, crops)
        alone = [network.scores(mfcc[i : i + 1], crops[i : i + 1])[0] for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-5)


def test_crops_may_be_uint8_or_floating_point(network: TalkNet) -> None:
    mfcc = torch.zeros(1, 12, 13)
    crops = torch.arange(3 * 112 * 112).reshape(1, 3, 112, 112) % 256
    with torch.inference_mode():
        a = network.scores(mfcc, crops.to(torch.uint8))
        b = network.scores(mfcc, crops.float())
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert a.shape == (1, 3)
    assert ((a >= 0) & (a <= 1)).all()


def test_loss_takes_a_label_per_window_or_per_frame(network: TalkNet) -> None:
    logits = network(torch.zeros(2, 12, 13), torch.zeros(2, 3, 112, 112))
    per_window = TalkNet().loss(logits, torch.tensor([1, 0]))
    per_frame = TalkNet().loss(logits, torch.tensor([[1] * 3, [0] * 3]))
    torch.testing.assert_close(per_window.total, per_frame.total)
    total = per_window.audio_visual + 0.4 * per_window.audio + 0.4 * per_window.visual
    torch.testing.assert_close(per_window.total, total)


def test_checkpoint_round_trip_keeps_weights_and_info(tmp_path: Path) -> None:
    state = TalkNet().state_dict()
    save_weights(tmp_path / "a.pth", state, INFO)
    network = TalkNet()
    load_weights(network, tmp_path / "a.pth")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    assert read_info(tmp_path / "a.pth") == INFO
    assert read_info(tmp_path / "bare.pth") is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop("lossAV.FC.bias"), 'Missing key.*"lossAV.FC.bias"'),
        (lambda state: state.update(extra=torch.zeros(1)), 'Unexpected key.*"extra"'),
        (
            lambda state: state.update({"lossV.FC.bias": torch.zeros(3)}),
            r"size mismatch for lossV.FC.bias: .*\[3\].*\[2\]",
        ),
        (
            lambda state: state.update({"lossV.FC.bias": torch.tensor([1.0, float("nan")])}),
            "lossV.FC.bias is not finite",
        ),
    ],
)
def test_wrong_keys_and_shapes_are_named(tmp_path: Path, change: object, problem: str) -> None:
    state = dict(TalkNet().state_dict())
    change(state)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(AsdtuneError, match=problem) as caught:
        load_weights(TalkNet(), tmp_path / "a.pth")
    assert caught.value.where == str(tmp_path / "a.pth")


class Bomb:
    """What a pickle can do: run code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"a": Bomb(tmp_path / "boom")}, tmp_path / "a.pth")
    with pytest.raises(AsdtuneError, match="asks to run code"):
        read_state(tmp_path / "a.pth")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("value", [[1, 2], {"a": "text"}, {}, 3])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(AsdtuneError, match="something else than weights"):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_damaged_checkpoint_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(
        AsdtuneError,
        match=r"not a readable checkpoint|not plain weights|not a file of network weights",
    ):
        read_state(tmp_path / "a.pth")


def test_unknown_checkpoint_and_device_are_named(tmp_path: Path) -> None:
    with pytest.raises(AsdtuneError) as caught:
        find_checkpoint(str(tmp_path / "absent.pth"))
    assert "english" in str(caught.value.fix)
    assert find_checkpoint("scratch") is None
    with pytest.raises(AsdtuneError, match="no device banana"):
        choose_device("banana")
