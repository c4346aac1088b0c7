"""Files that appear whole or not at all, and the fingerprints that tell whether they are fresh."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 1 << 20


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside the target to write to, and rename it over the target on success.

    The name beside is the same each time, so that what a killed process left is overwritten by the
    next run and nothing piles up. On an error the target stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    short = hashlib.blake2b(path.name.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    beside = path.with_name(f".{short}.part")  # a long name must not grow longer
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        if error.filename in (None, beside, str(beside)):  # a disk that fills up names none
            error.filename = path
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file with Unix line ends, whole or not at all."""
    with whole_file(path) as beside:
        beside.write_bytes(text.encode(errors="surrogateescape"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def content_hash(path: Path) -> str:
    """Hash what a file holds (BLAKE2b, 32 hexadecimal digits)."""
    return _digest(path, hashlib.blake2b(digest_size=16))


def sha256(path: Path) -> str:
    """Hash what a file holds, as `sha256sum` does."""
    return _digest(path, hashlib.sha256())


def text_hash(text: str) -> str:
    """Hash a text (BLAKE2b, 32 hexadecimal digits)."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def bytes_hash(blocks: Iterable[bytes]) -> str:
    """Hash bytes that come in blocks (BLAKE2b, 32 hexadecimal digits)."""
    digest = hashlib.blake2b(digest_size=16)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def settings_hash(settings: dict[str, Any]) -> str:
    """Hash settings that JSON can express, independent of their order (32 hexadecimal digits)."""
    return text_hash(json.dumps(settings, sort_keys=True))


def delete_empty_folders(paths: Iterable[Path], root: Path) -> None:
    """Delete the folders of files that are gone, up to a folder above them, where nothing is left.

    Not while others make folders there to write into.
    """
    for path in paths:
        folder = path.parent
        while folder != root:
            try:
                folder.rmdir()
            except OSError:  # not empty, or not there
                break
            folder = folder.parent


def relative(path: Path, folder: Path) -> str:
    """Give a path as seen from a folder, with `/`; absolute where it is on another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def _digest(path: Path, digest: Any) -> str:  # hashlib has no name for what it makes
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return str(digest.hexdigest())
