"""The 27 real speakers: tuning teaches sync, keeps who is speaking, and says where it did not."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.bench.recipes import deal_speakers, write_fold
from tests.conftest import Run

N_FOLDS = 5
NETWORK, WINDOW_SIZE = "lr-asd", 25
SHARE = 0.25  # of silent faces
# What `train` did before it kept who is speaking.


@pytest.fixture(scope="module")
def project(people: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one of the five folds of tests.bench.recipes: a project with its splits."""
    root = tmp_path_factory.mktemp("fold")
    options = argparse.Namespace(
        folder=people, work=root, window_size=WINDOW_SIZE, windows_per_sample=24
    )
    folds = deal_speakers(people / "face_crops", N_FOLDS)
    for has_silent in (True, False):
        splits = write_fold(options, folds, 0, has_silent=has_silent)
        start = shared / "models" / f"{NETWORK.replace('-', '_')}_ava.model"
        (root / f"{splits.name}.toml").write_text(
            f'[project]\nlanguage = "korean"\nwindow_size = {WINDOW_SIZE}\n'
            f'[model]\nnetwork = "{NETWORK}"\n[paths]\nsplits_dir = "{splits.as_posix()}"\n'
            f'exps_dir = "exps-{splits.name}"\nreport_dir = "report-{splits.name}"\n'
            f'[evaluate]\nbatch_size = 32\ntoolkit_clips = 3\n'
            + f'[train]\ncheckpoint = "{start.as_posix()}"\n'
        )  # fmt: skip
    return root


@pytest.mark.slow
def test_tuning_teaches_sync_and_keeps_who_is_speaking(run: Run, project: Path) -> None:
    run("train", "--project", project / "splits.toml")
    run("evaluate", "--project", project / "splits.toml")
    report = json.loads((project / "report-splits" / "report.json").read_text())
    before, after = report["baseline"], report["checkpoint"]
    assert before["sync"] < 65  # the published network hardly looks at sync
    assert after["sync"] > before["sync"] + 5
    assert after["who_is_speaking"] > before["who_is_speaking"] - 1
    assert not report["verdict"]["lost"]
    assert report["checkpoint"]["in_toolkit"]["AUC"] > 90


@pytest.mark.slow
def test_a_network_that_forgot_who_is_speaking_is_found_out_and_not_exported(
    run: Run, project: Path
) -> None:
    toml, exps = project / "splits-tutorial.toml", project / "exps-splits-tutorial"
    if not (project / "exps-splits").exists():
        run("train", "--project", project / "splits.toml")
    shutil.copytree(project / "exps-splits", exps)
    best = exps / "checkpoints" / "best.pth"
    state = torch.load(best, weights_only=True)
    # It no longer looks at lips: the worst that windows of talking faces alone can teach.
    blind = {
        name: torch.zeros_like(value) if "visualEncoder" in name else value
        for name, value in state.items()
    }
    assert any("visualEncoder" in name for name in state)
    torch.save(blind, best)
    output = " ".join(run("evaluate", "--project", toml).output.split())
    report = json.loads((project / "report-splits-tutorial" / "report.json").read_text())
    lost = "Do not submit this network: "
    assert report["verdict"]["lost"]
    assert report["verdict"]["text"].startswith(lost)
    assert lost in output
    page = (project / "report-splits-tutorial" / "report.html").read_text()
    assert lost in page
    refused = run("export-config", "--project", toml, exit_code=1).output
    assert "silent faces" in refused
    assert "--force" in refused
