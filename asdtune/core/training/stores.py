"""Arrays on disk that a pass over windows fills, and goes on filling after an interruption."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from asdtune.core.files import settings_hash, write_json
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.freezing import Freeze, hash_of_parts
from asdtune.core.training.precision import computing, in_use

if TYPE_CHECKING:
    from asdtune.core.models.network import Network

Features = npt.NDArray[np.floating[Any]]  # (..., C)
Integers = npt.NDArray[np.int64]

BLOCK_FRAMES = 64  # that go through an encoder at once: what is at work stays small
_SECONDS_BETWEEN_MARKS = 5.0  # of how far a pass is


@dataclass(frozen=True)
class FeatureReport:
    """How much of what is to be stored is there."""

    what: str
    n_done: int
    n_total: int


class Distinct:
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


class Store:
    """Arrays on disk that are filled from the beginning, and how far they are."""

    def __init__(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]], fingerprint: str, precision: str
    ) -> None:
        self._mark_path = folder / mark_name(tuple(shapes))
        self._fingerprint = fingerprint
        self._marked = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.npy" for name in shapes}
        self.arrays = self._found(paths, shapes)
        self.n_done = self._n_marked() if self.arrays else 0
        if self.n_done == 0:
            self._mark_path.unlink(missing_ok=True)
            dtype = np.dtype(np.float32 if precision == "fp32" else np.float16)
            for name, path in paths.items():
                path.unlink(missing_ok=True)
                self.arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, shapes[name])
                _reserve(path)

    def _n_marked(self) -> int:
        """Read how far an earlier pass of the same content was."""
        try:
            mark = json.loads(self._mark_path.read_bytes())
            return int(mark["n_done"]) if mark["fingerprint"] == self._fingerprint else 0
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0

    @staticmethod
    def _found(
        paths: Mapping[str, Path], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.memmap[Any, Any]]:
        """Open the arrays that are there; none if one is missing, cut or of another size."""
        try:
            for path in paths.values():
                np.load(path, mmap_mode="r")  # refuses a cut file; "r+" would fill it with zeros
            found = {name: np.lib.format.open_memmap(path, "r+") for name, path in paths.items()}
        except (OSError, ValueError):
            return {}
        return found if all(found[name].shape == shapes[name] for name in shapes) else {}

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
def computing_frozen(network: Network, precision: str) -> Iterator[None]:
    """Compute without learning, as the network is used."""
    with in_use(network), torch.inference_mode(), computing(precision, device_of(network)):
        yield


def opened(folder: Path, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Map the arrays of a store into memory."""
    return [np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in names]


def mark_name(names: Sequence[str]) -> str:
    """Name the file that tells how far a store of these arrays is."""
    return f"{'-'.join(names)}.json"


def fingerprint(network: Network, windows: WindowDataset, freeze: Freeze, precision: str) -> str:
    """Tell what decides the content of a store."""
    return settings_hash(
        {
            "weights": hash_of_parts(network, freeze),
            "windows": windows.fingerprint,
            "window_size": windows.window_size,
            "precision": precision,
        }
    )


def device_of(network: Network) -> torch.device:
    """Give where the network's weights are."""
    return next(network.parameters()).device
