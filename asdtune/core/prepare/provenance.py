"""What an `.npz` was made of: it says so itself, so that no second file has to be believed.

Under the key `provenance` lies JSON: the `settings`; of the `source` its name, size in bytes and
BLAKE2b hash; and, of face crops, their `quality`. The time of the source is not in it: the same
source and settings give the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asdtune.core.arrays import read_text
from asdtune.core.files import content_hash, delete_empty_folders, settings_hash, text_hash
from asdtune.core.locks import HIDDEN_DIR
from asdtune.core.prepare.chunk_table import CHUNKS_CSV, ChunkTable
from asdtune.core.prepare.jobs import Job, JobResult, Status
from asdtune.errors import AsdtuneError


def provenance(job: Job, **more: Any) -> np.ndarray[Any, Any]:
    """Give the array to write under the key `provenance`."""
    size, blake2b = job.source.stat().st_size, content_hash(job.source)
    source = {"name": job.name, "bytes": size, "blake2b": blake2b}
    made_of = {"settings": job.settings, "source": source, **more}
    return np.array(json.dumps(made_of, sort_keys=True))


def read_provenance(npz: Path, output_dir: Path, stage: str, video: str) -> dict[str, Any] | None:
    """Read what the output of a video was made of; None of one that we did not make."""
    try:
        text = read_text(npz, "provenance")
        made_of: dict[str, Any] | None = None if text is None else json.loads(text)
    except (AsdtuneError, ValueError):
        return None
    return made_of or _old_provenance(output_dir, stage, video)


def earlier_result(job: Job, output_dir: Path, stage: str) -> JobResult | None:
    """Say what there is of a job: what is up to date, or somebody else's; None if it must be done.

    Raises:
        OSError: The source cannot be read.
    """
    if not job.targets[0].exists():
        return None
    made_of = read_provenance(job.targets[0], output_dir, stage, job.name)
    if made_of is None:
        return JobResult(job.name, Status.FOREIGN, outputs=job.targets)
    source = made_of["source"]
    if _has_settings(made_of, job) and is_unchanged(
        job.source, source["bytes"], source["blake2b"], job.targets
    ):
        details = {"quality": made_of.get("quality")}
        return JobResult(job.name, Status.FRESH, outputs=job.targets, details=details)
    return None


def is_unchanged(source: Path, n_bytes: int, blake2b: str, outputs: Sequence[Path]) -> bool:
    """Tell whether a source is the one of this size and hash that outputs were made of.

    It is read only if it was written, moved or copied later than they were. If it is the same, they
    get the present time, so that it need not be read again.
    """
    now = source.stat()
    if now.st_size != n_bytes:
        return False
    came_at = max(now.st_mtime_ns, now.st_ctime_ns)
    if all(path.stat().st_mtime_ns >= came_at for path in outputs):
        return True
    if content_hash(source) != blake2b:
        return False
    for path in outputs:
        os.utime(path)
    return True


def state_of(job: Job, output_dir: Path, stage: str) -> str:
    """Tell quickly, of an output, whether it is `done`, `out of date` or still `to do`."""
    if not job.targets[0].exists():
        return "to do"
    made_of = read_provenance(job.targets[0], output_dir, stage, job.name)
    if made_of is None:
        return "done"  # by somebody else
    is_same = job.source.stat().st_size == made_of["source"]["bytes"]
    return "done" if is_same and _has_settings(made_of, job) else "out of date"


def delete_outdated(job: Job, output_dir: Path, stage: str) -> None:
    """Delete what we made of another input or with other settings, so that nobody uses it."""
    if read_provenance(job.targets[0], output_dir, stage, job.name) is not None:
        job.targets[0].unlink(missing_ok=True)


def forget_removed_chunks(video_dir: Path, output_dir: Path, stage: str) -> None:
    """Delete what was made of chunks that `collect-chunk` has since removed or renamed.

    What was made of a chunk that a user deleted to save space stays: `chunks.csv` lists it.
    """
    if not (video_dir / CHUNKS_CSV).is_file():
        return
    table = ChunkTable(video_dir)
    listed = {path.relative_to(video_dir).as_posix() for path in table.paths(*table.rows_of)}
    removed = []
    for path in output_dir.glob("[!.]*/*/[!.]*.npz"):
        video = path.relative_to(output_dir).as_posix().removesuffix(".npz") + ".mp4"
        if video in listed or (video_dir / video).exists():
            continue
        if read_provenance(path, output_dir, stage, video) is not None:
            path.unlink()
            removed.append(path)
    delete_empty_folders(removed, output_dir)


def _has_settings(made_of: dict[str, Any], job: Job) -> bool:
    return made_of["settings"] in (job.settings, settings_hash(job.settings))


def _old_provenance(output_dir: Path, stage: str, video: str) -> dict[str, Any] | None:
    """Read what stood in a file of its own before outputs said it themselves."""
    path = output_dir / HIDDEN_DIR / stage / f"{text_hash(video)}.json"
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    source, quality = record.get("input", {}), record.get("details", {})
    return {
        "settings": record.get("settings"),  # their hash
        "source": {"bytes": source.get("size"), "blake2b": source.get("blake2b")},
        "quality": {name: value for name, value in quality.items() if name != "notes"},
    }
