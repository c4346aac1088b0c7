"""Where the windows of a run are cut from: the files of the clips, or one packed store of them.

The store is a folder with `crops.npy` (N, 112, 112) uint8, `mfcc.npy` (M, 13) float32, where voices
are mixed `waveforms.npy` (S,) int16, and `store.json`: which rows belong to which file, and the
fingerprint of all that was packed. It is built once and mapped into memory: a window is a slice,
whatever the number of clips and however their files were compressed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from asdtune.core.arrays import (
    FaceCrops,
    Mfcc,
    check_face_crops,
    check_mfcc,
    content_mark,
    map_data,
    read_npz,
)
from asdtune.core.files import relative, text_hash, whole_file, write_json
from asdtune.core.rates import CROP_SIZE, N_MFCC

logger = logging.getLogger(__name__)

Waveform = npt.NDArray[np.int16]  # (n,), 16 kHz

STORE_JSON = "store.json"
_N_MAPPED = 16  # files held open at once; compressed ones are held in memory


class Clips(Protocol):
    """Gives the arrays of a clip by the paths that a split names."""

    def crops(self, path: Path) -> FaceCrops:
        """Give the face crops of a file, (T, 112, 112)."""

    def mfcc(self, path: Path) -> Mfcc:
        """Give the MFCC of a file, (M, 13)."""

    def waveform(self, path: Path) -> Waveform:
        """Give the sound of an MFCC file, (n,); empty where it was not kept."""


class ClipFiles:
    """The `.npz` files themselves, each mapped into memory when it is asked for."""

    def __init__(self) -> None:
        self._map = lru_cache(maxsize=_N_MAPPED)(map_data)

    def crops(self, path: Path) -> FaceCrops:
        """Map face crops; refuse an array that is none."""
        data = self._map(path)
        check_face_crops(data, where=path)
        return data

    def mfcc(self, path: Path) -> Mfcc:
        """Map MFCC; refuse an array that is none."""
        data = self._map(path)
        check_mfcc(data, where=path)
        return data

    def waveform(self, path: Path) -> Waveform:
        """Read the sound of an MFCC file."""
        found = read_npz(path, "waveform").get("waveform", np.zeros(0, np.int16))
        is_sound = found.ndim == 1 and found.dtype == np.int16
        return found if is_sound else np.zeros(0, np.int16)


class ClipStore:
    """Clips packed into a few memory-mapped arrays."""

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        """Open a store that `build_store` has built, to be asked for these files."""
        spans = json.loads((folder / STORE_JSON).read_bytes())["spans"]
        names = {path: relative(path, folder) for path in paths}
        self._views: dict[str, dict[Path, npt.NDArray[Any]]] = {}
        for kind, of_kind in spans.items():
            mapped = np.load(folder / f"{kind}.npy", mmap_mode="r")
            data = mapped.view(np.ndarray)  # slices of it cost a fifth of those of a memmap
            self._views[kind] = {
                path: data[of_kind[name][0] :][: of_kind[name][1]]
                for path, name in names.items()
                if name in of_kind
            }

    def crops(self, path: Path) -> FaceCrops:
        """Give the face crops of a file."""
        return self._views["crops"][path]

    def mfcc(self, path: Path) -> Mfcc:
        """Give the MFCC of a file."""
        return self._views["mfcc"][path]

    def waveform(self, path: Path) -> Waveform:
        """Give the sound of an MFCC file."""
        if "waveforms" not in self._views:
            return np.zeros(0, np.int16)
        return self._views["waveforms"][path]


def build_store(
    folder: Path, crops_paths: Sequence[Path], mfcc_paths: Sequence[Path], *, has_waveforms: bool
) -> None:
    """Build the store of these files, unless it is there already and whole.

    Raises:
        AsdtuneError: A file is missing or bad.
    """
    fingerprint = _fingerprint(folder, crops_paths, mfcc_paths, has_waveforms)
    if _read_fingerprint(folder) == fingerprint:
        with suppress(OSError, ValueError, KeyError):  # somebody deleted or cut a file of it
            ClipStore(folder, [*crops_paths, *mfcc_paths])
            return
    logger.info("packing %d clips into %s", len(crops_paths), folder)
    (folder / STORE_JSON).unlink(missing_ok=True)
    files = ClipFiles()
    shape = (CROP_SIZE, CROP_SIZE)
    spans = {
        "crops": _pack(folder / "crops.npy", crops_paths, files.crops, np.uint8, shape),
        "mfcc": _pack(folder / "mfcc.npy", mfcc_paths, files.mfcc, np.float32, (N_MFCC,)),
    }
    if has_waveforms:
        target = folder / "waveforms.npy"
        spans["waveforms"] = _pack(target, mfcc_paths, files.waveform, np.int16, ())
    write_json(folder / STORE_JSON, {"fingerprint": fingerprint, "spans": spans})


def _pack(
    target: Path,
    paths: Sequence[Path],
    read: Callable[[Path], npt.NDArray[Any]],
    dtype: type[np.generic],
    item_shape: tuple[int, ...],
) -> dict[str, list[int]]:
    """Write the arrays of files one after the other; give first row and number of rows of each."""
    lengths = [len(read(path)) for path in paths]
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": (sum(lengths), *item_shape),
    }
    with whole_file(target) as beside, beside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for path in paths:
            for block in _blocks(read(path)):
                file.write(_as_type(block, dtype).tobytes())
    firsts = np.cumsum([0, *lengths])[:-1].tolist()
    return {
        relative(path, target.parent): [first, n]
        for path, first, n in zip(paths, firsts, lengths, strict=True)
    }


def _blocks(data: npt.NDArray[Any], n_rows: int = 1024) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, len(data), n_rows):
        yield data[start : start + n_rows]


def _as_type(block: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    if dtype is np.uint8 and block.dtype.kind == "f":  # as upstream writes clips with missing faces
        block = np.clip(np.rint(block), 0, 255)
    typed: npt.NDArray[Any] = block.astype(dtype, copy=False)
    return typed


def _fingerprint(
    folder: Path, crops_paths: Sequence[Path], mfcc_paths: Sequence[Path], has_waveforms: bool
) -> str:
    """Tell what is packed; paths as seen from the folder, wherever that is mounted."""
    lines = [f"{relative(path, folder)} {content_mark(path)}" for path in crops_paths]
    keys = ("data", "waveform") if has_waveforms else ("data",)
    lines += [f"{relative(path, folder)} {content_mark(path, *keys)}" for path in mfcc_paths]
    return text_hash("\n".join(lines))


def _read_fingerprint(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / STORE_JSON).read_bytes())["fingerprint"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
