"""Score face tracks of any length, every frame of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asdtune.core.arrays import FaceCrops, Mfcc
from asdtune.core.models.network import Network
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.training.devices import device_of, inference, to_device
from asdtune.core.training.encoding import encode_windows
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.losses import logits_of
from asdtune.core.training.scoring import check_finite

TrackScores = npt.NDArray[np.float32]  # (n,), probability of speaking


@dataclass(frozen=True)
class TrackScorer:
    """A network in eval mode, and how it is fed: W frames a window, so many windows at once."""

    network: Network
    window_size: int
    precision: str
    batch_size: int = 8

    def score(self, stored: FaceCrops, rows: npt.NDArray[np.int64], mfcc: Mfcc) -> TrackScores:
        """Score a face track (n,): windows overlap by half, a frame has the mean of its scores.

        Args:
            stored: Crops, shape (N, 112, 112), of which no more than a batch is read at once.
            rows: Shape (n,): which of them show the face, frame by frame.
            mfcc: Of the same frames, shape (4n, 13) or longer.

        Raises:
            AsdtuneError: The network gives something that is no number.
        """
        n, size = len(rows), self.window_size
        mfcc = np.asarray(mfcc[: MFCC_PER_FRAME * n], np.float32)
        if n < size:  # as the toolkit does: a short track is repeated
            rows = np.resize(rows, size)
            mfcc = np.resize(mfcc, (size * MFCC_PER_FRAME, mfcc.shape[1]))
        starts = np.array([*range(0, len(rows) - size, max(1, size // 2)), len(rows) - size])
        totals, counts = np.zeros(len(rows)), np.zeros(len(rows))
        for begin in range(0, len(starts), self.batch_size):
            some = starts[begin : begin + self.batch_size]
            first, end = some[0], some[-1] + size
            scores = self._score_windows(
                stored[rows[first:end]],
                mfcc[MFCC_PER_FRAME * first : MFCC_PER_FRAME * end],
                some - first,
            )
            for at, of_window in zip(some, scores, strict=True):
                totals[at : at + size] += of_window
                counts[at : at + size] += 1
        return (totals / counts)[:n].astype(np.float32)

    def _score_windows(
        self, crops: FaceCrops, mfcc: Mfcc, starts: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score windows of a few seconds, which share what their frames have in common."""
        network, size, device = self.network, self.window_size, device_of(self.network)
        rows = MFCC_PER_FRAME * starts[:, None] + np.arange(MFCC_PER_FRAME * size)
        with inference(network, self.precision):
            features = encode_windows(network, crops, starts, size)
            logits = logits_of(
                network, to_device(features, device), to_device(mfcc[rows], device), Freeze.VISUAL
            )
            scores: npt.NDArray[np.float32] = (
                logits.audio_visual.float().softmax(-1)[..., 1].cpu().numpy()
            )
        return check_finite(scores)
