"""The work on a Dask cluster: the same bytes, and every way in which a cluster can fail."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import dask
import distributed
import numpy as np
import pytest

from asdtune import __version__
from asdtune.core.arrays import write_npz
from asdtune.core.prepare.batch import run_batch
from asdtune.core.prepare.cluster import open_cluster
from asdtune.core.prepare.jobs import Job, JobResult, Status
from asdtune.core.prepare.provenance import provenance
from asdtune.errors import AsdtuneError
from tests.conftest import Run
from tests.render import render_talking_face
from tests.test_cli import error_of


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """Give a cluster of two workers, processes of one thread, on this machine."""
    # Dask's status page goes to any free port (:0): its usual one may be taken.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as started,
    ):
        yield started


@pytest.fixture
def workers(cluster: distributed.LocalCluster, tmp_path: Path) -> Iterator[Executor]:
    with open_cluster(cluster.scheduler_address, tmp_path) as executor:
        assert executor is not None
        yield executor


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give raw videos of three speakers, drawn faces that a detector finds."""
    root = tmp_path_factory.mktemp("faces")
    for i in range(3):
        render_talking_face(root / f"s{i}/v.mp4", seconds=2.4, width=320, height=240, seed=i)
    return root


def prepare(run: Run, faces: Path, *how: object) -> dict[str, bytes]:
    """Run the stages in the folder at hand and give all that they wrote."""
    run("collect-chunk", faces, "--chunk-seconds", 1, "--min-chunk-seconds", 0.4, *how)
    run("crops", "--detector", "haar", *how)
    run("mfcc", *how)
    return {
        path.as_posix(): path.read_bytes()
        for path in Path().rglob("*")
        if path.is_file() and ".asdtune" not in path.parts
    }


@pytest.mark.parametrize(
    "n_local",
    [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)],
)
def test_cluster_writes_the_bytes_that_local_processes_write(
    run: Run,
    tmp_path: Path,
    faces: Path,
    cluster: distributed.LocalCluster,
    n_local: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = {}
    for name, how in {
        "local": ("--workers", n_local),
        "cluster": ("--scheduler", cluster.scheduler_address),
    }.items():
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        written[name] = prepare(run, faces, *how)
    assert len(written["local"]) == 3 * 9 + 3  # of each chunk; chunks, speakers, quality
    assert written["cluster"] == written["local"]


def act(job: Job) -> JobResult:
    """Do what the input says, on a worker."""
    order = job.source.read_text()
    (target,) = job.targets
    begun = target.with_suffix(".begun")
    if order == "die" or (order == "die once" and not begun.exists()):
        target.parent.mkdir(exist_ok=True)
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "sleep":
        time.sleep(0.5)
    write_npz(target, data=np.array(order), provenance=provenance(job))
    return JobResult(job.name, Status.WRITTEN, 1, job.targets)


def batch(folder: Path, orders: list[str], executor: Executor) -> Iterator[JobResult]:
    jobs = []
    for i, order in enumerate(orders):
        source = folder / f"{i}.txt"
        source.write_text(order)
        jobs.append(Job(source.name, source, (folder / "out" / f"{i}.npz",), {}))
    return run_batch(
        act,
        jobs,
        stage="act",
        output_dir=folder / "out",
        workers=0,
        overwrite=False,
        executor=executor,
    )


def test_work_of_a_worker_that_died_is_done_by_another(tmp_path: Path, workers: Executor) -> None:
    results = list(batch(tmp_path, ["a", "die once", "b", "c"], workers))
    assert sorted(result.status.value for result in results) == ["written"] * 4
    assert np.load(tmp_path / "out/1.npz")["data"] == "die once"


def test_work_that_ends_every_worker_is_named_and_the_rest_can_be_done(
    tmp_path: Path, workers: Executor
) -> None:
    results = list(batch(tmp_path, ["a", "die", "b", "c"], workers))
    bad = {result.name: result.error for result in results if result.error is not None}
    assert "2 workers died" in bad["1.txt"].problem
    assert bad["1.txt"].where == str(tmp_path / "1.txt")
    again = list(batch(tmp_path, ["a", "mended", "b", "c"], workers))
    assert {result.status.value for result in again} <= {"written", "fresh"}


def test_what_is_pending_is_cancelled_when_the_command_ends(
    tmp_path: Path, cluster: distributed.LocalCluster
) -> None:
    with open_cluster(cluster.scheduler_address) as executor:
        results = batch(tmp_path, ["sleep"] * 20, executor)
        next(results)
        results.close()
    time.sleep(6)  # 20 of them take two workers 5 s
    assert 1 <= len(list((tmp_path / "out").glob("*.npz"))) < 10


def test_two_do_not_do_the_same_work_at_once(tmp_path: Path, workers: Executor) -> None:
    # As when a command is run again while workers still are at what the first one left.
    jobs = [Job("0", tmp_path / "0.txt", (tmp_path / "out/0.npz",), {})] * 2
    jobs[0].source.write_text("sleep")
    started = time.monotonic()
    results = list(
        run_batch(
            act,
            jobs,
            stage="act",
            output_dir=tmp_path / "out",
            workers=0,
            overwrite=True,
            executor=workers,
        )
    )
    assert [result.status.value for result in results] == ["written", "written"]
    assert time.monotonic() - started >= 1


def test_scheduler_that_does_not_answer_is_one_clear_error(
    run: Run, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("asdtune.core.prepare.cluster._CONNECT_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        for command in (["collect-chunk", "raw"], ["crops"], ["mfcc"]):
            text = error_of(run, *command, "--scheduler", address)
            assert text.startswith("error: no Dask scheduler answers within 1 s")
            assert f"where: {address}" in text
            assert "fix: start one with: dask scheduler" in text
    assert capfd.readouterr().err == ""  # nothing of Dask's own log


@pytest.mark.parametrize("address", ["localhost", "10.0.0.1:8786", "tcp://a", "foo://a:1",
                                     "tcp://a:99999"])  # fmt: skip
def test_malformed_address_is_wrong_usage(run: Run, in_tmp: Path, address: str) -> None:
    for command in ("crops", "run"):
        text = error_of(run, command, "--scheduler", address, exit_code=2)
        problem = f"--scheduler: must be like tcp://host:8786, found '{address}'"
        assert text == f"error: {problem} fix: see asdtune {command} --help"
    Path("asdtune.toml").write_text(f'[project]\nscheduler = "{address}"\n')
    text = error_of(run, "mfcc", exit_code=2)
    assert "asdtune.toml: project.scheduler: must be like tcp://host:8786" in text


def test_missing_package_says_how_to_install_it(
    run: Run, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asdtune.core.prepare.cluster.find_spec", lambda _: None)
    text = error_of(run, "mfcc", "--scheduler", "tcp://127.0.0.1:1")
    assert "needs the package distributed" in text
    assert 'in the checkout of asdtune: python -m pip install ".[cluster]"' in text


def test_run_finds_a_missing_scheduler_before_it_begins(
    run: Run, in_tmp: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asdtune.core.prepare.cluster._CONNECT_SECONDS", 1)
    # fmt: off
    text = error_of(run, "run", "--source", corpus, "--language", "sw", "--detector", "haar",
                    "--checkpoint", "scratch", "--scheduler", "tcp://127.0.0.1:1")
    # fmt: on
    assert "no Dask scheduler answers" in text
    assert not Path("videos").exists()


def test_cluster_without_workers_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asdtune.core.prepare.cluster._FIRST_WORKER_SECONDS", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(AsdtuneError, match="has no workers") as caught,
        open_cluster(empty.scheduler_address),
    ):
        pass
    assert caught.value.where == empty.scheduler_address
    assert "--nthreads 1" in caught.value.fix


def test_workers_of_two_threads_are_refused() -> None:
    with (
        distributed.LocalCluster(
            protocol="tcp",
            processes=False,
            n_workers=1,
            threads_per_worker=2,
            dashboard_address=":0",
        ) as threaded,
        pytest.raises(AsdtuneError, match="1 of 1 workers have more than one thread"),
        open_cluster(threaded.scheduler_address),
    ):
        pass


@contextmanager
def changed_workers(cluster: distributed.LocalCluster, change: str, undo: str) -> Iterator[None]:
    """Run Python in every worker, and after the block what undoes it."""
    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(exec, change)
        try:
            yield
        finally:
            client.run(exec, undo)


VERSION = "import asdtune; asdtune.__version__ = "
MODULES = "import sys, asdtune; sys.hidden = sys.modules['asdtune']; sys.modules['asdtune'] = None"
SHOWN = "import sys; sys.modules['asdtune'] = sys.hidden"


@pytest.mark.parametrize(
    ("change", "undo", "told"),
    [
        (VERSION + "'0.0.9'", VERSION + repr(__version__), r"on workers 0\.0\.9"),
        (MODULES, SHOWN, "on workers not to be loaded"),
    ],
)
def test_workers_with_another_asdtune_are_refused(
    cluster: distributed.LocalCluster, change: str, undo: str, told: str
) -> None:
    with (
        changed_workers(cluster, change, undo),
        pytest.raises(AsdtuneError, match=told),
        open_cluster(cluster.scheduler_address),
    ):
        pass


def test_workers_that_do_not_see_the_files_are_refused(
    cluster: distributed.LocalCluster, tmp_path: Path
) -> None:
    blind = "import genericpath as g; g.before = g.exists; g.exists = lambda _: False"
    with (
        changed_workers(cluster, blind, "import genericpath as g; g.exists = g.before"),
        pytest.raises(AsdtuneError, match="2 of 2 workers do not see") as caught,
        open_cluster(cluster.scheduler_address, tmp_path),
    ):
        pass
    assert str(tmp_path) in caught.value.problem


def test_lost_scheduler_is_one_clear_error(tmp_path: Path) -> None:
    with distributed.LocalCluster(
        processes=True, n_workers=1, threads_per_worker=1, dashboard_address=":0"
    ) as short:

        def lose_it() -> None:
            with open_cluster(short.scheduler_address) as executor:
                results = batch(tmp_path, ["sleep"] * 20, executor)
                next(results)
                short.close()
                list(results)

        with pytest.raises(AsdtuneError, match="connection to the scheduler was lost"):
            lose_it()
