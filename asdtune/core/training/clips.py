"""The files of clips, mapped into memory: a window is a slice, whatever the number of clips."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.arrays import (
    FaceCrops,
    Mfcc,
    check_face_crops,
    check_mfcc,
    map_data,
    read_npz,
)

Waveform = npt.NDArray[np.int16]  # (n,), 16 kHz

_N_AXES_OF_CROPS = 3
_N_HELD = 16  # files held in memory at once, of those that cannot be mapped


class ClipFiles:
    """Gives the arrays of a clip by the paths that a split names."""

    def __init__(self) -> None:
        self._mapped = lru_cache(maxsize=_n_mapped())(_map)
        self._held = lru_cache(maxsize=_N_HELD)(_read)
        self._sound = lru_cache(maxsize=_N_HELD)(_read_waveform)

    def crops(self, path: Path) -> FaceCrops:
        """Give face crops, (T, 112, 112); refuse an array that is none."""
        data = self._data(path)
        check_face_crops(data, where=path)
        return data

    def mfcc(self, path: Path) -> Mfcc:
        """Give MFCC, (M, 13); refuse an array that is none."""
        data = self._data(path)
        check_mfcc(data, where=path)
        return data

    def waveform(self, path: Path) -> Waveform:
        """Give the sound of an MFCC file, (n,); empty where it was not kept."""
        return self._sound(path)

    def _data(self, path: Path) -> npt.NDArray[Any]:
        data = self._mapped(path)
        return self._held(path) if data is None else data


def _n_mapped() -> int:
    """Give how many files to keep mapped: an eighth of those that may be open."""
    try:
        import resource
    except ImportError:  # Windows
        return 512
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 8192 if soft < 0 else min(max(soft // 8, 16), 8192)


def _map(path: Path) -> npt.NDArray[Any] | None:
    """Map an array; None where that cannot be, or its numbers have to be changed."""
    data = map_data(path)
    is_changed = data.ndim == _N_AXES_OF_CROPS and data.dtype.kind == "f"
    if is_changed or not isinstance(data, np.memmap):
        return None
    return data.view(np.ndarray)  # slices cost a fifth of a memmap's


def _read(path: Path) -> npt.NDArray[Any]:
    data = np.asarray(map_data(path))
    if data.ndim == _N_AXES_OF_CROPS and data.dtype.kind == "f":  # of upstream, with missing faces
        data = np.clip(np.rint(data), 0, 255).astype(np.uint8)
    return data


def _read_waveform(path: Path) -> Waveform:
    found = read_npz(path, "waveform").get("waveform", np.zeros(0, np.int16))
    return found if found.ndim == 1 and found.dtype == np.int16 else np.zeros(0, np.int16)
