"""Run a network over the windows of a split, on whatever device there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from asdtune.core.models.network import Network
from asdtune.core.training.dataset import Batch, Rows, WindowDataset
from asdtune.core.training.devices import device_of, inference, to_device
from asdtune.core.training.encoding import Pictures, encode_windows
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.losses import logits_of
from asdtune.errors import AsdtuneError

Scores = npt.NDArray[np.float32]  # (N, W), probability of speaking
Numbers = TypeVar("Numbers", bound=npt.NDArray[Any])


class Windows(Protocol):
    """The windows of a split, as crops and MFCC or as what frozen parts make of them."""

    window_size: int

    def __len__(self) -> int:
        """Count them."""

    def batch(self, rows: Rows) -> Batch:
        """Gather some of them."""


def score_windows(
    network: Network,
    windows: Windows,
    *,
    batch_size: int,
    rows: Rows | None = None,
    freeze: Freeze = Freeze.NONE,
    precision: str = "fp32",
) -> Iterator[Scores]:
    """Score windows in order, in eval mode.

    Args:
        network: The network.
        windows: What it scores.
        batch_size: Windows at once.
        rows: Which of them; None for all.
        freeze: What `windows` are the output of.
        precision: `fp32` or `bf16`.

    Yields:
        The scores of a batch, shape (B, W), 0..1.

    Raises:
        AsdtuneError: The network gives something that is no number.
    """
    chosen = np.arange(len(windows)) if rows is None else rows
    for start in range(0, len(chosen), batch_size):
        batch = windows.batch(chosen[start : start + batch_size])
        yield _score(network, batch.pictures, batch.sound, freeze, precision)


def score_by_clip(
    network: Network,
    windows: WindowDataset,
    *,
    batch_size: int,
    rows: Rows | None = None,
    precision: str = "fp32",
) -> Iterator[tuple[Rows, Scores]]:
    """Score windows clip by clip: pictures that they share go through the visual encoder once.

    As `score_windows`, but for the order.

    Yields:
        Rows of the split, and their scores (B, W).
    """
    chosen = np.arange(len(windows)) if rows is None else rows
    pictures = Pictures.of(windows, chosen)
    order = np.argsort(pictures.place, kind="stable")
    ends = np.searchsorted(pictures.place[order], np.arange(len(pictures.start)), side="right")
    first = 0
    for path, of_clip in pictures.by_clip():
        with inference(network, precision):
            crops = windows.clips.crops(path)
            features = encode_windows(network, crops, pictures.start[of_clip], windows.window_size)
        own = order[first : ends[of_clip.stop - 1]]
        first = int(ends[of_clip.stop - 1])
        for begin in range(0, len(own), batch_size):
            some = own[begin : begin + batch_size]
            shown = features[pictures.place[some] - of_clip.start]
            sound = windows.mfcc(chosen[some])
            yield chosen[some], _score(network, shown, sound, Freeze.VISUAL, precision)


def _score(
    network: Network,
    pictures: npt.NDArray[Any],
    sound: npt.NDArray[Any],
    freeze: Freeze,
    precision: str,
) -> Scores:
    device = device_of(network)
    with inference(network, precision):
        logits = logits_of(network, to_device(pictures, device), to_device(sound, device), freeze)
    scores: Scores = logits.audio_visual.float().softmax(-1)[..., 1].cpu().numpy()
    return check_finite(scores)


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
