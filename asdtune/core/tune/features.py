"""What frozen parts of a network make of the windows of a split, computed once and stored.

A window sees zeros beyond its first and last frame, so the features of its first and last two
frames are not those of the same frames within the clip. Both are stored: `frames.npy`, one row per
frame of every clip, and `edges.npy`, the frames at the edges of every distinct window. What is
read back is what the network computes of the window itself, within the precision of storing.
Where both front-ends are frozen, `visual.npy` and `audio.npy` hold embeddings of every distinct
window as well: they look at the whole window.

The files are float16 after computing in bf16, else float32. A pass that was interrupted goes on
where it was; files of other weights or windows are written anew.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from asdtune.core.files import settings_hash, write_json
from asdtune.core.networks.talknet import STEM_REACH
from asdtune.core.tune.dataset import Batch, Rows, WindowDataset
from asdtune.core.tune.freezing import Freeze, hash_of_parts
from asdtune.core.tune.precision import computing, in_use
from asdtune.core.tune.scoring import to_device

if TYPE_CHECKING:
    from asdtune.core.networks.talknet import TalkNet

Features = npt.NDArray[np.floating[Any]]  # (..., C)
Integers = npt.NDArray[np.int64]

_BLOCK_FRAMES = 64  # that go through the front-end at once: what is at work stays small
_BLOCK_WINDOWS = 32
_SECONDS_BETWEEN_MARKS = 5.0  # of how far a pass is
_FEATURES, _EMBEDDINGS = ("frames", "edges"), ("visual", "audio")


@dataclass(frozen=True)
class FeatureReport:
    """How much of what is to be stored is there."""

    what: str
    n_done: int
    n_total: int


def edge_positions(window_size: int) -> Integers:
    """List the frames of a window from which the front-end looks beyond it.

    Examples:
        >>> edge_positions(25), edge_positions(3)
        (array([ 0,  1, 23, 24]), array([0, 1, 2]))
    """
    i = np.arange(window_size)
    return i[np.minimum(i, window_size - 1 - i) < STEM_REACH]


class FeatureWindows:
    """Windows whose pictures are features of the frozen visual front-end."""

    def __init__(self, windows: WindowDataset, folder: Path) -> None:
        """Open what `store_features` has written for these windows."""
        self.windows = windows
        self.labels, self.window_size = windows.labels, windows.window_size
        self._frames, self._edges = _opened(folder, _FEATURES)
        pictures = _Distinct(windows.video_paths, windows.video_starts)
        first_rows = _first_rows(windows, pictures)
        self._place = pictures.place
        self._first = (first_rows[pictures.clip] + pictures.start)[self._place]
        self._positions = edge_positions(self.window_size)

    def __len__(self) -> int:
        return len(self.labels)

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


class EmbeddingWindows:
    """Windows whose pictures and sounds are embeddings of frozen front-ends."""

    def __init__(self, windows: WindowDataset, folder: Path) -> None:
        """Open what `store_embeddings` has written for these windows."""
        self.labels, self.window_size = windows.labels, windows.window_size
        self._visual, self._audio = _opened(folder, _EMBEDDINGS)
        self._pictures = _Distinct(windows.video_paths, windows.video_starts).place
        self._sounds = _Distinct(windows.audio_paths, windows.audio_starts).place

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Sequence[int] | Rows) -> Batch:
        """Gather windows by their row in the split."""
        chosen = np.asarray(rows)
        visual, audio = self._visual[self._pictures[chosen]], self._audio[self._sounds[chosen]]
        return Batch(visual, audio, self.labels[chosen])


def store_features(
    network: TalkNet, windows: WindowDataset, folder: Path, *, precision: str
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
    pictures = _Distinct(windows.video_paths, windows.video_starts)
    first_rows = _first_rows(windows, pictures)
    bounds = np.searchsorted(pictures.clip, np.arange(len(pictures.paths) + 1))
    size, positions = windows.window_size, edge_positions(windows.window_size)
    width = network.n_features
    shapes = {
        "frames": (int(first_rows[-1]), width),
        "edges": (len(pictures.start), len(positions), width),
    }
    mark = _fingerprint(network, windows, Freeze.VISUAL, precision)
    store = _Store(folder, shapes, mark, precision)
    for i in range(store.n_done, len(pictures.paths)):
        crops = windows.clips.crops(pictures.paths[i])
        whole = np.arange(len(crops))
        of_clip = slice(bounds[i], bounds[i + 1])
        begins = np.repeat(pictures.start[of_clip], len(positions))
        at = begins + np.tile(positions, of_clip.stop - of_clip.start)
        with _computing(network, precision):
            frames = _features_of(network, crops, whole, 0 * whole, 0 * whole + len(crops))
            edges = _features_of(network, crops, at, begins, begins + size)
        store.arrays["frames"][first_rows[i] : first_rows[i + 1]] = frames
        store.arrays["edges"][of_clip] = edges.reshape(-1, len(positions), width)
        store.mark(i + 1, len(pictures.paths))
        yield FeatureReport("features, clips", i + 1, len(pictures.paths))


def store_embeddings(
    network: TalkNet, windows: WindowDataset, folder: Path, *, precision: str
) -> Iterator[FeatureReport]:
    """Compute the embeddings of the distinct windows, from the features that are stored there.

    Args:
        network: Its encoders are used as they are.
        windows: Whose pictures and sounds.
        folder: Where `frames.npy` and `edges.npy` are, and `visual.npy` and `audio.npy` go.
        precision: `fp32` or `bf16`.

    Yields:
        How many windows are done.
    """
    pictures = _Distinct(windows.video_paths, windows.video_starts)
    sounds = _Distinct(windows.audio_paths, windows.audio_starts)
    n_video, n_total = len(pictures.row), len(pictures.row) + len(sounds.row)
    source, device = FeatureWindows(windows, folder), _device(network)
    width, size = network.lossV.FC.in_features, windows.window_size
    shapes = {"visual": (n_video, size, width), "audio": (len(sounds.row), size, width)}
    mark = _fingerprint(network, windows, Freeze.FRONTENDS, precision)
    store = _Store(folder, shapes, mark, precision)
    begin = store.n_done
    while begin < n_total:
        is_video = begin < n_video
        end = min(begin + _BLOCK_WINDOWS, n_video if is_video else n_total)
        with _computing(network, precision):
            if is_video:
                features = source.features(pictures.row[begin:end])
                embedded = network.embed_features(to_device(features, device).float())
            else:
                mfcc = windows.mfcc(sounds.row[begin - n_video : end - n_video])
                embedded = network.encode_mfcc(to_device(mfcc, device))
        name, n_before = ("visual", 0) if is_video else ("audio", n_video)
        store.arrays[name][begin - n_before : end - n_before] = embedded.float().cpu().numpy()
        store.mark(end, n_total)
        yield FeatureReport("embeddings, windows", end, n_total)
        begin = end


def remove_features(folder: Path) -> None:
    """Delete what is stored, and nothing else that lies there."""
    for names in (_FEATURES, _EMBEDDINGS):
        for name in (_mark_name(names), *(f"{name}.npy" for name in names)):
            (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def distinct_frames(windows: WindowDataset) -> int:
    """Count what goes through the front-end: frames of clips, and those at edges of windows."""
    pictures = _Distinct(windows.video_paths, windows.video_starts)
    n_edges = len(pictures.start) * len(edge_positions(windows.window_size))
    return n_edges + int(_first_rows(windows, pictures)[-1])


class _Distinct:
    """The distinct (file, start) among those of windows, by file and then by start.

    Attributes:
        paths: The files, in the order of their first window.
        clip: Shape (n,): the file of each.
        start: Shape (n,).
        row: Shape (n,): a window that has it.
        place: Shape (N,): which one each window has.
    """

    def __init__(self, paths: Sequence[Path], starts: Integers) -> None:
        number = {path: i for i, path in enumerate(dict.fromkeys(paths))}
        self.paths = list(number)
        step = int(starts.max()) + 1
        keys = np.array([number[path] for path in paths], np.int64) * step + starts
        distinct, self.row, self.place = np.unique(keys, return_index=True, return_inverse=True)
        self.clip, self.start = np.divmod(distinct, step)


def _first_rows(windows: WindowDataset, pictures: _Distinct) -> Integers:
    """Give where the frames of each clip begin among those of all, and their number at the end."""
    return np.cumsum([0, *(len(windows.clips.crops(path)) for path in pictures.paths)])


class _Store:
    """Arrays on disk that are filled from the beginning, and how far they are."""

    def __init__(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]], fingerprint: str, precision: str
    ) -> None:
        self._mark_path = folder / _mark_name(tuple(shapes))
        self._fingerprint = fingerprint
        self._marked = time.monotonic()
        try:
            mark = json.loads(self._mark_path.read_bytes())
            self.n_done = int(mark["n_done"]) if mark["fingerprint"] == fingerprint else 0
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self.n_done = 0
        folder.mkdir(parents=True, exist_ok=True)
        dtype = np.dtype(np.float32 if precision == "fp32" else np.float16)
        self.arrays = {}
        if not all((folder / f"{name}.npy").is_file() for name in shapes):
            self.n_done = 0
        if self.n_done == 0:
            self._mark_path.unlink(missing_ok=True)
        for name, shape in shapes.items():
            path = folder / f"{name}.npy"
            mode: Literal["r+", "w+"] = "r+" if self.n_done else "w+"
            self.arrays[name] = np.lib.format.open_memmap(path, mode, dtype, shape)
            _reserve(path)

    def mark(self, n_done: int, n_total: int) -> None:
        """Note how far it is, now and then and at the end."""
        now = time.monotonic()
        if n_done < n_total and now - self._marked < _SECONDS_BETWEEN_MARKS:
            return
        self._marked = now
        for array in self.arrays.values():
            array.flush()
        write_json(self._mark_path, {"fingerprint": self._fingerprint, "n_done": n_done})


def _reserve(path: Path) -> None:
    """Take all of a file's room on the disk: a full disk is an error now, and no crash later."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


@contextmanager
def _computing(network: TalkNet, precision: str) -> Iterator[None]:
    """Compute without learning, as the network is used."""
    with in_use(network), torch.inference_mode(), computing(precision, _device(network)):
        yield


def _features_of(
    network: TalkNet, crops: npt.NDArray[Any], at: Integers, begins: Integers, ends: Integers
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
    device = _device(network)
    taps = at[:, None] + np.arange(-STEM_REACH, STEM_REACH + 1)
    is_seen = (taps >= begins[:, None]) & (taps < ends[:, None])
    taps = np.clip(taps, 0, len(crops) - 1)
    parts = []
    for start in range(0, len(at), _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        stacks = network.normalise(to_device(crops[taps[block]], device))  # (n, 5, 112, 112)
        stacks = stacks * to_device(is_seen[block], device)[:, :, None, None]
        parts.append(network.encode_stacks(stacks[None])[0].float().cpu().numpy())
    return np.concatenate(parts)


def _opened(folder: Path, names: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    return [np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in names]


def _mark_name(names: tuple[str, ...]) -> str:
    return f"{'-'.join(names)}.json"


def _fingerprint(network: TalkNet, windows: WindowDataset, freeze: Freeze, precision: str) -> str:
    return settings_hash(
        {
            "weights": hash_of_parts(network, freeze),
            "windows": windows.fingerprint,
            "window_size": windows.window_size,
            "precision": precision,
        }
    )


def _device(network: TalkNet) -> torch.device:
    return next(network.parameters()).device
