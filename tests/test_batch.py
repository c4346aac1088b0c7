"""The batch engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from asdtune.core.arrays import write_npz
from asdtune.core.files import content_hash, settings_hash, text_hash
from asdtune.core.prepare.batch import run_batch
from asdtune.core.prepare.jobs import Job, JobResult, Status
from asdtune.core.prepare.provenance import provenance
from asdtune.errors import AsdtuneError

ROOT = Path(__file__).parents[1]


def shout(job: Job) -> JobResult:
    """Write the input in capitals; refuse empty files, and die or wait where the input says so."""
    text = job.source.read_text()
    if not text:
        raise AsdtuneError("the file is empty", where=job.source, fix="fill it")
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "wait":
        time.sleep(60)
    data = np.frombuffer((text.upper() + job.settings["mark"]).encode(), np.uint8)
    write_npz(job.targets[0], data=data, provenance=provenance(job))
    return JobResult(job.name, Status.WRITTEN, len(text), job.targets)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.txt").write_text(f"text {i}")
    return folder


def begin(inputs: Path, mark: str = "!", **changed: object) -> Iterator[JobResult]:
    output = inputs.parent / "out"
    jobs = [
        Job(path.name, path, (output / f"{path.stem}.npz",), {"mark": mark})
        for path in sorted(inputs.iterdir())
    ]
    options = {"stage": "shout", "output_dir": output, "workers": 1, "overwrite": False}
    return run_batch(shout, jobs, **{**options, **changed})


def batch(inputs: Path, mark: str = "!", **changed: object) -> list[JobResult]:
    return list(begin(inputs, mark, **changed))


def statuses(results: list[JobResult]) -> dict[str, int]:
    return dict(Counter(result.status.value for result in results))


def outputs(inputs: Path) -> dict[str, str]:
    paths = sorted((inputs.parent / "out").glob("*.npz"))
    return {path.stem: np.load(path)["data"].tobytes().decode() for path in paths}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_all_is_done_whatever_the_workers(inputs: Path, workers: int) -> None:
    results = batch(inputs, workers=workers)
    assert statuses(results) == {"written": 6}
    assert {result.n_total for result in results} == {6}
    assert outputs(inputs)["3"] == "TEXT 3!"


def test_any_executor_does_the_work(inputs: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert statuses(batch(inputs, executor=executor)) == {"written": 6}


def test_only_what_changed_is_done_again(inputs: Path) -> None:
    batch(inputs)
    assert statuses(batch(inputs)) == {"fresh": 6}
    (inputs / "2.txt").write_text("other")
    (inputs / "3.txt").write_text("TEXT 3")  # as long as before, and older
    os.utime(inputs / "3.txt", (1, 1))
    (inputs / "4.txt").touch()
    results = batch(inputs)
    assert [r.name for r in results if r.status.value == "written"] == ["2.txt", "3.txt"]
    (inputs.parent / "out" / "5.npz").unlink()
    assert statuses(batch(inputs)) == {"fresh": 5, "written": 1}
    assert statuses(batch(inputs, mark="?")) == {"written": 6}
    assert statuses(batch(inputs, mark="?", overwrite=True)) == {"written": 6}


def test_a_copied_corpus_is_up_to_date(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch(inputs)
    copy = inputs.parent / "copy"
    shutil.copytree(inputs.parent / "out", copy / "out", copy_function=shutil.copy)
    shutil.copytree(inputs, copy / "in", copy_function=shutil.copy)
    assert statuses(batch(copy / "in")) == {"fresh": 6}
    read = "asdtune.core.prepare.provenance.content_hash"
    monkeypatch.setattr(read, lambda path: pytest.fail(f"{path} is read again"))
    assert statuses(batch(copy / "in")) == {"fresh": 6}


def test_what_records_beside_the_outputs_said_still_counts(inputs: Path) -> None:
    batch(inputs)
    for path in (inputs.parent / "out").glob("*.npz"):
        source = inputs / f"{path.stem}.txt"
        write_npz(path, data=np.load(path)["data"])
        record = {
            "state": "done",
            "name": source.name,
            "settings": settings_hash({"mark": "!"}),
            "input": {"size": source.stat().st_size, "blake2b": content_hash(source)},
            "details": {},
        }
        written = path.parent / ".asdtune" / "shout" / f"{text_hash(source.name)}.json"
        written.parent.mkdir(exist_ok=True)
        written.write_text(json.dumps(record if path.stem != "3" else {"state": "begun"}))
    (inputs / "2.txt").write_text("other")
    results = batch(inputs)
    assert [r.name for r in results if r.status.value == "written"] == ["2.txt", "3.txt"]
    assert statuses(batch(inputs, mark="?")) == {"written": 6}


def test_one_bad_input_stops_nothing_and_nothing_of_before_is_left_of_it(inputs: Path) -> None:
    batch(inputs)
    (inputs / "1.txt").write_text("")
    for workers in (1, 2):
        results = batch(inputs, workers=workers, overwrite=True)
        assert statuses(results) == {"written": 5, "failed": 1}
        (bad,) = [result for result in results if result.error is not None]
        assert bad.name == "1.txt"
        assert (bad.error.problem, bad.error.fix) == ("the file is empty", "fill it")
        assert "1" not in outputs(inputs)
    (inputs / "1.txt").write_text("mended")
    assert statuses(batch(inputs)) == {"fresh": 5, "written": 1}


def test_what_the_system_refuses_is_named_too(inputs: Path) -> None:
    (inputs / "1.txt").unlink()
    (inputs / "1.txt").mkdir()
    results = batch(inputs)
    assert statuses(results) == {"written": 5, "failed": 1}
    assert "directory" in str(next(r.error for r in results if r.error))


def test_what_somebody_else_made_is_left_as_it_is(inputs: Path) -> None:
    theirs = inputs.parent / "out" / "0.npz"
    for i_made, content in enumerate([b"precious", None]):
        theirs.parent.mkdir(exist_ok=True)
        if content is None:
            write_npz(theirs, data=np.zeros(3))
        else:
            theirs.write_bytes(content)
        before = theirs.read_bytes()
        assert statuses(batch(inputs))["foreign"] == 1
        assert theirs.read_bytes() == before
        assert statuses(batch(inputs, overwrite=True)) == {"written": 6}, i_made


def test_dead_worker_is_explained_and_the_next_run_goes_on(inputs: Path) -> None:
    (inputs / "3.txt").write_text("die")
    with pytest.raises(AsdtuneError, match="worker process was ended"):
        batch(inputs, workers=2)
    (inputs / "3.txt").write_text("text 3")
    assert set(statuses(batch(inputs))) <= {"fresh", "written"}
    assert len(outputs(inputs)) == 6


def hear_ctrl_c() -> None:
    """Let a process hear Ctrl-C, though the tests run in the background, where it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(inputs: Path, *, workers: int) -> subprocess.Popen[str]:
    """Start a batch in another process, which prints each result as it comes."""
    code = (
        "import sys; from pathlib import Path; import tests.test_batch as t\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        f"        print(t.batch(Path(sys.argv[1]), workers={workers}))\n"
        "    except t.AsdtuneError as error: print(error.problem)\n"
        "    except KeyboardInterrupt: print('interrupted')\n"
    )
    script = inputs.parent / "batch.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, script, inputs], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip


def test_ctrl_c_ends_workers_at_once_and_a_second_process_is_refused(inputs: Path) -> None:
    for i in range(20):  # more than wait for a worker: some are at work, some are not begun
        (inputs / f"waits_{i}.txt").write_text("wait")
    process = start(inputs, workers=4)
    while not outputs(inputs):  # until the workers work
        time.sleep(0.1)
    other, _ = start(inputs, workers=1).communicate(timeout=60)
    assert "another asdtune shout is at work" in other
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert "interrupted" in said
    assert "Traceback" not in said
    for i in range(20):
        (inputs / f"waits_{i}.txt").write_text("text")
    assert set(statuses(batch(inputs))) == {"fresh", "written"}


def test_an_executor_of_others_survives_a_batch_that_is_given_up(inputs: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        results = begin(inputs, executor=executor)
        next(results)
        results.close()  # type: ignore[attr-defined]
        assert executor.submit(len, "abc").result(timeout=60) == 3
