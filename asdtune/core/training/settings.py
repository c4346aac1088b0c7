"""The settings of a run: the table `[train]` of the project file, and what stands for `auto`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from asdtune.core.models.registry import LIGHT_ASD, STARTS
from asdtune.core.rates import check_window_size
from asdtune.core.tables import Table, setting
from asdtune.errors import UsageError

if TYPE_CHECKING:
    import torch

_TEMPORAL_EPOCHS = 5  # from scratch, of ten epochs and more: those that are added are like the last


class Recipe(Table):
    """What decides how a network learns; the defaults are those of TalkNet."""

    checkpoint: str = setting("english", "weights to start from: a name, scratch, or a file")
    learning_rate: float = setting(1e-4, "learning rate of Adam", gt=0)
    lr_decay: float = setting(0.95, "factor of the learning rate after every epoch", gt=0, le=1)
    total_epochs: int = setting(10, "epochs", gt=0)
    batch_size: int = setting(32, "windows per step", gt=0)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "arithmetic; auto: bf16 where the machine has it; fp32: exactly the reference"
    )
    compile: bool = setting(False, "compile the network first: minutes, may pay on a GPU")
    freeze: Literal["none", "visual-frontend", "frontends"] = setting(
        "none", "part that does not learn; what it makes of pictures is computed once"
    )
    head_epochs: int = setting(0, "first epochs with the visual front-end frozen", ge=0)
    temporal_epochs: int | None = setting(
        None, "first epochs with temporal mismatches as the only negatives; default: from scratch "
        "half of all, at most 5", 5, ge=0,
    )  # fmt: skip
    batchnorm: Literal["adapt", "frozen"] = setting(
        "adapt", "batch-norm statistics; frozen: they stay those of the start"
    )
    augment: bool = setting(False, "mirror, cut and turn pictures; mix voices at -5 to 5 dB")
    time_mask_frames: int = setting(0, "blank the sound of at most so many frames in a row", ge=0)
    balance_speakers: bool = setting(False, "every speaker has as many windows in an epoch")
    encoder_rate: float = setting(1.0, "learning rate of the encoders, times the others'", gt=0)
    dropout: float = setting(0.0, "share of the embeddings dropped before the head", ge=0, lt=1)
    label_smoothing: float = setting(
        0.0, "share of each label that is spread over both classes", ge=0, lt=1
    )
    contrast: float = setting(
        0.0, "weight of a loss that asks which sound belongs to which frame", ge=0
    )
    distillation: float = setting(
        1.0, "weight of a loss that keeps what the start says of talking and silent faces", ge=0
    )
    warmup_steps: int = setting(0, "steps over which the learning rate rises from 0", ge=0)
    weight_decay: float = setting(0.0, "weight decay of AdamW; 0 is Adam", ge=0)
    max_gradient_norm: float = setting(0.0, "clip gradients to this norm; 0 disables", ge=0)
    ema_decay: float = setting(
        0.0, "keep a moving mean of the weights, such as 0.999; 0 disables", ge=0, lt=1
    )
    patience: int = setting(0, "stop after so many epochs without a better one; 0: never", ge=0)


class TrainTable(Recipe):
    """Settings of `train`: the recipe, and what changes nothing of the result."""

    device: str = setting(
        "auto", "where it computes: cpu, cuda, cuda:1, mps, or auto, the best there is"
    )
    save_minutes: float = setting(5.0, "minutes from one save to the next within an epoch", gt=0)


class TrainingSettings(Recipe):
    """All that decides the result of a run, beside its data."""

    network: Literal["talknet", "light-asd", "lr-asd"]
    window_size: int
    seed: int = Field(ge=0)


def check_settings(settings: TrainingSettings) -> None:
    """Refuse settings that do not go together, all at once.

    Raises:
        UsageError: So some do not.
    """
    check_window_size(settings.window_size)
    start = STARTS.get(settings.checkpoint)
    is_frozen = settings.freeze != "none"
    wrong = {
        f"{settings.checkpoint} is of {start.network if start else ''}: give --network "
        f"{start.network if start else ''}, or another --checkpoint for {settings.network}":
            start is not None and start.network != settings.network,
        f"time mask frames must be below the window size, {settings.window_size}":
            settings.time_mask_frames >= settings.window_size,
        f"head epochs have nothing to thaw with freeze {settings.freeze}: give one of the two":
            settings.head_epochs > 0 and is_frozen,
        "compile must be off for light-asd: its loss is another in every epoch":
            settings.compile and settings.network == LIGHT_ASD,
        "encoder rate has nothing to change with freeze frontends":
            settings.encoder_rate != 1 and settings.freeze == "frontends",
        "contrast has nothing to change with freeze frontends":
            settings.contrast > 0 and settings.freeze == "frontends",
    }  # fmt: skip
    if any(wrong.values()):
        problem = "; ".join(text for text, is_wrong in wrong.items() if is_wrong)
        raise UsageError(problem, fix="mend the flag or the setting")


def resolve_settings(
    settings: TrainingSettings, device: torch.device, *, is_scratch: bool
) -> TrainingSettings:
    """Put what they stand for in the place of `auto` and None."""
    from asdtune.core.training.devices import choose_precision

    temporal_epochs = settings.temporal_epochs
    if temporal_epochs is None:
        temporal_epochs = min(settings.total_epochs // 2, _TEMPORAL_EPOCHS) if is_scratch else 0
    return settings.model_copy(
        update={
            "precision": choose_precision(settings.precision, device),
            "temporal_epochs": temporal_epochs,
            "distillation": 0.0 if is_scratch else settings.distillation,  # nothing to keep
        }
    )
