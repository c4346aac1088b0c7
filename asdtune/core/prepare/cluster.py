"""The same work on a Dask cluster instead of local processes.

    with open_cluster("tcp://10.0.0.1:8786", Path("videos")) as executor:
        for result in extract_mfccs(..., executor=executor):
            print(result.name, result.status)

The workers see the same files at the same paths, have the same asdtune, and one thread each: a
detector keeps state between two pictures, so that two clips at once in one process would mix.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from asdtune import __version__
from asdtune.core.locks import HIDDEN_DIR
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 5
_FIRST_WORKER_SECONDS = 10
_NOISY = ("distributed", "distributed.client", "tornado.application", "asyncio")

T = TypeVar("T")


@contextmanager
def open_cluster(
    address: str | None, source: Path | None = None, output_dir: Path | None = None
) -> Iterator[Executor | None]:
    """Give an executor that has jobs done by the workers of a Dask scheduler; None at no address.

    What is pending when the block is left is cancelled; what runs then ends by itself.

    Raises:
        AsdtuneError: `distributed` is not installed, no scheduler answers, it has no workers, a
            worker has another asdtune, more than one thread or other files than `source` and
            `output_dir` (made if it is not there), or the connection is lost.
    """
    if address is None:
        yield None
        return
    if find_spec("distributed") is None:
        raise AsdtuneError(
            "--scheduler needs the package distributed, which is not installed",
            fix='in the checkout of asdtune: python -m pip install ".[cluster]"',
        )
    with _quiet():
        client = _connect(address)
        try:
            _check_workers(client, address)
            _check_folders(client, source, output_dir)
            yield _Workers(client.get_executor(pure=False))  # pure: an earlier run's result
        except CancelledError as error:
            raise AsdtuneError(
                "the connection to the scheduler was lost",
                where=address,
                fix="see that it runs, and run the command again; what is done stays done",
            ) from error
        finally:
            client.close()


class _Workers(Executor):
    """Dask's executor, which names a job that no worker could do instead of failing as a whole."""

    def __init__(self, dask: Executor) -> None:
        self._dask = dask

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        told: Future[T] = Future()

        def tell(done: Future[T]) -> None:
            if done.cancelled():
                told.cancel()
            elif not told.set_running_or_notify_cancel():
                return  # nobody waits for it any more
            elif (error := done.exception()) is not None:
                told.set_exception(_explained(error))
            else:
                told.set_result(done.result())

        self._dask.submit(fn, *args, **kwargs).add_done_callback(tell)
        return told


def _connect(address: str) -> Client:
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    try:
        with warnings.catch_warnings():  # versions that matter are compared below
            warnings.simplefilter("ignore", VersionMismatchWarning)
            return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False, name="asdtune")
    except (OSError, TimeoutError) as error:
        raise AsdtuneError(
            f"no Dask scheduler answers within {_CONNECT_SECONDS} s",
            where=address,
            fix="start one with: dask scheduler; or check --scheduler, and firewalls on the way",
        ) from error


def _check_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_FIRST_WORKER_SECONDS)
    except (TimeoutError, asyncio.TimeoutError) as error:  # two before Python 3.11
        raise AsdtuneError(
            "the cluster has no workers",
            where=address,
            fix=f"start some with: dask worker {address} --nthreads 1",
        ) from error
    # Only what every Python has is sent, because nothing is known yet of what the workers have.
    versions: dict[str, str | Exception] = client.run(
        eval, "__import__('asdtune').__version__", on_error="return"
    )
    other = {worker: found for worker, found in versions.items() if found != __version__}
    if other:
        kinds = sorted({f if isinstance(f, str) else "not to be loaded" for f in other.values()})
        raise AsdtuneError(
            f"asdtune is {__version__} here, but on workers {', '.join(kinds)}",
            where=", ".join(sorted(other)),
            fix="install the same asdtune on every machine, and start the workers again",
        )
    many = [worker for worker, n_threads in client.nthreads().items() if n_threads != 1]
    if many:
        raise AsdtuneError(
            f"{len(many)} of {len(versions)} workers have more than one thread",
            where=", ".join(sorted(many)),
            fix=f"start them with: dask worker {address} --nthreads 1 --nworkers <cores>",
        )


def _check_folders(client: Client, source: Path | None, output_dir: Path | None) -> None:
    """Refuse workers that do not see both, or see other ones of that name."""
    seen = {} if source is None or not source.exists() else {source: source}
    mark = None if output_dir is None else output_dir / HIDDEN_DIR / f"{uuid4().hex}.mark"
    if output_dir is not None and mark is not None:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        seen[output_dir] = mark
    try:
        for folder, path in seen.items():
            sees = client.run(os.path.exists, os.fspath(path.absolute()))
            blind = sorted(worker for worker, is_there in sees.items() if not is_there)
            if blind:
                raise AsdtuneError(
                    f"{len(blind)} of {len(sees)} workers do not see {folder.absolute()}",
                    where=", ".join(blind),
                    fix="put the data on a disk that all workers mount at the same path",
                )
    finally:
        if mark is not None:
            mark.unlink()


def _explained(error: BaseException) -> BaseException:
    from distributed.scheduler import KilledWorker

    if not isinstance(error, KilledWorker):
        return error
    return AsdtuneError(
        f"{error.allowed_failures + 1} workers died, one after the other, while they did this",
        fix="give the workers more memory, look into their logs, and run the command again",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log off stderr: what a user should know comes as an error of ours."""
    if find_spec("distributed") is not None:
        import distributed  # noqa: F401  # sets the levels when it is first imported
    loggers = [logging.getLogger(name) for name in _NOISY]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
