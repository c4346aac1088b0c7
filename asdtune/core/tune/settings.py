"""The settings of a run: which values they may have, and what stands for `auto`."""

from __future__ import annotations

from dataclasses import replace

import torch

from asdtune.core.rates import check_window_size
from asdtune.core.tune.freezing import BATCHNORM_MODES, Freeze
from asdtune.core.tune.precision import PRECISIONS, choose_precision
from asdtune.core.tune.runs import TrainingSettings
from asdtune.errors import UsageError


def check_settings(settings: TrainingSettings) -> None:
    """Refuse values out of their range, all at once.

    Raises:
        UsageError: So some are.
    """
    check_window_size(settings.window_size)
    freezes = tuple(each.value for each in Freeze)
    wanted = {
        "learning_rate": ("above 0", settings.learning_rate > 0),
        "lr_decay": ("above 0 and at most 1", 0 < settings.lr_decay <= 1),
        "total_epochs": ("at least 1", settings.total_epochs >= 1),
        "batch_size": ("at least 1", settings.batch_size >= 1),
        "precision": (f"one of {', '.join(PRECISIONS)}", settings.precision in PRECISIONS),
        "freeze": (f"one of {', '.join(freezes)}", settings.freeze in freezes),
        "batchnorm": (
            f"one of {', '.join(BATCHNORM_MODES)}",
            settings.batchnorm in BATCHNORM_MODES,
        ),
        "head_epochs": ("at least 0", settings.head_epochs >= 0),
        "temporal_epochs": ("at least 0", (settings.temporal_epochs or 0) >= 0),
        "warmup_steps": ("at least 0", settings.warmup_steps >= 0),
        "weight_decay": ("at least 0", settings.weight_decay >= 0),
        "max_gradient_norm": ("at least 0", settings.max_gradient_norm >= 0),
        "ema_decay": ("at least 0 and below 1", 0 <= settings.ema_decay < 1),
        "patience": ("at least 0", settings.patience >= 0),
    }
    wrong = [
        f"{name.replace('_', ' ')} must be {range_}, not {getattr(settings, name)}"
        for name, (range_, is_right) in wanted.items()
        if not is_right
    ]
    if settings.augment and settings.freeze == Freeze.FRONTENDS.value:
        wrong.append("augment has nothing to change with freeze frontends: all of it is stored")
    if wrong:
        raise UsageError("; ".join(wrong), fix="mend the flag or the setting")


def resolve_settings(
    settings: TrainingSettings, device: torch.device, *, is_scratch: bool
) -> TrainingSettings:
    """Put what they stand for in the place of `auto` and None."""
    temporal_epochs = settings.temporal_epochs
    if temporal_epochs is None:
        temporal_epochs = settings.total_epochs // 2 if is_scratch else 0
    return replace(
        settings,
        precision=choose_precision(settings.precision, device),
        temporal_epochs=temporal_epochs,
    )
