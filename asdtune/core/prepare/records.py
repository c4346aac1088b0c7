"""What each finished piece of work leaves: its fingerprint, and what it made of what.

Records lie under `<output>/.asdtune/<stage>/`, hidden from every listing of outputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from asdtune.core.files import text_hash
from asdtune.errors import AsdtuneError

RECORDS_DIR = ".asdtune"
FAILED = "failed"  # the state of a work that was begun and could not be done


@contextmanager
def stage_lock(output_dir: Path, stage: str) -> Iterator[None]:
    """Let one process at a time work on a folder; may be taken again by its holder.

    Raises:
        AsdtuneError: Another process holds it.
    """
    folder = output_dir / RECORDS_DIR
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{stage}.lock", timeout=0, is_singleton=True)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise AsdtuneError(
            f"another asdtune {stage} is at work in this folder",
            where=output_dir,
            fix="wait for it, or end it; then run this command again",
        ) from error


@contextmanager
def work_lock(record_path: Path) -> Iterator[None]:
    """Wait until nobody else does this work, and keep others from it.

    Who works on a cluster may outlive the command that asked for it, and meet the next one.
    """
    record_path.parent.mkdir(parents=True, exist_ok=True)
    path = record_path.with_suffix(".lock")
    with filelock.FileLock(path):
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows, where the lock itself takes it away
                path.unlink(missing_ok=True)


def clear_work_locks(output_dir: Path, stage: str) -> None:
    """Delete the locks that killed processes left, but those that somebody holds."""
    for path in (output_dir / RECORDS_DIR / stage).glob("*.lock"):
        with suppress(filelock.Timeout, PermissionError), filelock.FileLock(path, timeout=0):
            path.unlink(missing_ok=True)


def read_record(path: Path) -> dict[str, Any] | None:
    """Read the record of a finished work; None where there is none that can be used."""
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    keys = {"name", "settings", "input", "outputs", "n_frames", "details"}
    return record if isinstance(record, dict) and keys <= record.keys() else None


def begun_or_done(path: Path) -> dict[str, Any] | None:
    """Read the record of a work, ended or not; it tells at least the `outputs` of earlier runs."""
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) else {}


def record_file(output_dir: Path, stage: str, name: str) -> Path:
    """Give where the record of a work lies."""
    # A hash, because a name may be long, or lead out of the folder.
    return output_dir / RECORDS_DIR / stage / f"{text_hash(name)}.json"


def record_files(output_dir: Path, stage: str) -> list[Path]:
    """List the records of a stage."""
    return sorted((output_dir / RECORDS_DIR / stage).glob(f"{'[0-9a-f]' * 32}.json"))


def size_and_time(path: Path) -> dict[str, int]:
    """Give what tells quickly that a file has not changed."""
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def outputs_are_there(record: dict[str, Any], output_dir: Path) -> bool:
    """Tell whether all that a record says was made is still there, in its size."""
    sizes = {output_dir / name: size for name, size in record["outputs"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in sizes.items())


def delete_outputs(names: Iterable[str], output_dir: Path, *, but: set[Path]) -> None:
    """Delete what was made, but for what will be made there again."""
    for name in names:
        if output_dir / name not in but:
            (output_dir / name).unlink(missing_ok=True)


def delete_empty_folders(names: Iterable[str], output_dir: Path) -> None:
    """Delete the folders of outputs that are gone, which may be named after a speaker.

    Not while a batch is at work, which makes folders before it writes into them.
    """
    for name in names:
        folder = (output_dir / name).parent
        while folder != output_dir:
            try:
                folder.rmdir()
            except OSError:  # not empty, or not there
                break
            folder = folder.parent
