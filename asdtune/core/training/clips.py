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

_N_READ = 16  # files held in memory at once, of those that cannot be mapped


class ClipFiles:
    """Gives the arrays of a clip by the paths that a split names."""

    def __init__(self) -> None:
        self._mapped: dict[Path, npt.NDArray[Any]] = {}
        self._read = lru_cache(maxsize=_N_READ)(map_data)
        self._sound = lru_cache(maxsize=_N_READ)(_read_waveform)

    def crops(self, path: Path) -> FaceCrops:
        """Give face crops, (T, 112, 112); refuse an array that is none."""
        data = self._data(path)
        check_face_crops(data, where=path)
        if data.dtype.kind == "f":  # as upstream writes clips with missing faces
            data = np.clip(np.rint(data), 0, 255)
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
        if path in self._mapped:
            return self._mapped[path]
        data = self._read(path)
        if isinstance(data, np.memmap):
            data = self._mapped[path] = data.view(np.ndarray)  # slices cost a fifth of a memmap's
        return data


def _read_waveform(path: Path) -> Waveform:
    found = read_npz(path, "waveform").get("waveform", np.zeros(0, np.int16))
    return found if found.ndim == 1 and found.dtype == np.int16 else np.zeros(0, np.int16)
