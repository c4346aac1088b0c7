"""Whether speakers are held out follows from the run's own record, never from a file's name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from asdtune.core.evaluation.evaluation_sets import SplitWindows
from asdtune.core.evaluation.held_out import about_speakers, know_speakers, whose
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.run_state import RUN_JSON, describe_run
from tests.conftest import Run
from tests.small import SETTINGS, write_checkpoint

WHO = {"training": ["s0", "s1", "s2", "s3"], "validation": ["s4", "s5"]}  # of the fixture `data`


def write_run(folder: Path, **changed: object) -> Path:
    """Write a checkpoint and the record of its run; give the checkpoint."""
    checkpoint = write_checkpoint(folder / "checkpoints" / "best.pth", 5)
    of_run = json.loads(checkpoint.with_suffix(".json").read_text())
    run = {"network": of_run["network"], "window_size": 5, "checkpoint": "scratch", "speakers": WHO}
    (folder / RUN_JSON).write_text(json.dumps({**run, **changed}))
    return checkpoint


@pytest.fixture
def renamed(data: Path, tmp_path: Path) -> dict[str, Path]:
    """Give copies of the splits whose names tell nothing."""
    shutil.copytree(data.parent, tmp_path / "corpus")
    folder = tmp_path / "corpus" / "splits"
    names = {"training": "my_training", "validation": "val", "test": "validation_2"}
    return {
        split: (folder / f"{split}.csv").rename(folder / f"{name}.csv")
        for split, name in names.items()
    }


@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_a_renamed_split_is_found_out(renamed: dict[str, Path], tmp_path: Path, split: str) -> None:
    evaluated = SplitWindows(renamed[split], 5)
    found = know_speakers(write_run(tmp_path / "exps"), evaluated)
    n_met = {"training": 4, "validation": 2, "test": 0}[split]
    assert found == {
        "speakers_are": split, "n_speakers_met": n_met, "speakers_known_by": "run"
    }  # fmt: skip


def test_one_speaker_among_others_is_found_out(renamed: dict[str, Path], tmp_path: Path) -> None:
    tables = {split: pd.read_csv(path) for split, path in renamed.items()}
    mixed = renamed["test"].with_name("mixed.csv")
    of_training = tables["training"][tables["training"].video_path.str.contains("/s3/")]
    pd.concat([tables["test"], of_training]).to_csv(mixed, index=False)
    found = know_speakers(write_run(tmp_path / "exps"), SplitWindows(mixed, 5))
    assert (found["speakers_are"], found["n_speakers_met"]) == ("training", 1)
    report = {**found, "n_speakers": 3}
    assert whose(report) == "3 speakers (1 it was trained on)"
    expected = "The network was trained on 1 of these 3 speakers: on others it is worse."
    assert about_speakers(report) == expected


@pytest.mark.parametrize(
    "changed",
    [{"network": "light-asd"}, {"window_size": 9}, {"checkpoint": "another"}, {"speakers": None}],
)
def test_without_a_record_the_name_of_the_split_has_to_do(
    data: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    checkpoint = write_run(tmp_path / "exps", **changed)
    for split, n_met in {"training": 4, "validation": 2, "test": 0}.items():
        assert know_speakers(checkpoint, SplitWindows(data / f"{split}.csv", 5)) == {
            "speakers_are": split, "n_speakers_met": n_met, "speakers_known_by": "split"
        }  # fmt: skip


def test_a_run_names_its_speakers_and_those_of_the_run_it_starts_from(
    data: Path, tmp_path: Path
) -> None:
    datasets = {name: data / f"{name}.csv" for name in ("training", "validation")}
    windows = {name: WindowDataset(path, 5) for name, path in datasets.items()}
    assert describe_run(windows, datasets, None, SETTINGS)["speakers"] == WHO
    before = write_run(tmp_path, speakers={"training": ["anna", "s0"], "validation": []})
    run = describe_run(windows, datasets, before, SETTINGS)
    assert run["speakers"] == {**WHO, "training": ["anna", *WHO["training"]]}
    without = write_run(tmp_path, speakers=None)
    again = describe_run(windows, datasets, without, SETTINGS)
    assert again["speakers"] == WHO
    assert again["fingerprint"] == run["fingerprint"]  # which they are no part of


def test_report_notes_page_and_export_say_who_was_judged(
    renamed: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    checkpoint = write_run(tmp_path / "exps")
    project = tmp_path / "asdtune.toml"
    project.write_text(f'[paths]\nreport_dir = "{(tmp_path / "report").as_posix()}"\n')
    done = run(
        "evaluate", "--checkpoint", checkpoint, "--dataset", renamed["training"], "--project",
        project, "--toolkit-clips", 0, "--baseline", checkpoint,
    )  # fmt: skip
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["speakers_are"] == "training"
    assert report["verdict"]["side"] == "unsure"
    assert "n 4 speakers it was trained on" in report["verdict"]["text"]
    told = "The network was trained on these speakers: on others it is worse."
    assert f"note: {told}" in done.output
    going_on = f"next: asdtune evaluate --checkpoint {checkpoint} --project {project}\n"
    assert done.output.endswith(going_on)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert f'<p class="caveat">{told}</p>' in page
    refused = run(
        "export-config", "--language", "swahili", "--checkpoint", checkpoint, "--project", project,
        "--output-dir", tmp_path / "export", exit_code=1,
    )  # fmt: skip
    assert "these results are of speakers that the network learned from" in refused.output


def test_a_report_that_knew_less_is_made_anew(
    renamed: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    checkpoint = write_run(tmp_path / "exps", speakers=None)
    evaluate = (
        "evaluate", "--checkpoint", checkpoint, "--dataset", renamed["training"], "--output-dir",
        tmp_path, "--toolkit-clips", 0, "--json",
    )  # fmt: skip
    assert json.loads(run(*evaluate).stdout)["speakers_are"] == "test"  # as its name says
    assert json.loads(run(*evaluate).stdout)["is_fresh"]
    write_run(tmp_path / "exps")
    again = json.loads(run(*evaluate).stdout)
    assert (again["speakers_are"], again["is_fresh"]) == ("training", False)
