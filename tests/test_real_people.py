"""The 27 real speakers: windows that tell nothing by silence, and a network that gets better."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.recipes import DEFAULT, deal_speakers, judge, settings_of, tune, write_fold
from tests.conftest import Run

N_FOLDS = 5
OPTIONS = argparse.Namespace(window_size=25, windows_per_sample=24)


@pytest.mark.slow
def test_a_few_minutes_of_speech_teach_sync(shared: Path, people: Path, tmp_path: Path) -> None:
    # One of the five folds of tests.bench.recipes, with two thirds of its epochs.
    network, start = "lr-asd", shared / "models" / "lr_asd_talkset.model"
    folds = deal_speakers(people / "face_crops", N_FOLDS)
    splits = write_fold(people, tmp_path, folds, 0, OPTIONS)
    settings = settings_of(network, start, DEFAULT, window_size=OPTIONS.window_size)
    settings = replace(settings, total_epochs=settings.total_epochs * 2 // 3)
    best = tune(splits, tmp_path / "exps", settings)
    before, after = (judge(each, splits / "test.csv", 25) for each in (start, best))
    assert before["auc_temporal"] < 0.65  # the published network hardly looks at sync
    assert after["auc_temporal"] > before["auc_temporal"] + 0.1
    assert after["auc_all"] > before["auc_all"] + 0.05


@pytest.mark.slow
def test_silence_and_padding_of_real_speakers_do_not_tell_the_kind(
    run: Run, people: Path, in_tmp: Path
) -> None:
    for size in (25, 51):
        run(
            "splits", "--window-size", size, "--face-crops-dir", people / "face_crops",
            "--mfccs-dir", people / "mfccs",
        )  # fmt: skip
        report = json.loads(Path("splits/report.json").read_text())
        for split in report["splits"].values():
            positive = split["kinds"].pop("positive")
            for kind in split["kinds"].values():
                for share in ("silence_percent", "padding_percent"):
                    assert abs(kind[share] - positive[share]) <= 2
