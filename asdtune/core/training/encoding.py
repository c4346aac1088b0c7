"""What the visual encoder makes of windows; frames that they share go through it once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.models.network import Network, StemNetwork
from asdtune.core.training.dataset import Rows, WindowDataset
from asdtune.core.training.devices import device_of, to_device

Features = npt.NDArray[np.floating[Any]]  # (n, W, C)
Integers = npt.NDArray[np.int64]

BLOCK_FRAMES = 64  # that go through the encoder at once: what is at work stays small


@dataclass(frozen=True)
class Pictures:
    """The distinct pictures of windows, by clip and then by first frame.

    Attributes:
        paths: Of the clips.
        clip: Shape (n,): the clip of each.
        start: Shape (n,): its first frame.
        place: Shape (N,): which one each window of the split has.
    """

    paths: list[Path]
    clip: Integers
    start: Integers
    place: Integers

    @classmethod
    def of(cls, windows: WindowDataset, rows: Rows | None = None) -> Pictures:
        """Find those of a split, or of some of its windows."""
        chosen = np.arange(len(windows)) if rows is None else rows
        paths, starts = [windows.video_paths[i] for i in chosen], windows.video_starts[chosen]
        number = {path: i for i, path in enumerate(dict.fromkeys(paths))}
        step = int(starts.max(initial=0)) + 1
        keys = np.array([number[path] for path in paths], np.int64) * step + starts
        distinct, place = np.unique(keys, return_inverse=True)
        return cls(list(number), *np.divmod(distinct, step), place)

    def by_clip(self) -> Iterator[tuple[Path, slice]]:
        """Give the clips, and which pictures are theirs."""
        bounds = np.searchsorted(self.clip, np.arange(len(self.paths) + 1)).tolist()
        for path, begin, end in zip(self.paths, bounds, bounds[1:], strict=False):
            yield path, slice(begin, end)


def encode_windows(
    network: Network, crops: npt.NDArray[Any], starts: Integers, window_size: int
) -> Features:
    """Compute the features of windows of a face track.

    Args:
        network: In eval mode.
        crops: Shape (T, 112, 112).
        starts: Shape (n,): the first frame of each window.
        window_size: W, in video frames.

    Returns:
        Shape (n, W, C), float32: what the encoder makes of each window by itself.
    """
    if isinstance(network, StemNetwork):
        return _encode_shared(network, crops, starts, window_size)
    parts, n_block = [], max(1, BLOCK_FRAMES // window_size)
    for begin in range(0, len(starts), n_block):
        frames = starts[begin : begin + n_block, None] + np.arange(window_size)
        pictures = to_device(crops[frames], device_of(network))
        parts.append(network.encode_frames(pictures).float().cpu().numpy())
    return np.concatenate(parts)


def _encode_shared(
    network: StemNetwork, crops: npt.NDArray[Any], starts: Integers, size: int
) -> Features:
    """Take frames that windows share through the network once.

    A window sees zeros beyond its ends, so that its first and last `stem_reach` frames are computed
    again, for each window by themselves.
    """
    at = np.arange(size)
    edges = at[np.minimum(at, size - 1 - at) < network.stem_reach]
    first, end = int(starts.min()), int(starts.max()) + size
    whole = np.arange(first, end)
    shared = _encode_frames(network, crops, whole, 0 * whole, 0 * whole + len(crops))
    features: Features = shared[(starts - first)[:, None] + at]
    begins = np.repeat(starts, len(edges))
    own = begins + np.tile(edges, len(starts))
    features[:, edges] = _encode_frames(network, crops, own, begins, begins + size).reshape(
        len(starts), len(edges), -1
    )
    return features


def _encode_frames(
    network: StemNetwork, crops: npt.NDArray[Any], at: Integers, begins: Integers, ends: Integers
) -> Features:
    """Compute the features (n, C) of frames of a clip that see no further than begin to end."""
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
