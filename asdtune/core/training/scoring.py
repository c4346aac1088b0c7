"""Run a network over the windows of a split, on whatever device there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from asdtune.core.training.dataset import Batch, Rows
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import torch

    from asdtune.core.models.network import Network
    from asdtune.core.training.freezing import Freeze

Scores = npt.NDArray[np.float32]  # (N, W), probability of speaking
Numbers = TypeVar("Numbers", bound=npt.NDArray[Any])


class Windows(Protocol):
    """The windows of a split, as crops and MFCC or as what frozen parts make of them."""

    window_size: int

    def __len__(self) -> int:
        """Count them."""

    def batch(self, rows: Rows) -> Batch:
        """Gather some of them."""


def choose_device(name: str) -> torch.device:
    """Give the device of a name, or the best there is for `auto`.

    Raises:
        AsdtuneError: There is no such device on this machine.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AsdtuneError(
            f"this machine has no device {name}",
            where="--device",
            fix="use --device cpu, or auto for the best there is",
        ) from error
    return device


def to_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Bring an array to a device, without waiting for it there."""
    import torch

    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def score_windows(
    network: Network,
    windows: Windows,
    *,
    batch_size: int,
    rows: Rows | None = None,
    freeze: Freeze | None = None,
    precision: str = "fp32",
) -> Iterator[Scores]:
    """Score windows in order, in eval mode.

    Args:
        network: The network.
        windows: What it scores.
        batch_size: Windows at once.
        rows: Which of them; None for all.
        freeze: What `windows` are the output of; None for crops and MFCC.
        precision: `fp32` or `bf16`.

    Yields:
        The scores of a batch, shape (B, W), 0..1.

    Raises:
        AsdtuneError: The network gives something that is no number.
    """
    import torch

    from asdtune.core.training.freezing import Freeze
    from asdtune.core.training.losses import logits_of
    from asdtune.core.training.precision import computing, in_use

    device = next(network.parameters()).device
    chosen = np.arange(len(windows)) if rows is None else rows
    with in_use(network):
        for start in range(0, len(chosen), batch_size):
            batch = windows.batch(chosen[start : start + batch_size])
            with torch.inference_mode(), computing(precision, device):
                pictures, sound = to_device(batch.pictures, device), to_device(batch.sound, device)
                logits = logits_of(network, pictures, sound, freeze or Freeze.NONE)
            scores = logits.audio_visual.float().softmax(-1)[..., 1].cpu().numpy()
            yield check_finite(scores)


def check_finite(scores: Numbers) -> Numbers:
    """Give scores back, or refuse some that are no numbers.

    Raises:
        AsdtuneError: One is not finite.
    """
    if not np.isfinite(scores).all():
        raise AsdtuneError(
            "the network's scores are no longer finite numbers: it has diverged",
            fix="lower --learning-rate and train again with --overwrite",
        )
    return scores
