"""A copy of a folder, without what is heavy in it: weights, media, archives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asdtune.errors import AsdtuneError

# fmt: off
_HEAVY = frozenset([
    ".avi", ".bin", ".caffemodel", ".ckpt", ".flac", ".gz", ".h5", ".m4a", ".mkv", ".model", ".mov",
    ".mp3", ".mp4", ".npz", ".ogg", ".onnx", ".pkl", ".pt", ".pth", ".safetensors", ".tar", ".wav",
    ".webm", ".zip",
])
# fmt: on
_LARGEST_BYTES = 10_000_000  # of what is no source


def copy_light(source: Path, target: Path, *, is_left: Callable[[Path], bool]) -> None:
    """Copy a folder without what is heavy, what is no file, and links into themselves.

    What links lead to is copied, so that nothing is written through them.

    Args:
        source: The folder.
        target: Its copy, which is not there yet.
        is_left: Tells what else is not copied.

    Raises:
        AsdtuneError: Something cannot be read or written.
    """
    inside = target.parent.resolve()

    def left(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if is_unfit(Path(folder, name))]

    def is_unfit(path: Path) -> bool:
        return is_left(path) or _is_heavy(path) or _leads_to(path, inside)

    with told_what_is_copied(source, target):
        shutil.copytree(source, target, ignore=left)


@contextmanager
def told_what_is_copied(source: Path, target: Path) -> Iterator[None]:
    """Say in our words what could not be copied."""
    try:
        yield
    except OSError as error:
        found = error.args[0] if isinstance(error, shutil.Error) else None
        path, _, why = found[0] if found else (error.filename or source, None, error.strerror)
        raise AsdtuneError(
            f"{path} cannot be copied ({why or error})",
            where=source,
            fix=f"see that it can be read, and that there is room for a copy in {target.parent}: "
            "the environment variable TMPDIR names another place",
        ) from error


def _is_heavy(path: Path) -> bool:
    """Tell what nobody misses; a fifo, a device, a link to nothing could not be copied at all."""
    if path.is_dir():
        return False
    if not path.is_file() or path.suffix.lower() in _HEAVY:
        return True
    return path.suffix != ".py" and path.stat().st_size > _LARGEST_BYTES


def _leads_to(path: Path, target: Path) -> bool:
    """Tell whether a folder holds itself by a link, or is where the copy goes."""
    if not path.is_dir():
        return False
    real = Path(os.path.realpath(path))
    return real == target or (path.is_symlink() and path.parent.resolve().is_relative_to(real))
