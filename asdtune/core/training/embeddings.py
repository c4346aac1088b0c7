"""What frozen encoders make of whole windows, computed once and stored.

`visual.npy` and `audio.npy` hold the embeddings of every distinct window of pictures and of sound,
for encoders that look at the whole window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from asdtune.core.training.dataset import Batch, Rows, WindowDataset
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.scoring import to_device
from asdtune.core.training.stores import (
    BLOCK_FRAMES,
    Distinct,
    FeatureReport,
    Store,
    computing_frozen,
    device_of,
    fingerprint,
    opened,
)

if TYPE_CHECKING:
    from asdtune.core.models.network import Network
    from asdtune.core.training.features import FeatureWindows

VISUAL, AUDIO = "visual", "audio"


class EmbeddingWindows:
    """Windows whose pictures, and sounds if they are stored too, are embeddings."""

    def __init__(self, windows: WindowDataset, folder: Path, *, has_audio: bool) -> None:
        """Open what `store_visual`, and `store_audio`, have written for these windows."""
        self.windows = windows
        self.labels, self.window_size = windows.learned_labels, windows.window_size
        (self._visual,) = opened(folder, (VISUAL,))
        self._pictures = Distinct(windows.video_paths, windows.video_starts).place
        self._audio = None
        if has_audio:
            (self._audio,) = opened(folder, (AUDIO,))
            self._sounds = Distinct(windows.audio_paths, windows.audio_starts).place

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, rows: Sequence[int] | Rows) -> Batch:
        """Gather windows by their row in the split."""
        chosen = np.asarray(rows)
        if self._audio is None:
            sound = self.windows.mfcc(chosen)
        else:
            sound = self._audio[self._sounds[chosen]]
        return Batch(self._visual[self._pictures[chosen]], sound, self.labels[chosen])


def store_visual(
    network: Network,
    windows: WindowDataset,
    folder: Path,
    *,
    freeze: Freeze,
    precision: str,
    features: FeatureWindows | None = None,
) -> Iterator[FeatureReport]:
    """Compute the embeddings of the distinct windows of pictures.

    Args:
        network: Its visual encoder is used as it is.
        windows: Whose pictures.
        folder: Where `visual.npy` goes.
        freeze: What of the network is frozen.
        precision: `fp32` or `bf16`.
        features: The features of their frames, where those are stored already.

    Yields:
        How many windows are done.
    """

    def embed(rows: Rows) -> Tensor:
        if features is not None:
            return network.embed_features(to_device(features.features(rows), device).float())
        return network.embed_features(network.encode_frames(to_device(windows.crops(rows), device)))

    device = device_of(network)
    distinct = Distinct(windows.video_paths, windows.video_starts)
    mark = fingerprint(network, windows, freeze, precision)
    yield from _store(network, VISUAL, distinct.row, embed, windows, folder, mark, precision)


def store_audio(
    network: Network, windows: WindowDataset, folder: Path, *, precision: str
) -> Iterator[FeatureReport]:
    """Compute the embeddings of the distinct windows of sound; as `store_visual`."""

    def embed(rows: Rows) -> Tensor:
        return network.encode_mfcc(to_device(windows.mfcc(rows), device))

    device = device_of(network)
    distinct = Distinct(windows.audio_paths, windows.audio_starts)
    mark = fingerprint(network, windows, Freeze.FRONTENDS, precision)
    yield from _store(network, AUDIO, distinct.row, embed, windows, folder, mark, precision)


def _store(
    network: Network,
    name: str,
    rows: Rows,
    embed: Callable[[Rows], Tensor],
    windows: WindowDataset,
    folder: Path,
    mark: str,
    precision: str,
) -> Iterator[FeatureReport]:
    """Fill the array of that name with the embeddings of some windows."""
    shape = (len(rows), windows.window_size, network.n_embedding)
    store = Store(folder, {name: shape}, mark, precision)
    n_block = max(1, BLOCK_FRAMES // windows.window_size)
    for begin in range(store.n_done, len(rows), n_block):
        block = rows[begin : begin + n_block]
        end = begin + len(block)
        with computing_frozen(network, precision):
            store.arrays[name][begin:end] = embed(block).float().cpu().numpy()
        store.mark(end, len(rows))
        yield FeatureReport(f"{name} embeddings, windows", end, len(rows))
