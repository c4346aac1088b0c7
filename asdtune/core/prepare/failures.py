"""What a stage could not do, kept beside its outputs for the report to tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from asdtune.core.files import write_json
from asdtune.core.prepare.jobs import ClipResult
from asdtune.core.prepare.records import RECORDS_DIR

_FAILED_JSON = "failed.json"


class Failure(NamedTuple):
    """A video that a stage made nothing of, and why."""

    stage: str
    name: str  # the video's path below the folder that the stage took it from
    problem: str

    @property
    def clip(self) -> str:
        """What the video would be called among clips."""
        return str(PurePosixPath(self.name).with_suffix(""))


def keep_failures(
    results: Iterable[ClipResult], output_dir: Path, stage: str
) -> Iterator[ClipResult]:
    """Pass results on; after the last one, write which failed.

    A stage looks again at what failed whenever it runs: the list is whole, and replaces the last.
    """
    failed = []
    for result in results:
        if result.error is not None:
            failed.append({"name": result.name, "problem": result.error.problem})
        yield result
    path = output_dir / RECORDS_DIR / stage / _FAILED_JSON
    if failed or path.exists():
        write_json(path, failed)


def read_failures(output_dir: Path, stage: str) -> list[Failure]:
    """Read what a stage could not do; nothing where it was never run, or the list is broken."""
    try:
        entries = json.loads((output_dir / RECORDS_DIR / stage / _FAILED_JSON).read_bytes())
        return [Failure(stage, str(each["name"]), str(each["problem"])) for each in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []
