"""Face crops and MFCC on disk: `.npz` files with the key `data`, in and out.

We store them uncompressed, so that a window is read by mapping the file into memory and slicing
it, instead of inflating the whole clip (FACTS: upstream reads 35 windows a second that way).
Compressed files, as upstream writes them, are read too, as a whole.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.files import whole_file
from asdtune.core.rates import CROP_SIZE, MFCC_PER_FRAME, N_MFCC
from asdtune.errors import AsdtuneError

FaceCrops = npt.NDArray[np.uint8]  # (T, 112, 112), grey 0..255
Mfcc = npt.NDArray[np.float32]  # (4T, 13)

_LOCAL_HEADER_BYTES = 30
_NPY_HEADER_BYTES = 10  # of version 1.0; the last two are the length of what follows


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays to an uncompressed `.npz`, whole or not at all; same arrays, same bytes."""
    with whole_file(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)


def write_npz_rows(
    path: Path, rows: Iterable[bytes], *, shape: tuple[int, ...], **arrays: Any
) -> None:
    """Write an `.npz` whose `data` is uint8 and comes row by row, so that it never is in memory.

    Args:
        path: The file.
        rows: The bytes of `data`, one item along its first axis after the other.
        shape: Shape of `data`.
        arrays: Further arrays.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with whole_file(path) as beside:
        with beside.open("wb") as file:
            np.savez(file, **arrays)
        # An entry of a fixed date, as NumPy writes them: same arrays, same bytes.
        entry = zipfile.ZipInfo("data.npy")
        with (
            zipfile.ZipFile(beside, "a") as archive,
            archive.open(entry, "w", force_zip64=True) as member,
        ):
            np.lib.format.write_array_header_1_0(member, header)
            for row in rows:
                member.write(row)


def read_npz(path: Path, *keys: str) -> dict[str, npt.NDArray[Any]]:
    """Read the named arrays of an `.npz`, those that are there.

    Raises:
        AsdtuneError: The file is missing or is no `.npz`.
    """
    with _reading(path), path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {key: file[key] for key in keys if key in file}


def read_text(path: Path, key: str) -> str | None:
    """Read a text that is kept as an array, as NumPy would but faster; None where it is not there.

    Raises:
        AsdtuneError: The file is missing or is no `.npz`.
    """
    with _reading(path), zipfile.ZipFile(path) as archive:
        if f"{key}.npy" not in archive.namelist():
            return None
        raw = archive.read(f"{key}.npy")
        begin = _NPY_HEADER_BYTES + int.from_bytes(raw[8:_NPY_HEADER_BYTES], "little")
        return raw[begin:].decode("utf-32-le")


def read_marks(path: Path, key: str, n_rows: int) -> npt.NDArray[Any] | None:
    """Read an array with a number for each row; None where it is not that, as in foreign files.

    Raises:
        AsdtuneError: The file is missing or is no `.npz`.
    """
    return marks_in(read_npz(path, key), key, n_rows)


def marks_in(
    arrays: Mapping[str, npt.NDArray[Any]], key: str, n_rows: int
) -> npt.NDArray[Any] | None:
    """Give an array with a number for each row; None where it is not that, as in foreign files."""
    marks = arrays.get(key)
    if marks is None or marks.shape != (n_rows,) or marks.dtype.kind not in "buif":
        return None
    return marks if np.isfinite(marks).all() else None


def data_shape(path: Path) -> tuple[int, ...]:
    """Read the shape of `data` in an `.npz`, and nothing else, though the file be compressed.

    Raises:
        AsdtuneError: The file is missing, is no `.npz`, or has no `data`.
    """
    with _reading(path), zipfile.ZipFile(path) as archive, archive.open("data.npy") as file:
        return _read_header(file)[0]


def map_data(path: Path) -> npt.NDArray[Any]:
    """Map the array `data` of an `.npz` into memory; slices of it read only what they need.

    A compressed file is read as a whole instead.

    Raises:
        AsdtuneError: The file is missing, is no `.npz`, or has no `data`.
    """
    with _reading(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        member = archive.getinfo("data.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            return read_npz(path, "data")["data"]
        # The array begins behind the member's local header, whose last two fields are the
        # lengths of the name and of the extra field that follow it.
        file.seek(member.header_offset + _LOCAL_HEADER_BYTES - 4)
        n_name, n_extra = np.frombuffer(file.read(4), "<u2")
        file.seek(int(n_name) + int(n_extra), 1)
        shape, is_fortran, dtype = _read_header(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        order: Any = "F" if is_fortran else "C"
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape, order=order)


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and dtype where an array begins in a file."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def content_mark(path: Path, *keys: str) -> str:
    """Give checksum and size of `data`, or of other arrays, that the archive itself keeps.

    No array is read. An array that is not there is passed over, but for `data`.
    """
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = {"data.npy": archive.getinfo("data.npy")}
        members |= {member.filename: member for member in archive.infolist()}
    marked = [members.get(f"{key}.npy") for key in keys or ("data",)]
    return " ".join(f"{m.CRC:08x}-{m.file_size}" for m in marked if m is not None)


def check_face_crops(crops: npt.NDArray[Any], *, where: Path) -> None:
    """Refuse an array that is not (T, 112, 112) grey images."""
    if (
        crops.ndim != 3
        or crops.shape[1:] != (CROP_SIZE, CROP_SIZE)
        or crops.dtype.kind not in "uif"
    ):
        raise AsdtuneError(
            f"face crops must be numbers of shape (T, {CROP_SIZE}, {CROP_SIZE}), these are "
            f"{crops.dtype} {crops.shape}",
            where=where,
            fix="make them again with crops --overwrite",
        )


def check_mfcc(mfcc: npt.NDArray[Any], *, where: Path) -> None:
    """Refuse an array that is not (M, 13) MFCC frames."""
    if mfcc.ndim != 2 or mfcc.shape[1] != N_MFCC or mfcc.dtype.kind not in "uif":
        raise AsdtuneError(
            f"MFCC must be numbers of shape (M, {N_MFCC}), these are {mfcc.dtype} {mfcc.shape}",
            where=where,
            fix="make them again with mfcc --overwrite",
        )


def n_video_frames(crops: npt.NDArray[Any], mfcc: npt.NDArray[Any]) -> int:
    """Count the video frames that both face crops (T) and MFCC (M // 4) cover."""
    return min(len(crops), len(mfcc) // MFCC_PER_FRAME)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Make one `AsdtuneError` of whatever reading an array raises."""
    try:
        yield
    except AsdtuneError:
        raise
    except FileNotFoundError as error:
        raise AsdtuneError("no such file", where=path, fix="run crops and mfcc first") from error
    except Exception as error:  # NumPy parses headers as Python source: they may raise anything
        raise AsdtuneError(
            f"not a readable .npz file with an array `data` ({str(error) or type(error).__name__})",
            where=path,
            fix="delete it and run the stage that makes it again",
        ) from error


def runs_of(marks: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Give begin and end of each run of marked frames.

    Examples:
        >>> runs_of(np.array([True, True, False, True]))
        [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(marks.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
