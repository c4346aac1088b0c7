"""Several processes train as one does: run under torchrun on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asdtune.core.training.settings import TrainingSettings
from tests.small import TALKERS, altered, run_training, weights

# What each rank runs: the same call that the command makes, with a tiny network.
SCRIPT = """
import json, os, sys
from pathlib import Path
from asdtune.core.training.settings import TrainingSettings
from asdtune.core.training.reports import StepReport
from tests.small import run_training

settings = TrainingSettings(**json.loads(sys.argv[3]))
reports = run_training(Path(sys.argv[1]), Path(sys.argv[2]), settings=settings)
losses = [report.loss for report in reports if isinstance(report, StepReport)]
Path(f"{sys.argv[2]}.{os.environ['RANK']}.json").write_text(json.dumps(losses))
"""


def run_ranks(splits: Path, output: Path, settings: TrainingSettings, n_ranks: int) -> list[list]:
    script = output.parent / "rank.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            f"--nproc-per-node={n_ranks}", str(script), str(splits), str(output),
            settings.model_dump_json(),
        ],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(Path(f"{output}.{i}.json").read_text()) for i in range(n_ranks)]


def lines_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("changed", [{}, {"freeze": "visual-frontend"}])
def test_two_ranks_learn_about_as_one_process_does(
    splits: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    settings = altered(TALKERS, total_epochs=2, learning_rate=1e-6, **changed)
    run_training(splits, tmp_path / "alone", settings=settings)
    run_ranks(splits, tmp_path / "ranks", settings, 2)
    for one, two in zip(lines_of(tmp_path / "alone"), lines_of(tmp_path / "ranks"), strict=True):
        assert one["n_windows"] == two["n_windows"]
        assert one["loss"] == pytest.approx(two["loss"], rel=0.05)
    names = [
        sorted(str(path.relative_to(tmp_path / run)) for path in (tmp_path / run).rglob("*")
               if "tensorboard" not in str(path))
        for run in ("alone", "ranks")
    ]  # fmt: skip
    assert names[0] == names[1]


def test_two_ranks_step_as_one_process_does(splits: Path, tmp_path: Path) -> None:
    # Without dropout and batch statistics, the mean gradient of two shares is that of the whole.
    settings = altered(
        TALKERS, total_epochs=1, freeze="frontends", batchnorm="frozen", learning_rate=1e-3
    )
    run_training(splits, tmp_path / "alone", settings=settings)
    run_ranks(splits, tmp_path / "ranks", settings, 2)
    one, two = (weights(tmp_path / run)["lossAV.FC.weight"] for run in ("alone", "ranks"))
    assert (one - two).norm() < 0.1 * one.norm()


def test_batches_that_ranks_cannot_share_are_refused_by_all(splits: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="cannot share batches of 1 windows"):
        run_ranks(splits, tmp_path / "ranks", altered(TALKERS, batch_size=1), 2)
    assert not (tmp_path / "ranks").exists()


@pytest.mark.slow
def test_ranks_stop_at_the_same_epoch(splits: Path, tmp_path: Path) -> None:
    settings = altered(TALKERS, learning_rate=1e-30, batchnorm="frozen", total_epochs=9, patience=2)
    alone = run_training(splits, tmp_path / "alone", settings=settings)[-1]
    run_ranks(splits, tmp_path / "ranks", settings, 2)
    assert alone.stopped_early
    assert len(lines_of(tmp_path / "ranks")) == len(lines_of(tmp_path / "alone")) == 3
    run = json.loads((tmp_path / "ranks" / "run.json").read_text())
    assert run["result"]["best_epoch"] == alone.best_epoch
