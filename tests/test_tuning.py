"""Tuning makes a published network better on real people whom it never saw."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.recipes import deal_speakers, judge, settings_of, tune, write_fold

N_FOLDS = 5
OPTIONS = argparse.Namespace(window_size=25, windows_per_sample=24)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["light-asd", "lr-asd"])
def test_a_few_minutes_of_speech_teach_sync(
    shared: Path, people: Path, tmp_path: Path, network: str
) -> None:
    # One of the five folds of tests.bench.recipes, with half of its epochs.
    start = shared / "models" / f"{network.replace('-', '_')}_talkset.model"
    folds = deal_speakers(people / "face_crops", N_FOLDS)
    splits = write_fold(people, tmp_path, folds, 0, OPTIONS)
    settings = settings_of(network, start, "base", window_size=OPTIONS.window_size)
    settings = replace(settings, total_epochs=settings.total_epochs // 2)
    best = tune(splits, tmp_path / "exps", settings)
    before, after = (judge(each, splits / "test.csv", 25) for each in (start, best))
    assert before["auc_temporal"] < 0.65  # the published network hardly looks at sync
    assert after["auc_temporal"] > before["auc_temporal"] + 0.1
    assert after["auc_all"] > before["auc_all"] + 0.05
