"""What the frozen visual front-end makes of each frame of the clips, computed once and stored.

For networks whose features look at other frames in their first layer only. A window sees zeros
beyond its first and last frame, so the features of its first and last two frames are not those of
the same frames within the clip. Both are stored: `frames.npy`, one row per frame of every clip, and
`edges.npy`, the frames at the edges of every distinct window. What is read back is what the network
computes of the window itself, within the precision of storing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asdtune.core.training.dataset import Batch, Rows, WindowDataset
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.scoring import to_device
from asdtune.core.training.stores import (
    BLOCK_FRAMES,
    Distinct,
    FeatureReport,
    Features,
    Integers,
    Store,
    computing_frozen,
    device_of,
    fingerprint,
    opened,
)

if TYPE_CHECKING:
    from asdtune.core.models.network import StemNetwork

ARRAYS = ("frames", "edges")


def edge_positions(window_size: int, reach: int) -> Integers:
    """List the frames of a window from which a front-end of some reach looks beyond it.

    Examples:
        >>> edge_positions(25, 2), edge_positions(3, 2)
        (array([ 0,  1, 23, 24]), array([0, 1, 2]))
    """
    i = np.arange(window_size)
    return i[np.minimum(i, window_size - 1 - i) < reach]


class FeatureWindows:
    """Windows whose pictures are features of the frozen visual front-end."""

    def __init__(self, windows: WindowDataset, folder: Path, *, reach: int) -> None:
        """Open what `store_features` has written for these windows."""
        self.windows = windows
        self.labels, self.window_size = windows.learned_labels, windows.window_size
        self._frames, self._edges = opened(folder, ARRAYS)
        pictures = Distinct(windows.video_paths, windows.video_starts)
        first_rows = _first_rows(windows, pictures)
        self._place = pictures.place
        self._first = (first_rows[pictures.clip] + pictures.start)[self._place]
        self._positions = edge_positions(self.window_size, reach)

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, rows: Sequence[int] | Rows) -> Batch:
        """Gather windows by their row in the split."""
        chosen = np.asarray(rows)
        return Batch(self.features(chosen), self.windows.mfcc(chosen), self.labels[chosen])

    def features(self, rows: Rows) -> Features:
        """Gather the features of windows, shape (B, W, C)."""
        size = self.window_size
        features = np.empty((len(rows), size, self._frames.shape[1]), self._frames.dtype)
        for target, first in zip(features, self._first[rows], strict=True):
            target[:] = self._frames[first : first + size]
        features[:, self._positions] = self._edges[self._place[rows]]
        return features


def store_features(
    network: StemNetwork, windows: WindowDataset, folder: Path, *, precision: str
) -> Iterator[FeatureReport]:
    """Compute the features of every frame of the clips, and of the edges of the windows.

    Args:
        network: Its visual front-end is used as it is.
        windows: Whose clips.
        folder: Where `frames.npy` and `edges.npy` go.
        precision: `fp32` or `bf16`.

    Yields:
        How many clips are done.
    """
    pictures = Distinct(windows.video_paths, windows.video_starts)
    first_rows = _first_rows(windows, pictures)
    bounds = np.searchsorted(pictures.clip, np.arange(len(pictures.paths) + 1))
    size, positions = windows.window_size, edge_positions(windows.window_size, network.stem_reach)
    width = network.n_features
    shapes = {
        "frames": (int(first_rows[-1]), width),
        "edges": (len(pictures.start), len(positions), width),
    }
    mark = fingerprint(network, windows, Freeze.VISUAL, precision)
    store = Store(folder, shapes, mark, precision)
    for i in range(store.n_done, len(pictures.paths)):
        crops = windows.clips.crops(pictures.paths[i])
        whole = np.arange(len(crops))
        of_clip = slice(bounds[i], bounds[i + 1])
        begins = np.repeat(pictures.start[of_clip], len(positions))
        at = begins + np.tile(positions, of_clip.stop - of_clip.start)
        with computing_frozen(network, precision):
            frames = _features_of(network, crops, whole, 0 * whole, 0 * whole + len(crops))
            edges = _features_of(network, crops, at, begins, begins + size)
        store.arrays["frames"][first_rows[i] : first_rows[i + 1]] = frames
        store.arrays["edges"][of_clip] = edges.reshape(-1, len(positions), width)
        store.mark(i + 1, len(pictures.paths))
        yield FeatureReport("features, clips", i + 1, len(pictures.paths))


def features_of_windows(
    network: StemNetwork, crops: npt.NDArray[Any], starts: Integers, window_size: int
) -> Features:
    """Compute the features of windows of a face track, those of frames that they share once.

    Args:
        network: In eval mode.
        crops: Shape (T, 112, 112).
        starts: Shape (n,): the first frame of each window.
        window_size: W, in video frames.

    Returns:
        Shape (n, W, C), float32: what the front-end makes of each window by itself.
    """
    positions, whole = edge_positions(window_size, network.stem_reach), np.arange(len(crops))
    begins = np.repeat(starts, len(positions))
    at = begins + np.tile(positions, len(starts))
    frames = _features_of(network, crops, whole, 0 * whole, 0 * whole + len(crops))
    features: Features = frames[starts[:, None] + np.arange(window_size)]
    edges = _features_of(network, crops, at, begins, begins + window_size)
    features[:, positions] = edges.reshape(len(starts), len(positions), -1)
    return features


def count_frames(windows: WindowDataset, *, reach: int) -> int:
    """Count what goes through the front-end: frames of clips, and those at edges of windows."""
    pictures = Distinct(windows.video_paths, windows.video_starts)
    n_edges = len(pictures.start) * len(edge_positions(windows.window_size, reach))
    return n_edges + int(_first_rows(windows, pictures)[-1])


def _first_rows(windows: WindowDataset, pictures: Distinct) -> Integers:
    """Give where the frames of each clip begin among those of all, and their number at the end."""
    return np.cumsum([0, *(len(windows.clips.crops(path)) for path in pictures.paths)])


def _features_of(
    network: StemNetwork, crops: npt.NDArray[Any], at: Integers, begins: Integers, ends: Integers
) -> Features:
    """Compute the features of frames of a clip that see no further than from begin to end.

    Args:
        network: The network.
        crops: Shape (T, 112, 112).
        at: Shape (n,): which frames.
        begins: Shape (n,): the first frame that each sees.
        ends: Shape (n,): the one after the last.

    Returns:
        Shape (n, C), float32.
    """
    device = device_of(network)
    taps = at[:, None] + np.arange(-network.stem_reach, network.stem_reach + 1)
    is_seen = (taps >= begins[:, None]) & (taps < ends[:, None])
    taps = np.clip(taps, 0, len(crops) - 1)
    parts = []
    for start in range(0, len(at), BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        stacks = network.normalise(to_device(crops[taps[block]], device))  # (n, 5, 112, 112)
        stacks = stacks * to_device(is_seen[block], device)[:, :, None, None]
        parts.append(network.encode_stacks(stacks[None])[0].float().cpu().numpy())
    return np.concatenate(parts)
