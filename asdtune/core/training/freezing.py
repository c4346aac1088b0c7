"""Which parts of a network learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the one name for all kinds of it

from asdtune.core.files import bytes_hash
from asdtune.core.models.network import Network
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.devices import device_of, to_device

_N_SETTLING_WINDOWS = 16  # from which drawn front-ends take their statistics


class Freeze(str, Enum):
    """What of a network stays as it is."""

    NONE = "none"
    VISUAL = "visual-frontend"  # what makes features of each picture: nine tenths of the work
    FRONTENDS = "frontends"  # all that makes embeddings of pictures and of sound

    def __str__(self) -> str:
        return self.value


def set_learning(network: Network, freeze: Freeze, batchnorm: str) -> None:
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


def hash_of_parts(network: Network, freeze: Freeze) -> str:
    """Hash the weights and statistics of what is frozen."""
    states = [part.state_dict() for part in network.frozen_parts(freeze.value)]
    return bytes_hash(
        value.detach().cpu().contiguous().numpy().tobytes()
        for state in states
        for value in state.values()
    )


def settle_frozen_parts(
    network: Network, windows: WindowDataset, freeze: Freeze, batchnorm: str
) -> None:
    """Give a drawn network's frozen batch norms the statistics of windows from all over."""
    parts = [cast("nn.Module", network)]
    if batchnorm != "frozen":
        parts = network.frozen_parts(freeze.value)
    if parts:
        rows = np.linspace(0, len(windows) - 1, _N_SETTLING_WINDOWS).astype(np.int64)
        device = device_of(network)
        crops, mfcc = (to_device(x, device) for x in (windows.crops(rows), windows.mfcc(rows)))
        settle_statistics(network, crops, mfcc, parts)


def settle_statistics(
    network: Network, crops: Tensor, mfcc: Tensor, parts: Sequence[nn.Module]
) -> None:
    """Give parts whose statistics will stay, and that never learned any, those of some windows.

    Drawn weights come without any: batch norms would pass on whatever scale the pictures have, and
    features would differ a hundredfold in size. Each batch norm of the parts takes the mean and
    variance of these windows; every feature of the visual front-end, which must be among them, is
    scaled to a standard deviation of 1.

    Args:
        network: With drawn weights; changed in place.
        crops: Shape (B, W, 112, 112), uint8.
        mfcc: Shape (B, 4W, 13).
        parts: Of the network, or the network itself.
    """
    visual = network.frozen_parts(Freeze.VISUAL.value)
    with torch.no_grad():
        features = _take_statistics(visual, lambda: network.encode_frames(crops))
        deviation = features.flatten(0, 1).float().std(0)
        network.scale_features(1 / deviation.clamp(min=_LEAST_DEVIATION))
        others = [part for part in parts if part not in visual]
        if others:
            _take_statistics(others, lambda: network(mfcc, crops).audio_visual)


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
