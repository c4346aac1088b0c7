"""What the frozen visual encoder makes of windows, computed once and kept while a run lasts.

`features.npy` (n, W, C) has a row for every distinct window of pictures; `features.json` tells of
which weights and windows they are, and how many rows are there, so that a pass that was stopped
goes on; `clips.txt` names the clips. Frames that windows share go through the encoder once, where
it sees so little at a time that this is exact (`StemNetwork`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asdtune.core.files import settings_hash, write_json, write_text
from asdtune.core.locks import stage_lock
from asdtune.core.models.network import Network
from asdtune.core.training.dataset import Batch, Rows, WindowDataset
from asdtune.core.training.devices import inference
from asdtune.core.training.encoding import Pictures, encode_windows
from asdtune.core.training.freezing import Freeze, hash_of_parts
from asdtune.errors import AsdtuneError

CACHED = {name: Path("features", name) for name in ("training", "validation")}  # of a run's folder
_ARRAY, _MARK, _CLIPS = "features.npy", "features.json", "clips.txt"
_OF_EARLIER_VERSIONS = {
    **dict.fromkeys(
        CACHED.values(),
        ("frames.npy", "edges.npy", "frames-edges.json", "visual.npy", "visual.json", "audio.npy",
         "audio.json"),
    ),
    Path("store"): ("crops.npy", "mfcc.npy", "waveforms.npy", "store.json"),
}  # fmt: skip
_SECONDS_BETWEEN_MARKS = 5.0


@dataclass(frozen=True)
class FeatureReport:
    """How much of a pass is done."""

    what: str
    n_done: int
    n_total: int


class FeatureWindows:
    """Windows whose pictures are features of the frozen encoder."""

    def __init__(self, windows: WindowDataset, folder: Path) -> None:
        """Open what `cache_features` has written for these windows."""
        self.windows, self.window_size = windows, windows.window_size
        self._features = np.load(folder / _ARRAY, mmap_mode="r").view(np.ndarray)
        self._place = Pictures.of(windows).place

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, rows: Sequence[int] | Rows) -> Batch:
        """Gather windows by their row in the split."""
        chosen = np.asarray(rows)
        labels = self.windows.learned_labels[chosen]
        return Batch(self._features[self._place[chosen]], self.windows.mfcc(chosen), labels)


def cache_splits(
    network: Network, windows: Mapping[str, WindowDataset], output_dir: Path, *, precision: str
) -> Iterator[FeatureReport]:
    """Compute the features of training and validation, as `cache_features` does."""
    for name, folder in CACHED.items():
        yield from cache_features(network, windows[name], output_dir / folder, precision=precision)


def cache_features(
    network: Network, windows: WindowDataset, folder: Path, *, precision: str
) -> Iterator[FeatureReport]:
    """Compute the features of all windows, unless they are there.

    They are float16 after computing in bf16, else float32.

    Args:
        network: Its visual encoder is used as it is.
        windows: Whose pictures.
        folder: Where the files go.
        precision: `fp32` or `bf16`.

    Yields:
        How many windows are done.
    """
    pictures = Pictures.of(windows)
    n, size = len(pictures.start), windows.window_size
    fingerprint = settings_hash(
        {
            "weights": hash_of_parts(network, Freeze.VISUAL),
            "windows": windows.fingerprint,
            "window_size": size,
            "precision": precision,
        }
    )
    array, n_done = _open(folder, (n, size, network.n_features), precision, fingerprint)
    write_text(folder / _CLIPS, "\n".join(str(path.absolute()) for path in pictures.paths))
    marked = time.monotonic()
    for path, of_clip in pictures.by_clip():
        if of_clip.stop <= n_done:
            continue
        with inference(network, precision):
            crops = windows.clips.crops(path)
            array[of_clip] = encode_windows(network, crops, pictures.start[of_clip], size)
        if of_clip.stop == n or time.monotonic() - marked > _SECONDS_BETWEEN_MARKS:
            marked = time.monotonic()
            array.flush()
            write_json(folder / _MARK, {"fingerprint": fingerprint, "n_done": of_clip.stop})
        yield FeatureReport("features, windows", of_clip.stop, n)


def remove_features(output_dir: Path) -> None:
    """Delete the cache in the folder of a run, and nothing else that lies there."""
    for folder in CACHED.values():
        _remove(output_dir / folder, (_ARRAY, _MARK, _CLIPS))
    for folder, names in _OF_EARLIER_VERSIONS.items():
        _remove(output_dir / folder, names)


def remove_stale_features(output_dir: Path) -> None:
    """Delete the cache in the folder of a run if a clip is gone, unless the run is at work."""
    clips: list[str] = []
    for folder in CACHED.values():
        with suppress(FileNotFoundError):
            text = (output_dir / folder / _CLIPS).read_text("utf-8", errors="surrogateescape")
            clips += text.split("\n")
    if not clips or not all(Path(name).exists() for name in clips):  # or nobody knows
        with suppress(AsdtuneError), stage_lock(output_dir, "train"):
            remove_features(output_dir)


def _remove(folder: Path, names: Iterable[str]) -> None:
    if folder.is_dir():
        for name in names:
            (folder / name).unlink(missing_ok=True)
        for emptied in (folder, folder.parent):
            with suppress(OSError):  # something else lies there
                emptied.rmdir()


def _open(
    folder: Path, shape: tuple[int, ...], precision: str, fingerprint: str
) -> tuple[np.memmap[Any, Any], int]:
    """Open the array and tell how much of it is there; begin anew where it is another's."""
    folder.mkdir(parents=True, exist_ok=True)
    path, mark_path = folder / _ARRAY, folder / _MARK
    try:
        mark = json.loads(mark_path.read_bytes())
        np.load(path, mmap_mode="r")  # refuses a cut file; "r+" would fill it with zeros
        found = np.lib.format.open_memmap(path, "r+")
        if mark["fingerprint"] == fingerprint and found.shape == shape:
            return found, int(mark["n_done"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    mark_path.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    dtype = np.dtype(np.float32 if precision == "fp32" else np.float16)
    return np.lib.format.open_memmap(path, "w+", dtype, shape), 0
