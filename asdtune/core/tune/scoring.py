"""Run a network over the windows of a split, on whatever device there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asdtune.core.tune.dataset import WindowDataset
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import torch

    from asdtune.core.networks.talknet import TalkNet

Scores = npt.NDArray[np.float32]  # (N, W), probability of speaking


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
    network: TalkNet, windows: WindowDataset, *, batch_size: int
) -> Iterator[tuple[int, Scores]]:
    """Score the windows of a split in order, in eval mode.

    Yields:
        The row of the first window of a batch, and its scores, shape (B, W), 0..1.

    Raises:
        AsdtuneError: The network gives something that is no number.
    """
    import torch

    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    start = 0
    try:
        for batch in windows.batches(np.arange(len(windows)), batch_size):
            with torch.inference_mode():
                mfcc, crops = to_device(batch.mfcc, device), to_device(batch.crops, device)
                scores = network.scores(mfcc, crops).float().cpu().numpy()
            if not np.isfinite(scores).all():
                raise AsdtuneError(
                    "the network's scores are no longer finite numbers: it has diverged",
                    fix="lower --learning-rate and train again with --overwrite",
                )
            yield start, scores
            start += len(scores)
    finally:
        network.train(was_training)
