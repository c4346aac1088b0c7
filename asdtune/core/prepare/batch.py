"""The batch engine: the same task over many files, on every core, restartable.

Each piece of work leaves a small record under `<output>/.asdtune/<stage>/` that holds the
fingerprint of its input and settings. A piece whose record still matches is skipped; one that was
begun and not ended is done again. A file that is there without any record was not made by us and
is left as it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import filelock

from asdtune.core.files import content_hash, settings_hash, write_json
from asdtune.errors import AsdtuneError

logger = logging.getLogger(__name__)

RECORDS_DIR = ".asdtune"


@dataclass(frozen=True)
class Work:
    """One piece of work: one input file and the outputs that are made of it.

    Attributes:
        name: How tables name it: the input's path below its folder.
        source: The input file.
        targets: The outputs it is expected to write.
        settings: Everything else that decides what is in the outputs; JSON can express it.
        resources: What the task needs and the settings stand for, such as a model's path.
    """

    name: str
    source: Path
    targets: tuple[Path, ...]
    settings: dict[str, Any]
    resources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a task gives back: the outputs it wrote and how many video frames are in them."""

    outputs: tuple[Path, ...]
    n_frames: int
    details: dict[str, Any] = field(default_factory=dict)


class Status(str, Enum):
    """How a piece of work ended."""

    WRITTEN = "written"
    FRESH = "fresh"  # done by an earlier run
    FOREIGN = "foreign"  # made by somebody else, left as it is
    FAILED = "failed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class ClipResult:
    """How one piece of work ended, for the progress bar and the closing table.

    `n_total` is the number of all pieces of the batch.
    """

    name: str
    status: Status
    n_frames: int = 0
    outputs: tuple[Path, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    error: AsdtuneError | None = None
    n_total: int = 0


Task = Callable[[Work], Outcome]


def run_batch(
    task: Task,
    works: Sequence[Work],
    *,
    stage: str,
    output_dir: Path,
    workers: int,
    overwrite: bool,
    executor: Executor | None = None,
) -> Iterator[ClipResult]:
    """Do all work that is not done yet and yield each result as it comes.

    Args:
        task: A picklable function; it raises `AsdtuneError` for what a user can mend.
        works: The pieces of work.
        stage: Name of the stage, for the records.
        output_dir: The folder that holds the outputs and the records.
        workers: Number of processes; 0 for one per core, 1 to stay in this one.
        overwrite: Do everything again.
        executor: Runs the work instead of local processes; any `concurrent.futures` executor.

    Raises:
        AsdtuneError: Another process works on the same folder, or a worker process died.
    """
    for result in _run(task, works, stage, output_dir, workers, overwrite, executor):
        yield replace(result, n_total=len(works))


def _run(
    task: Task,
    works: Sequence[Work],
    stage: str,
    output_dir: Path,
    workers: int,
    overwrite: bool,
    executor: Executor | None,
) -> Iterator[ClipResult]:
    with _lock(output_dir, stage):
        records = {work.name: _record_path(output_dir, stage, work) for work in works}
        todo = []
        for work in works:
            done = None if overwrite else _result_of_record(work, records[work.name], output_dir)
            if done is None:
                todo.append(work)
            else:
                yield done
        do = partial(_do, task, output_dir=output_dir, stage=stage)
        if executor is not None:
            yield from _in_executor(executor, do, todo)
        elif (n_workers := min(workers or n_cores(), len(todo))) > 1:
            with ProcessPoolExecutor(
                n_workers, mp_context=get_context("spawn"), initializer=_ignore_interrupt
            ) as pool:
                yield from _in_executor(pool, do, todo)
        else:
            yield from map(do, todo)


def n_cores() -> int:
    """Count the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_executor(
    executor: Executor, do: Callable[[Work], ClipResult], todo: Sequence[Work]
) -> Iterator[ClipResult]:
    futures: list[Future[ClipResult]] = [executor.submit(do, work) for work in todo]
    try:
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise AsdtuneError(
            "a worker process was ended from outside, most often for want of memory",
            fix="run the command again with fewer --workers; what is done stays done",
        ) from error
    finally:
        for future in futures:
            future.cancel()


def _do(task: Task, work: Work, *, output_dir: Path, stage: str) -> ClipResult:
    record_path = _record_path(output_dir, stage, work)
    try:
        with _interruptible():
            write_json(record_path, {"state": "begun"})
            outcome = task(work)
            write_json(record_path, _record(work, outcome, output_dir))
    except AsdtuneError as error:
        return ClipResult(work.name, Status.FAILED, error=error)
    except OSError as error:
        problem = error.strerror or str(error)
        wrapped = AsdtuneError(problem.lower(), where=error.filename or work.source)
        return ClipResult(work.name, Status.FAILED, error=wrapped)
    return ClipResult(work.name, Status.WRITTEN, outcome.n_frames, outcome.outputs, outcome.details)


def _record(work: Work, outcome: Outcome, output_dir: Path) -> dict[str, Any]:
    return {
        "state": "done",
        "settings": settings_hash(work.settings),
        "input": {**_stat(work.source), "blake2b": content_hash(work.source)},
        "outputs": {
            path.relative_to(output_dir).as_posix(): path.stat().st_size for path in outcome.outputs
        },
        "n_frames": outcome.n_frames,
        "details": outcome.details,
    }


def _result_of_record(work: Work, record_path: Path, output_dir: Path) -> ClipResult | None:
    """Give the result of an earlier run if it still holds, None where the work must be done."""
    try:
        record = json.loads(record_path.read_bytes())
    except FileNotFoundError:
        if any(target.exists() for target in work.targets):
            return ClipResult(work.name, Status.FOREIGN, outputs=work.targets)
        return None
    except ValueError:
        return None
    if record.get("state") != "done" or record["settings"] != settings_hash(work.settings):
        return None
    outputs = {output_dir / name: size for name, size in record["outputs"].items()}
    if any(not path.is_file() or path.stat().st_size != size for path, size in outputs.items()):
        return None
    known = record["input"]
    now = _stat(work.source)
    if now["size"] != known["size"]:
        return None
    if now["mtime_ns"] != known["mtime_ns"] and content_hash(work.source) != known["blake2b"]:
        return None
    return ClipResult(
        work.name, Status.FRESH, record["n_frames"], tuple(outputs), record["details"]
    )


def _record_path(output_dir: Path, stage: str, work: Work) -> Path:
    return output_dir / RECORDS_DIR / stage / f"{work.name}.json"


def _stat(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


@contextmanager
def _lock(output_dir: Path, stage: str) -> Iterator[None]:
    folder = output_dir / RECORDS_DIR
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{stage}.lock", timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise AsdtuneError(
            f"another asdtune {stage} is at work in this folder",
            where=output_dir,
            fix="wait for it, or end it; then run this command again",
        ) from error


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the task at hand in a worker that otherwise waits quietly for the next one."""
    try:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not the main thread (an executor of threads): nothing to set
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
