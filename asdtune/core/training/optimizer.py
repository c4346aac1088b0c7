"""Adam, its learning rate, and the moving mean of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from asdtune.core.training.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import nn

    from asdtune.core.models.network import Network


def make_optimizer(network: Network, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Make AdamW, which without weight decay is Adam; gains and biases do not decay.

    Each group has a `share`: what its learning rate is of the run's.
    """
    encoders = [
        weight for part in network.frozen_parts("frontends") for weight in part.parameters()
    ]
    of_encoders = {id(weight) for weight in encoders}
    rest = [weight for weight in network.parameters() if id(weight) not in of_encoders]
    groups: list[dict[str, Any]] = []
    for weights, share in ((encoders, settings.encoder_rate), (rest, 1.0)):
        groups.append({"params": [each for each in weights if not _is_gain(each)], "share": share})
        gains = [each for each in weights if _is_gain(each)]
        groups.append({"params": gains, "share": share, "weight_decay": 0.0})
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )


def _is_gain(weight: torch.Tensor) -> bool:
    """Tell gains and biases, one number for each channel, whatever their shape."""
    return weight.squeeze().ndim <= 1


def learning_rate_at(settings: TrainingSettings, epoch: int, n_steps: int) -> float:
    """Give the learning rate of a step.

    Args:
        settings: The recipe.
        epoch: From 1.
        n_steps: Steps of all epochs that are done.

    Returns:
        rate * decay ** (epoch - 1), in the first steps the part of it that has warmed up.
    """
    warm = min(1.0, (n_steps + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    return settings.learning_rate * settings.lr_decay ** (epoch - 1) * warm


def averaged_copy(network: Network, decay: float) -> AveragedModel | None:
    """Give a copy whose weights are the exponential moving mean of the network's; None for 0."""
    if not decay:
        return None
    return AveragedModel(cast("nn.Module", network), multi_avg_fn=get_ema_multi_avg_fn(decay))
