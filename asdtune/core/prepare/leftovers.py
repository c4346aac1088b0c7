"""What earlier runs of a stage made of inputs that are no longer there.

Inputs are deleted to save space, renamed, or moved to another split. What was made of a renamed one
must not be there twice; what was made of a deleted one stays until somebody prunes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from csv import DictReader
from pathlib import Path, PurePosixPath

from asdtune.core.files import content_hash
from asdtune.core.prepare.jobs import ClipResult, Status, Work, wanted_by
from asdtune.core.prepare.records import (
    delete_empty_folders,
    delete_outputs,
    read_record,
    record_files,
)

CHUNKS_CSV = "chunks.csv"  # what collect-chunk made, beside the chunks


def left_over(
    output_dir: Path, stage: str, works: Sequence[Work], *, prune: bool
) -> Iterator[ClipResult]:
    """Yield what earlier runs made of inputs that are no longer there, deleted or not.

    What was made of an input that now has another name is deleted, or it would be there twice; all
    the rest too if `prune` says so.
    """
    names = {work.name for work in works}
    records = {path: read_record(path) for path in record_files(output_dir, stage)}
    current = {r["input"]["blake2b"] for r in records.values() if r and r["name"] in names}
    for path, record in records.items():
        if record is None or record["name"] in names:
            continue
        if prune or record["input"]["blake2b"] in current:
            delete_outputs(record["outputs"], output_dir, but=wanted_by(works))
            delete_empty_folders(record["outputs"], output_dir)
            path.unlink()
            if record["input"]["blake2b"] not in current:
                outputs = tuple(output_dir / name for name in record["outputs"])
                yield ClipResult(record["name"], Status.PRUNED, outputs=outputs)
        elif any((output_dir / name).exists() for name in record["outputs"]):
            outputs = tuple(output_dir / name for name in record["outputs"])
            yield ClipResult(
                record["name"], Status.LEFT_OVER, outputs=outputs, details=record["details"]
            )


def kept_outputs(output_dir: Path, stage: str, sources: Mapping[str, Path]) -> set[Path]:
    """Give the outputs that were made of inputs no longer there, and stay.

    Args:
        output_dir: The folder of outputs and records.
        stage: Name of the stage.
        sources: The inputs that are there, by name. One of another name and the same content was
            renamed: what was made of it under its old name does not stay.
    """
    records = [r for path in record_files(output_dir, stage) if (r := read_record(path))]
    known = {record["name"] for record in records}
    new = [path for name, path in sources.items() if name not in known]
    kept: set[Path] = set()
    for record in records:
        if record["name"] in sources:
            continue
        size, content = record["input"]["size"], record["input"]["blake2b"]
        if not any(p.stat().st_size == size and content_hash(p) == content for p in new):
            kept |= {path for name in record["outputs"] if (path := output_dir / name).exists()}
    return kept


def forget_removed_chunks(video_dir: Path, output_dir: Path, stage: str) -> None:
    """Delete what was made of chunks that `collect-chunk` has since removed or renamed.

    Whatever was made of a video that a user deleted to save space stays: `chunks.csv` lists it.
    """
    try:
        with (video_dir / CHUNKS_CSV).open(encoding="utf-8", newline="") as file:
            listed = {f"{row['split']}/{row['speaker']}/{row['clip']}" for row in DictReader(file)}
    except (FileNotFoundError, KeyError):
        return
    for path in record_files(output_dir, stage):
        record = read_record(path)
        if record is None or (video_dir / record["name"]).exists():
            continue
        if str(PurePosixPath(record["name"]).with_suffix("")) not in listed:
            delete_outputs(record["outputs"], output_dir, but=set())
            delete_empty_folders(record["outputs"], output_dir)
            path.unlink()
