"""One process at a time in a folder of outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from asdtune.errors import AsdtuneError

HIDDEN_DIR = ".asdtune"  # in a folder of outputs: what no listing of them should show


@contextmanager
def stage_lock(output_dir: Path, stage: str) -> Iterator[None]:
    """Let one process at a time work on a folder; may be taken again by its holder.

    Raises:
        AsdtuneError: Another process holds it.
    """
    folder = output_dir / HIDDEN_DIR
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
