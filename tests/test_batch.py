"""The batch engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asdtune.core.files import write_text
from asdtune.core.prepare.batch import run_batch
from asdtune.core.prepare.jobs import ClipResult, Outcome, Work
from asdtune.errors import AsdtuneError


def shout(work: Work) -> Outcome:
    """Write the input in capitals; refuse empty files, and die where the input says so."""
    text = work.source.read_text()
    if not text:
        raise AsdtuneError("the file is empty", where=work.source, fix="fill it")
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    (target,) = work.targets
    write_text(target, text.upper() + work.settings["mark"])
    return Outcome(work.targets, len(text), {"n_letters": len(text)})


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for i in range(6):
        (folder / "deep" / f"{i}.txt").write_text(f"text {i}")
    return folder


def batch(inputs: Path, mark: str = "!", **changed: object) -> list[ClipResult]:
    output = inputs.parent / "out"
    works = [
        Work(path.name, path, (output / path.name,), {"mark": mark})
        for path in sorted(inputs.rglob("*.txt"))
    ]
    options = {"stage": "shout", "output_dir": output, "workers": 1, "overwrite": False}
    return list(run_batch(shout, works, **{**options, **changed}))


def statuses(results: list[ClipResult]) -> dict[str, int]:
    return dict(Counter(result.status.value for result in results))


def outputs(inputs: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((inputs.parent / "out").glob("*.txt"))}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_all_is_done_whatever_the_workers(inputs: Path, workers: int) -> None:
    results = batch(inputs, workers=workers)
    assert statuses(results) == {"written": 6}
    assert {result.n_total for result in results} == {6}
    assert outputs(inputs)["3.txt"] == b"TEXT 3!"


def test_any_executor_does_the_work(inputs: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert statuses(batch(inputs, executor=executor)) == {"written": 6}


def test_only_what_changed_is_done_again(inputs: Path) -> None:
    batch(inputs)
    assert statuses(batch(inputs)) == {"fresh": 6}
    (inputs / "deep" / "2.txt").write_text("other")
    os.utime(inputs / "deep" / "4.txt", (1, 1))  # touched, the content is the same
    results = batch(inputs)
    assert [result.name for result in results if result.status.value == "written"] == ["2.txt"]
    (inputs.parent / "out" / "5.txt").unlink()
    assert statuses(batch(inputs)) == {"fresh": 5, "written": 1}
    assert statuses(batch(inputs, mark="?")) == {"written": 6}
    assert statuses(batch(inputs, mark="?", overwrite=True)) == {"written": 6}


def test_fresh_results_tell_what_the_written_ones_told(inputs: Path) -> None:
    def told(results: list[ClipResult]) -> Iterator[object]:
        return ((r.name, r.n_frames, r.outputs, r.details) for r in results)

    first = batch(inputs)
    assert sorted(told(first)) == sorted(told(batch(inputs)))


def test_one_bad_input_stops_nothing_and_is_named(inputs: Path) -> None:
    (inputs / "deep" / "1.txt").write_text("")
    for workers in (1, 2):
        results = batch(inputs, workers=workers, overwrite=True)
        assert statuses(results) == {"written": 5, "failed": 1}
        (bad,) = [result for result in results if result.error is not None]
        assert (bad.name, bad.error.problem, bad.error.fix) == (
            "1.txt",
            "the file is empty",
            "fill it",
        )
    (inputs / "deep" / "1.txt").write_text("mended")
    assert statuses(batch(inputs)) == {"fresh": 5, "written": 1}


def test_what_the_system_refuses_is_named_too(inputs: Path) -> None:
    (inputs / "deep" / "1.txt").unlink()
    (inputs / "deep" / "1.txt").mkdir()
    results = batch(inputs)
    assert statuses(results) == {"written": 5, "failed": 1}
    assert "directory" in str(next(r.error for r in results if r.error))


def test_what_somebody_else_made_is_left_as_it_is(inputs: Path) -> None:
    theirs = inputs.parent / "out" / "0.txt"
    theirs.parent.mkdir()
    theirs.write_text("precious")
    assert statuses(batch(inputs)) == {"foreign": 1, "written": 5}
    assert theirs.read_text() == "precious"
    assert statuses(batch(inputs, overwrite=True)) == {"written": 6}


def test_dead_worker_is_explained_and_the_next_run_goes_on(inputs: Path) -> None:
    (inputs / "deep" / "3.txt").write_text("die")
    with pytest.raises(AsdtuneError, match="worker process was ended"):
        batch(inputs, workers=2)
    (inputs / "deep" / "3.txt").write_text("text 3")
    assert set(statuses(batch(inputs))) <= {"fresh", "written"}
    assert len(outputs(inputs)) == 6


def test_second_process_on_the_same_folder_is_refused(inputs: Path) -> None:
    output = inputs.parent / "out"
    works = [Work("a", inputs / "deep" / "0.txt", (output / "a.txt",), {"mark": "!"})] * 2
    first = run_batch(shout, works, stage="shout", output_dir=output, workers=1, overwrite=True)
    next(first)
    code = (
        "import sys; from pathlib import Path; from tests.test_batch import batch\n"
        "from asdtune.errors import AsdtuneError\n"
        "try: batch(Path(sys.argv[1]))\n"
        "except AsdtuneError as error: print(error.problem)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, inputs],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert "another asdtune shout is at work" in done.stdout
    first.close()
    assert statuses(batch(inputs))["written"] >= 5


def test_output_of_another_input_does_not_outlive_a_kill_and_a_failure(inputs: Path) -> None:
    batch(inputs)
    source = inputs / "deep" / "1.txt"
    source.write_text("die")
    with pytest.raises(AsdtuneError, match="ended from outside"):
        batch(inputs, workers=2, overwrite=True)
    source.write_text("")
    assert statuses(batch(inputs))["failed"] == 1
    assert "1.txt" not in outputs(inputs)


def pieces(work: Work) -> Outcome:
    """Write a file for every letter."""
    text = work.source.read_text()
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    folder = work.targets[0].parent
    written = tuple(folder / f"{work.source.stem}{i}.piece" for i in range(len(text)))
    for path in written:
        write_text(path, "x")
    return Outcome(written, len(text))


def test_what_an_interrupted_run_made_before_is_not_left_behind(inputs: Path) -> None:
    source = inputs / "deep" / "1.txt"
    output = inputs.parent / "out"
    works = [Work("1.txt", source, (output / "10.piece",), {})]
    options = {"stage": "pieces", "output_dir": output, "workers": 2, "overwrite": False}
    for text, n_pieces in (("abcd", 4), ("die", None), ("ab", 2)):
        source.write_text(text)
        two = [*works, Work("2.txt", inputs / "deep" / "2.txt", (output / "20.piece",), {})]
        if n_pieces is None:
            with pytest.raises(AsdtuneError, match="ended from outside"):
                list(run_batch(pieces, two, **{**options, "overwrite": True}))
        else:
            list(run_batch(pieces, two, **options))
            assert len(list(output.glob("1?.piece"))) == n_pieces


def take_turns(work: Work) -> Outcome:
    """Write what the first letter of the input says; fail where it says so."""
    text = work.source.read_text()
    if text == "bad":
        raise AsdtuneError("it is bad", where=work.source)
    for target in work.targets:
        write_text(target, text)
    return Outcome(work.targets, 1)


def test_a_failure_does_not_delete_what_another_work_has_just_made(inputs: Path) -> None:
    output = inputs.parent / "out"
    one, two = inputs / "deep" / "1.txt", inputs / "deep" / "2.txt"
    options = {"stage": "turns", "output_dir": output, "workers": 1, "overwrite": False}
    first = [Work("1", one, (output / "a", output / "b"), {}), Work("2", two, (output / "c",), {})]
    list(run_batch(take_turns, first, **options))
    one.write_text("bad")
    # By now the place b belongs to the other work, which is done first.
    shifted = [Work("2", two, (output / "b",), {"n": 1}), Work("1", one, (output / "a",), {"n": 1})]
    results = list(run_batch(take_turns, shifted, **options))
    assert statuses(results) == {"written": 1, "failed": 1}
    assert {path.name for path in output.glob("[a-c]")} == {"b"}


def test_the_lock_of_a_killed_process_is_cleared_away(inputs: Path) -> None:
    batch(inputs)
    folder = inputs.parent / "out" / ".asdtune" / "shout"
    left = next(folder.glob("*.json")).with_suffix(".lock")
    left.touch()
    assert statuses(batch(inputs)) == {"fresh": 6}
    assert not list(folder.glob("*.lock"))
