"""The settings of a run: which values they may have, and what stands for `auto`."""

from __future__ import annotations

from dataclasses import replace

import torch

from asdtune.core.models.registry import LIGHT_ASD, NETWORKS, STARTS
from asdtune.core.rates import check_window_size
from asdtune.core.training.freezing import BATCHNORM_MODES, Freeze
from asdtune.core.training.precision import PRECISIONS, choose_precision
from asdtune.core.training.run_state import TrainingSettings
from asdtune.errors import UsageError

_TEMPORAL_EPOCHS = 5  # from scratch, of ten epochs and more: those that are added are like the last


def check_settings(settings: TrainingSettings) -> None:
    """Refuse values out of their range, all at once.

    Raises:
        UsageError: So some are.
    """
    check_window_size(settings.window_size)
    freezes = tuple(each.value for each in Freeze)
    wanted = {
        "network": (f"one of {', '.join(NETWORKS)}", settings.network in NETWORKS),
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
        "time_mask_frames": (
            f"at least 0 and below the window size, {settings.window_size}",
            0 <= settings.time_mask_frames < settings.window_size,
        ),
        "encoder_rate": ("above 0", settings.encoder_rate > 0),
        "dropout": ("at least 0 and below 1", 0 <= settings.dropout < 1),
        "label_smoothing": ("at least 0 and below 1", 0 <= settings.label_smoothing < 1),
        "contrast": ("at least 0", settings.contrast >= 0),
        "distillation": ("at least 0", settings.distillation >= 0),
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
    start = STARTS.get(settings.checkpoint)
    if start is not None and start.network != settings.network:
        wrong.append(
            f"{settings.checkpoint} is of {start.network}: give --network {start.network}, or "
            f"another --checkpoint for {settings.network}"
        )
    if settings.head_epochs and settings.freeze != Freeze.NONE.value:
        wrong.append(
            f"head epochs have nothing to thaw with freeze {settings.freeze}: give one of the two"
        )
    if settings.compile and settings.network == LIGHT_ASD:
        wrong.append("compile must be off for light-asd: its loss is another in every epoch")
    if settings.freeze == Freeze.FRONTENDS.value:
        if settings.encoder_rate != 1:
            wrong.append("encoder rate has nothing to change with freeze frontends")
        wrong += [
            f"{name} has nothing to change with freeze frontends: all of it is stored"
            for name in ("augment", "time_mask_frames", "contrast")
            if getattr(settings, name)
        ]
    if wrong:
        raise UsageError("; ".join(wrong), fix="mend the flag or the setting")


def resolve_settings(
    settings: TrainingSettings, device: torch.device, *, is_scratch: bool
) -> TrainingSettings:
    """Put what they stand for in the place of `auto` and None."""
    temporal_epochs = settings.temporal_epochs
    if temporal_epochs is None:
        temporal_epochs = min(settings.total_epochs // 2, _TEMPORAL_EPOCHS) if is_scratch else 0
    return replace(
        settings,
        precision=choose_precision(settings.precision, device),
        temporal_epochs=temporal_epochs,
        distillation=0.0 if is_scratch else settings.distillation,  # which has nothing to keep
    )
