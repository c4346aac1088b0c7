"""The batch engine: the same task over many files, on every core, restartable.

Each piece of work leaves a small record under `<output>/.asdtune/<stage>/` that holds the
fingerprint of its input and settings. A piece whose record still matches is skipped; one that was
begun and not ended is done again. A file that is there and in no record was not made by us and is
left as it is.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from asdtune.core.files import content_hash, settings_hash, write_json
from asdtune.core.prepare.jobs import ClipResult, Outcome, Status, Task, Work, wanted_by
from asdtune.core.prepare.records import (
    FAILED,
    begun_or_done,
    clear_work_locks,
    delete_outputs,
    outputs_are_there,
    read_record,
    record_file,
    record_files,
    size_and_time,
    stage_lock,
    work_lock,
)
from asdtune.errors import AsdtuneError

_SECONDS_TO_END = 10  # for workers, after Ctrl-C
_MOST_IN_FLIGHT = 1024  # works handed out at once: some for each worker of a large cluster


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
    with stage_lock(output_dir, stage):
        clear_work_locks(output_dir, stage)
        todo = []
        for work, result in _done_already(works, stage, output_dir, overwrite=overwrite):
            if result is None:
                todo.append(work)
            else:
                yield replace(result, n_total=len(works))
        do = partial(_do, task, output_dir=output_dir, stage=stage)
        n_workers = min(workers or n_cores(), len(todo))
        if executor is not None:  # whose workers may have begun in another folder
            do = partial(_do, task, output_dir=output_dir.absolute(), stage=stage)
            results = _in_executor(executor, do, [_absolute(work) for work in todo])
        elif n_workers > 1:
            results = _in_processes(n_workers, do, todo)
        else:
            results = map(do, todo)
        for result in results:
            yield replace(result, n_total=len(works))


def n_cores() -> int:
    """Count the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _done_already(
    works: Sequence[Work], stage: str, output_dir: Path, *, overwrite: bool
) -> Iterator[tuple[Work, ClipResult | None]]:
    """Give every work with its result of an earlier run, or None where it must be done."""
    ours = {
        output_dir / name
        for path in record_files(output_dir, stage)
        for name in (read_record(path) or {"outputs": ()})["outputs"]
    }
    wanted = wanted_by(works)
    for work in works:
        record_path = record_file(output_dir, stage, work.name)
        record, begun = read_record(record_path), begun_or_done(record_path)
        result = None
        if begun is None and not overwrite:
            if any(target.exists() and target not in ours for target in work.targets):
                result = ClipResult(work.name, Status.FOREIGN, outputs=work.targets)
        elif record is not None and not overwrite:
            try:
                result = _result_of_record(work, record, output_dir)
            except OSError as error:
                result = ClipResult(work.name, Status.FAILED, error=_system_error(error, work))
        if result is None and begun is not None:
            # What it made before, at places where nothing will be now.
            delete_outputs(begun.get("outputs", ()), output_dir, but=wanted)
        yield work, result


def _in_processes(
    n_workers: int, do: Callable[[Work], ClipResult], todo: Sequence[Work]
) -> Iterator[ClipResult]:
    with ProcessPoolExecutor(
        n_workers, mp_context=get_context("spawn"), initializer=_begin_worker
    ) as pool:
        try:
            yield from _in_executor(pool, do, todo)
        except (KeyboardInterrupt, GeneratorExit):  # Ctrl-C here, or where the results are taken
            # The workers end by themselves, unless they were interrupted at the wrong moment.
            last_resort = threading.Timer(_SECONDS_TO_END, _kill_workers)
            last_resort.daemon = True
            last_resort.start()
            raise


def _kill_workers() -> None:
    for process in active_children():
        process.kill()


def _in_executor(
    executor: Executor, do: Callable[[Work], ClipResult], todo: Sequence[Work]
) -> Iterator[ClipResult]:
    waiting = iter(todo)
    in_flight: dict[Future[ClipResult], Work] = {}
    done: SimpleQueue[Future[ClipResult]] = SimpleQueue()

    def submit(n_works: int) -> None:
        for work in islice(waiting, n_works):
            future = executor.submit(do, work)
            in_flight[future] = work
            future.add_done_callback(done.put)

    try:
        submit(_MOST_IN_FLIGHT)
        while in_flight:
            future = done.get()
            work = in_flight.pop(future)
            try:
                result = future.result()
            except AsdtuneError as error:  # the executor could not have it done
                result = _failed(work, error)
            submit(1)
            yield result
    except BrokenProcessPool as error:
        raise AsdtuneError(
            "a worker process was ended from outside, most often for want of memory",
            fix="run the command again with fewer --workers; what is done stays done",
        ) from error
    finally:
        for future in in_flight:
            future.cancel()


def _failed(work: Work, error: AsdtuneError) -> ClipResult:
    where = error.where or work.source
    told = AsdtuneError(error.problem, where=where, fix=error.fix)
    return ClipResult(work.name, Status.FAILED, error=told)


def _absolute(work: Work) -> Work:
    resources = {
        name: value.absolute() if isinstance(value, Path) else value
        for name, value in work.resources.items()
    }
    return replace(
        work,
        source=work.source.absolute(),
        targets=tuple(target.absolute() for target in work.targets),
        resources=resources,
    )


def _do(task: Task, work: Work, *, output_dir: Path, stage: str) -> ClipResult:
    record_path = record_file(output_dir, stage, work.name)
    try:
        with _interruptible(), work_lock(record_path):
            is_ours = begun_or_done(record_path) is not None
            targets = [_below(target, output_dir) for target in work.targets]
            begun = {"state": "begun", "name": work.name, "outputs": targets}
            write_json(record_path, begun)
            try:
                outcome = task(work)
            except (AsdtuneError, OSError):
                # What was made of another input or with other settings must not pass for this.
                # What else it had made is deleted, or is by now another work's.
                if is_ours:
                    delete_outputs(targets, output_dir, but=set())
                write_json(record_path, {**begun, "state": FAILED})
                raise
            write_json(record_path, _record(work, outcome, output_dir))
    except AsdtuneError as error:
        return ClipResult(work.name, Status.FAILED, error=error)
    except OSError as error:
        return ClipResult(work.name, Status.FAILED, error=_system_error(error, work))
    return ClipResult(work.name, Status.WRITTEN, outcome.n_frames, outcome.outputs, outcome.details)


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _record(work: Work, outcome: Outcome, output_dir: Path) -> dict[str, Any]:
    return {
        "state": "done",
        "name": work.name,
        "settings": settings_hash(work.settings),
        "input": {**size_and_time(work.source), "blake2b": content_hash(work.source)},
        "outputs": {_below(path, output_dir): path.stat().st_size for path in outcome.outputs},
        "n_frames": outcome.n_frames,
        "details": outcome.details,
    }


def _result_of_record(work: Work, record: dict[str, Any], output_dir: Path) -> ClipResult | None:
    """Give the result of an earlier run if it still holds, None where the work must be done."""
    if record["settings"] != settings_hash(work.settings):
        return None
    if not outputs_are_there(record, output_dir):
        return None
    known, now = record["input"], size_and_time(work.source)
    if now["size"] != known["size"]:
        return None
    if now["mtime_ns"] != known["mtime_ns"] and content_hash(work.source) != known["blake2b"]:
        return None
    return ClipResult(
        work.name,
        Status.FRESH,
        record["n_frames"],
        tuple(output_dir / name for name in record["outputs"]),
        record["details"],
    )


def _system_error(error: OSError, work: Work) -> AsdtuneError:
    problem = (error.strerror or str(error)).lower()
    return AsdtuneError(
        problem,
        where=error.filename or work.source,
        fix="mend what the system refuses (disk, permissions), and run the command again",
    )


def _begin_worker() -> None:
    """Let a worker wait quietly, and end with the process that started it, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


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
