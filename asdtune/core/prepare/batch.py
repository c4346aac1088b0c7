"""The batch engine: the same task over many files, on every core, restartable.

Each output says itself what it was made of, and with which settings (see `provenance`). One for
which this still holds is up to date; one that does not say it was not made by us, and is left as it
is; all else is made, whole or not at all.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import filelock

from asdtune.core.files import text_hash
from asdtune.core.locks import HIDDEN_DIR, stage_lock
from asdtune.core.prepare.jobs import Job, JobResult, Task, failed
from asdtune.core.prepare.provenance import delete_outdated, earlier_result
from asdtune.errors import AsdtuneError, is_disk_full

_one_at_a_time = threading.Lock()  # of a process that is a cluster's worker: detectors keep state
_MOST_IN_FLIGHT = 1024  # jobs handed out at once: some for each worker of a large cluster

Results = Iterator[tuple[Job, JobResult]]
R = TypeVar("R")


def run_batch(
    task: Task,
    jobs: Sequence[Job],
    *,
    stage: str,
    output_dir: Path,
    workers: int,
    overwrite: bool,
    executor: Executor | None = None,
) -> Iterator[JobResult]:
    """Do all jobs that are not up to date and yield each result as it comes.

    Args:
        task: A picklable function; it raises `AsdtuneError` for what a user can mend.
        jobs: The jobs; unless all is to be overwritten, of one `.npz` each.
        stage: Name of the stage.
        output_dir: The folder that holds the outputs.
        workers: Number of processes; 0 for one per core, 1 to stay in this one.
        overwrite: Do everything again.
        executor: Does the jobs instead of local processes; any `concurrent.futures` executor.

    Raises:
        AsdtuneError: Another process works on the same folder, or a worker process died.
    """
    with stage_lock(output_dir, stage):
        todo = []
        for job in jobs:
            result = None if overwrite else _try(earlier_result, job, output_dir, stage)
            if result is None:
                todo.append(job)
            else:
                yield replace(result, n_total=len(jobs))
        for job, result in _do_all(task, todo, output_dir, workers or n_cores(), executor):
            if result.error is not None:
                delete_outdated(job, output_dir, stage)
            yield replace(result, n_total=len(jobs))


def n_cores() -> int:
    """Count the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _do_all(
    task: Task, jobs: Sequence[Job], output_dir: Path, n_workers: int, executor: Executor | None
) -> Results:
    """Do jobs on a cluster, in processes of this machine, or in this one."""
    if executor is not None:
        do = partial(_do_alone, task, output_dir.absolute())
        yield from _in_executor(executor, do, [_absolute(job) for job in jobs], give_up=_cancel)
    elif min(n_workers, len(jobs)) > 1:
        yield from _in_processes(min(n_workers, len(jobs)), partial(_try, task), jobs)
    else:
        for job in jobs:
            yield job, _try(task, job)


def _in_processes(n_workers: int, do: Task, jobs: Sequence[Job]) -> Results:
    others = {*active_children()}

    def end_workers(_futures: object) -> None:
        for process in {*active_children()} - others:
            process.kill()  # which ends the futures; of cancelled ones, the pool would lose count

    with ProcessPoolExecutor(
        n_workers, mp_context=get_context("spawn"), initializer=_begin_worker
    ) as pool:
        yield from _in_executor(pool, do, jobs, give_up=end_workers)


def _in_executor(
    executor: Executor,
    do: Task,
    jobs: Sequence[Job],
    *,
    give_up: Callable[[Iterable[Future[JobResult]]], None],
) -> Results:
    waiting = iter(jobs)
    in_flight: dict[Future[JobResult], Job] = {}
    done: SimpleQueue[Future[JobResult]] = SimpleQueue()

    def submit(n_jobs: int) -> None:
        for job in islice(waiting, n_jobs):
            future = executor.submit(do, job)
            in_flight[future] = job
            future.add_done_callback(done.put)

    try:
        submit(_MOST_IN_FLIGHT)
        while in_flight:
            future = done.get()
            job = in_flight.pop(future)
            try:
                result = future.result()
            except AsdtuneError as error:  # the executor could not have it done
                result = failed(job.name, job.source, error)
            submit(1)
            yield job, result
    except BrokenProcessPool as error:
        raise AsdtuneError(
            "a worker process was ended from outside, most often for want of memory",
            fix="run the command again with fewer --workers; what is done stays done",
        ) from error
    finally:  # all is done; or Ctrl-C, here or where the results are taken, or a full disk
        if in_flight:
            give_up(in_flight)


def _cancel(futures: Iterable[Future[JobResult]]) -> None:
    for future in futures:
        future.cancel()


def _try(task: Callable[..., R], job: Job, *args: object) -> R | JobResult:
    """Make a result of what a user, or the system, is to blame for; a full disk ends the batch."""
    try:
        return task(job, *args)
    except (AsdtuneError, OSError) as error:
        if isinstance(error, OSError) and is_disk_full(error):
            error.filename = error.filename or job.targets[0]
            raise
        return failed(job.name, job.source, error)


def _do_alone(task: Task, output_dir: Path, job: Job) -> JobResult:
    """Do a job on a worker of a cluster, which may outlive the command that asked for it.

    It may then meet a worker that does the same for the next one: the second waits.
    """
    locks = output_dir / HIDDEN_DIR / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time, filelock.FileLock(locks / f"{text_hash(job.name)}.lock"):
        return _try(task, job)


def _absolute(job: Job) -> Job:
    """Name all files as workers see them that were started in another folder."""
    return replace(
        job,
        source=job.source.absolute(),
        targets=tuple(target.absolute() for target in job.targets),
        resources={
            name: value.absolute() if isinstance(value, Path) else value
            for name, value in job.resources.items()
        },
    )


def _begin_worker() -> None:
    """Let a worker leave Ctrl-C to the process that started it, and end with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
