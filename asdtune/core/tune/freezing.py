"""Which parts of a network learn, and how a batch goes through those that do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the one name for all kinds of it

from asdtune.core.files import bytes_hash
from asdtune.core.networks.talknet import Logits, Losses, TalkNet, talknet_loss

BATCHNORM_MODES = ("adapt", "frozen")


class Freeze(str, Enum):
    """What of a network stays as it is."""

    NONE = "none"
    VISUAL = "visual-frontend"  # what makes features of each picture: nine tenths of the work
    FRONTENDS = "frontends"  # all that makes embeddings of pictures and of sound

    def __str__(self) -> str:
        return self.value


def logits_of(network: TalkNet, pictures: Tensor, sound: Tensor, freeze: Freeze) -> Logits:
    """Take a batch through the parts of the network that are not frozen.

    Args:
        network: The network.
        pictures: Face crops (B, W, 112, 112); or their features (B, W, C) or embeddings (B, W, C),
            as the frozen parts make them.
        sound: MFCC (B, 4W, 13), or embeddings (B, W, C).
        freeze: Which of these they are.
    """
    if freeze is Freeze.FRONTENDS:
        return network.detect(sound.float(), pictures.float())
    if freeze is Freeze.VISUAL:
        return network.detect(network.encode_mfcc(sound), network.embed_features(pictures.float()))
    logits: Logits = network(sound, pictures)
    return logits


class Objective(nn.Module):
    """The loss of a batch, as a module: what is compiled, or spread over ranks."""

    def __init__(self, network: TalkNet, freeze: Freeze) -> None:
        super().__init__()
        self.network = network
        self.freeze = freeze

    def forward(self, pictures: Tensor, sound: Tensor, labels: Tensor) -> Losses:
        """Give the losses of a batch, each the mean over its windows."""
        return talknet_loss(logits_of(self.network, pictures, sound, self.freeze), labels)


def set_learning(network: TalkNet, freeze: Freeze, batchnorm: str) -> None:
    """Let the parts learn that are not frozen.

    A frozen part computes as in use: its batch norms neither take nor change statistics. With
    `batchnorm` frozen, so do all batch norms.
    """
    network.train().requires_grad_(True)
    for part in network.frozen_parts(freeze.value):
        part.eval().requires_grad_(False)
    for module in network.modules():
        if batchnorm == "frozen" and isinstance(module, _BatchNorm):
            module.eval()


def hash_of_parts(network: TalkNet, freeze: Freeze) -> str:
    """Hash the weights and statistics of what is frozen."""
    states = [part.state_dict() for part in network.frozen_parts(freeze.value)]
    return bytes_hash(
        value.detach().cpu().contiguous().numpy().tobytes()
        for state in states
        for value in state.values()
    )


def settle_statistics(network: TalkNet, crops: Tensor, mfcc: Tensor, freeze: Freeze) -> None:
    """Give frozen parts that never learned the statistics of some windows.

    Drawn weights come without any: batch norms would pass on whatever scale the pictures have, and
    features would differ a hundredfold in size. Each batch norm of the frozen parts takes the mean
    and variance of these windows; then every feature is scaled to a standard deviation of 1.

    Args:
        network: With drawn weights; changed in place.
        crops: Shape (B, W, 112, 112), uint8.
        mfcc: Shape (B, 4W, 13).
        freeze: What will be frozen.
    """
    visual = network.frozen_parts(Freeze.VISUAL.value)
    with torch.no_grad():
        features = _take_statistics(visual, lambda: network.encode_frames(crops))
        deviation = features.flatten(0, 1).float().std(0)
        network.scale_features(1 / deviation.clamp(min=_LEAST_DEVIATION))
        if freeze is Freeze.FRONTENDS:
            parts = [part for part in network.frozen_parts(freeze.value) if part not in visual]
            _take_statistics(parts, lambda: network(mfcc, crops).audio_visual)


_LEAST_DEVIATION = 1e-3  # a feature that hardly moves is not blown up


def _take_statistics(parts: Sequence[nn.Module], compute: Callable[[], Tensor]) -> Tensor:
    """Compute with batch statistics, keep them in the parts, and compute again with those."""
    norms = [
        module for part in parts for module in part.modules() if isinstance(module, _BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # what is seen now is all that counts
        norm.train()
    compute()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return compute()
