"""Scores as the AnnoTheia toolkit makes them when it uses a network.

They are not those of the network by itself: the toolkit lays windows side by side, lets each go
through alone, never puts TalkNet into eval mode, so that batch norms take the statistics of one
window and attention drops a tenth, and smooths what comes out. A threshold that is right for one is
wrong for the other. (joactr/AnnoTheia: `utils/pipeline.py`, `talknet_asd.py`.)
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from torch import nn

from asdtune.core.arrays import FaceCrops, Mfcc
from asdtune.core.models.network import Network
from asdtune.core.models.registry import TALKNET
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.training.devices import to_device
from asdtune.core.training.scoring import check_finite

SMOOTHING_WINDOW = 11  # frames, as in the toolkit's own files


class ToolkitNetwork:
    """A copy of a network, in the mode in which the toolkit uses it."""

    def __init__(self, name: str, network: Network, *, seed: int = 0, dropout: bool = True) -> None:
        """Copy it.

        The toolkit's TalkNet is in training mode; the detector modules that `export-config` adds
        for other networks are in eval mode. The seed of dropout is set before every track.
        """
        self._network = copy.deepcopy(network)
        self._network.train(name == TALKNET)
        self._seed = seed
        if not dropout:
            for module in self._network.modules():
                if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
                    module.eval()

    def score_track(
        self, crops: FaceCrops, mfcc: Mfcc, window_size: int
    ) -> npt.NDArray[np.float64]:
        """Score a face track (n, 112, 112) that begins with its scene, whose MFCC are (M, 13).

        Returns smoothed scores (n,), 0..1.
        """
        torch.manual_seed(self._seed)
        n, half = len(crops), window_size // 2
        sound = _repeated(mfcc, MFCC_PER_FRAME * max(n, window_size))
        pictures = _repeated(crops, max(n, window_size))
        device = next(self._network.parameters()).device
        scores = []
        with torch.inference_mode():
            for centre in range(0, n + window_size + 1, window_size):
                first = centre - half
                window = (
                    _cut(sound, MFCC_PER_FRAME * first, MFCC_PER_FRAME * window_size),
                    _cut(pictures, first, window_size),
                )
                logits = self._network(*(to_device(part[None], device) for part in window))
                scores.append(logits.audio_visual[0].softmax(-1)[:, 1].double().cpu().numpy())
        return smoothed(check_finite(np.concatenate(scores)), SMOOTHING_WINDOW)[half : half + n]


def smoothed(scores: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    """Put the mean of its neighbours in the place of each score, from the first to the last.

    As in the toolkit, those before it are means already.

    Examples:
        >>> smoothed(np.array([1.0, 0.0, 0.0]), 3)
        array([0.5       , 0.16666667, 0.08333333])
    """
    half, done = size // 2, scores.copy()
    for i in range(len(done)):
        done[i] = done[max(0, i - half) : i + half + 1].mean()
    return done


def is_settled(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which frames have a label, 1 or 0, that all have with which their score is smoothed.

    Examples:
        >>> is_settled(np.array([1] * 7 + [0] * 7)).astype(int)
        array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    """
    lowest = minimum_filter1d(labels, SMOOTHING_WINDOW, mode="nearest")
    highest = maximum_filter1d(labels, SMOOTHING_WINDOW, mode="nearest")
    settled: npt.NDArray[np.bool_] = (lowest == highest) & (labels >= 0)
    return settled


def _repeated(rows: npt.NDArray[np.generic], n: int) -> npt.NDArray[np.generic]:
    """Repeat rows from the beginning until there are n, or cut the tail."""
    return np.resize(rows, (n, *rows.shape[1:]))


def _cut(rows: npt.NDArray[np.generic], first: int, n: int) -> npt.NDArray[np.float32]:
    """Cut n rows out; zeros stand before the first and after the last."""
    window = np.zeros((n, *rows.shape[1:]), np.float32)
    begin, end = max(first, 0), min(first + n, len(rows))
    if begin < end:
        window[begin - first : end - first] = rows[begin:end]
    return window
