"""What `evaluate` writes, and what it does with bad input."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
import torch

from asdtune.core.evaluation.evaluate import Evaluation, evaluate, window_size_of
from asdtune.core.evaluation.evaluation_sets import SplitWindows
from asdtune.core.evaluation.thresholds import judge_threshold
from asdtune.core.evaluation.toolkit_scoring import ToolkitNetwork, is_settled
from asdtune.core.files import content_hash
from asdtune.core.metrics import area_under_roc
from asdtune.core.models.checkpoints import CheckpointInfo, load_network, save_weights
from asdtune.core.models.registry import LIGHT_ASD, make_network
from asdtune.core.models.talknet import TalkNet
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.scoring import score_windows
from asdtune.errors import UsageError
from tests.conftest import Run
from tests.small import TINY, write_checkpoint
from tests.test_metrics import slow_average_precision


def evaluated(data: Path, output: Path, checkpoint: Path, **changed: object) -> Evaluation:
    dataset, silent_faces_dir = (
        changed.pop(name, None) for name in ("dataset", "silent_faces_dir")
    )
    size = window_size_of(checkpoint, changed.pop("window_size", None), 51)
    options = {
        "window_size": size, "baseline": None, "thresholds_on": None, "batch_size": 7,
        "toolkit_clips": 1, "device": "cpu", "overwrite": False, **changed,
    }  # fmt: skip
    windows = SplitWindows(dataset or data / "test.csv", size, silent_faces_dir=silent_faces_dir)
    *_, done = evaluate(checkpoint, windows, output, **options)
    assert isinstance(done, Evaluation)
    return done


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "best.pth"
    save_weights(path, TalkNet().state_dict(), CheckpointInfo(5, 1, 50.0, "scratch", "0.1.0"))
    return path


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.pth", 5)


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "nine.pth", 9)


def test_report_and_scores_agree_with_an_independent_computation(
    data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    done = evaluated(data, tmp_path, checkpoint)
    table = pd.read_csv(done.scores_path)
    assert list(table.columns[-2:]) == ["frame", "score"]
    assert len(table) == done.report["n_windows"] * 5
    assert (table.groupby(table.index // 5).frame.apply(list).map(tuple) == (0, 1, 2, 3, 4)).all()
    expected = slow_average_precision(list(table.label), list(table.score))
    assert done.report["mAP"] == pytest.approx(expected, abs=0.05)  # scores are rounded in the CSV
    assert json.loads(done.report_path.read_text())["mAP"] == done.report["mAP"]
    for kind, entry in done.report["by_kind"].items():
        assert entry["n_windows"] * 5 == (table.kind == kind).sum()
    assert (done.scores_path.parent / table.video_path[0]).is_file()


def test_evaluation_is_done_once(data: Path, tmp_path: Path, small_checkpoint: Path) -> None:
    bare = shutil.copyfile(small_checkpoint, tmp_path / "bare.pth")
    assert not evaluated(data, tmp_path, bare, window_size=5).is_fresh
    assert evaluated(data, tmp_path, bare, window_size=5).is_fresh
    assert not evaluated(data, tmp_path, bare, window_size=5, overwrite=True).is_fresh
    assert not evaluated(data, tmp_path, bare, window_size=3).is_fresh


def test_what_was_edited_or_made_by_an_earlier_version_is_made_anew(
    data: Path, tmp_path: Path, small_checkpoint: Path
) -> None:
    done = evaluated(data, tmp_path, small_checkpoint)
    report, scores = done.report_path.read_bytes(), done.scores_path.read_bytes()
    done.scores_path.write_bytes(scores[:-100])
    assert not evaluated(data, tmp_path, small_checkpoint).is_fresh
    assert done.scores_path.read_bytes() == scores
    earlier = {key: value for key, value in json.loads(report).items() if key != "inputs"}
    done.report_path.write_text(json.dumps({**earlier, "fingerprint": "0"}))
    assert not evaluated(data, tmp_path, small_checkpoint).is_fresh
    assert done.report_path.read_bytes() == report


@pytest.mark.parametrize("size", [-5, 0, 4])
def test_window_size_without_a_centre_is_wrong_usage(
    tmp_path: Path, small_checkpoint: Path, size: int
) -> None:
    bare = shutil.copyfile(small_checkpoint, tmp_path / "bare.pth")
    with pytest.raises(UsageError, match="odd number of frames"):
        window_size_of(bare, size, 51)


def test_a_window_size_that_is_not_the_checkpoints_is_refused(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run
) -> None:
    bare = shutil.copyfile(small_checkpoint, tmp_path / "bare.pth")
    flags = ("--dataset", data / "test.csv", "--output-dir", tmp_path, "--toolkit-clips", 0)
    refused = run(
        "evaluate", "--checkpoint", small_checkpoint, "--window-size", 3, *flags, exit_code=2
    )
    assert "small.pth was trained with windows of 5 frames, not 3" in refused.output
    assert "leave --window-size away" in refused.output
    assert not (tmp_path / "report.json").exists()
    for checkpoint, size in ((small_checkpoint, 5), (bare, 3)):  # which nothing tells of a bare one
        run("evaluate", "--checkpoint", checkpoint, "--window-size", size, *flags)
        assert json.loads((tmp_path / "report.json").read_text())["window_size"] == size


def test_scores_do_not_depend_on_the_batch_size(data: Path) -> None:
    torch.manual_seed(0)
    network, windows = TalkNet(TINY), WindowDataset(data / "test.csv", 5)
    a, b = (
        np.concatenate(list(score_windows(network, windows, batch_size=size))) for size in (1, 16)
    )
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert network.training  # as it was before


def test_shared_features_give_the_scores_of_windows_by_themselves(
    data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    done = evaluated(data, tmp_path, checkpoint)
    _, network = load_network(checkpoint)
    windows = WindowDataset(data / "test.csv", 5)
    expected = np.concatenate(list(score_windows(network, windows, batch_size=8)))
    scores = pd.read_csv(done.scores_path).score.to_numpy().reshape(-1, 5)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert not list(tmp_path.glob(".features-*"))


def test_a_bad_baseline_is_named_and_the_rest_of_the_report_is_made(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run
) -> None:
    bad = tmp_path / "other.pth"
    torch.save({"encoder.weight": torch.zeros(2, 2)}, bad)
    done = run(
        "evaluate", "--checkpoint", small_checkpoint, "--baseline", bad,
        "--dataset", data / "test.csv", "--output-dir", tmp_path, "--toolkit-clips", 1, exit_code=1,
    )  # fmt: skip
    assert "failed baseline other.pth: not a checkpoint of" in done.output
    again = run(
        "evaluate", "--checkpoint", small_checkpoint, "--baseline", tmp_path / "gone.pth",
        "--dataset", data / "test.csv", "--output-dir", tmp_path, "--toolkit-clips", 1, exit_code=1,
    )  # fmt: skip
    assert "error: no such checkpoint" in again.output  # before anything is scored
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["mAP"] > 0
    assert "baseline" not in report


def test_a_network_is_compared_with_another_kind(pausing: Path, tmp_path: Path, nine: Path) -> None:
    torch.manual_seed(0)
    other = tmp_path / "light.pth"
    torch.save(make_network(LIGHT_ASD).state_dict(), other)
    report = evaluated(pausing, tmp_path, nine, baseline=other).report
    assert report["baseline"]["network"] == LIGHT_ASD
    difference = report["difference"]["mAP"]
    assert difference["value"] == pytest.approx(report["mAP"] - report["baseline"]["mAP"])
    assert difference["low"] is difference["high"] is None  # of two speakers
    assert "Fewer than 6 speakers do not tell how sure" in report["verdict"]["text"]
    assert report["checkpoint"]["by_speaker"].keys() == {"s3", "s4"}
    in_toolkit = report["checkpoint"]["thresholds_in_toolkit"]
    assert 0 <= in_toolkit["recall_95"]["threshold"] <= 1
    assert in_toolkit["recall_95"]["recall"] >= 95


@pytest.mark.parametrize("label", [0, 1])
def test_a_split_of_one_label_leaves_empty_what_needs_both(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run, label: int
) -> None:
    table = pd.read_csv(data / "test.csv")
    split = data / f"label_{label}.csv"
    table[table.label == label].to_csv(split, index=False)
    done = run(
        "evaluate", "--checkpoint", small_checkpoint, "--dataset", split, "--output-dir", tmp_path,
        "--baseline", small_checkpoint, "--toolkit-clips", 1,
    )  # fmt: skip
    assert "the same label" in " ".join(done.output.split())
    assert (tmp_path / "report.html").is_file()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["mAP"] is report["sync"] is None
    assert 0 <= report["accuracy"] <= 100
    assert "one label only" in report["verdict"]["text"]
    project = tmp_path / "asdtune.toml"
    project.write_text(f'[paths]\nreport_dir = "{tmp_path.as_posix()}"\n')
    run(
        "export-config", "--language", "swahili", "--checkpoint", small_checkpoint, "--project",
        project, "--output-dir", tmp_path / "export",
    )  # fmt: skip
    assert "| accuracy over frames" in (tmp_path / "export" / "MODEL_CARD.md").read_text()


def test_a_split_without_silent_faces_gets_some_the_same_each_time(
    pausing: Path, tmp_path: Path, nine: Path, run: Run
) -> None:
    project = tmp_path / "asdtune.toml"
    project.write_text(f'[paths]\nsplits_dir = "{pausing.as_posix()}"\n')
    for name in "ab":
        run(
            "evaluate", "--checkpoint", nine, "--project", project, "--baseline", nine,
            "--output-dir", tmp_path / name, "--toolkit-clips", 1,
        )  # fmt: skip
    first, second = (files_below(tmp_path / name) for name in "ab")
    assert first == second
    assert {"windows_test.csv", "windows_validation.csv", "report.html"} <= first.keys()
    assert any(name.startswith("silent_faces/test/s3/s3_0000_pause") for name in first)
    drawn = pd.read_csv(tmp_path / "a" / "windows_test.csv")
    silent = drawn[drawn.kind == "silent_face"]
    assert len(silent) == round(len(pd.read_csv(pausing / "test.csv")) / 3)
    assert not silent.label.any()
    report = json.loads(first["report.json"])
    assert report["split"] == "test"
    assert report["by_kind"]["silent_face"]["AUC"] == report["who_is_speaking"]
    assert report["verdict"]["text"].startswith(
        "On 2 speakers, compared with nine.pth, the network tells silent faces equally well (AUC "
    )
    assert report["checkpoint"]["in_toolkit"]["found_on"] == "validation"
    scores = pd.read_csv(tmp_path / "a" / "scores_test.csv")
    assert (tmp_path / "a" / scores[scores.kind == "silent_face"].video_path.iloc[0]).is_file()


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".asdtune" not in path.parts
    }


def test_figures_are_over_frames_with_speech_and_without(
    pausing: Path, tmp_path: Path, nine: Path
) -> None:
    done = evaluated(pausing, tmp_path, nine, toolkit_clips=0)
    scores = pd.read_csv(done.scores_path)
    labels = WindowDataset(pausing / "test.csv", 9).frame_labels.reshape(-1)
    assert labels.sum() < scores.label.sum()
    assert done.report["accuracy"] == pytest.approx(
        100 * ((scores.score > 0.5) == (labels == 1)).mean()
    )
    assert done.report["chance_mAP"] == pytest.approx(100 * labels.mean())


def test_without_speech_in_the_mfcc_who_is_speaking_is_not_known(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run
) -> None:
    said = run(
        "evaluate", "--checkpoint", small_checkpoint, "--dataset", data / "test.csv",
        "--output-dir", tmp_path, "--toolkit-clips", 1,
    ).output  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["who_is_speaking"] is None
    assert "note: no threshold for the toolkit was found" in said
    assert report["sync"] is not None
    assert "Whether it tells who is speaking is not known" in report["verdict"]["text"]
    assert not (tmp_path / "silent_faces").exists()
    assert not (tmp_path / "windows_test.csv").exists()


def test_thresholds_are_found_on_validation_and_judged_on_what_is_scored(
    pausing: Path, tmp_path: Path, nine: Path
) -> None:
    validation = SplitWindows(pausing / "validation.csv", 9, silent_faces_dir=tmp_path)

    def in_toolkit(name: str, **changed: object) -> tuple[dict, dict]:
        options = {"toolkit_clips": 2, "silent_faces_dir": tmp_path, **changed}
        judged = evaluated(pausing, tmp_path / name, nine, **options).report["checkpoint"]
        return judged["thresholds_in_toolkit"]["half_way"], judged["in_toolkit"]

    of_test, about = in_toolkit("test", thresholds_on=validation)
    of_validation, _ = in_toolkit("validation", dataset=pausing / "validation.csv")
    assert about["found_on"] == "validation"
    assert of_test["threshold"] == of_validation["threshold"]

    scorer = ToolkitNetwork(*load_network(nine))
    tracks = list(SplitWindows(pausing / "test.csv", 9, silent_faces_dir=tmp_path).tracks(2))
    settled = [is_settled(track.labels) for track in tracks]
    labels = np.concatenate([each.labels[i] for each, i in zip(tracks, settled, strict=True)])
    scores = np.concatenate(
        [
            scorer.score_track(each.crops, each.mfcc, 9)[i]
            for each, i in zip(tracks, settled, strict=True)
        ]
    )
    assert of_test == asdict(judge_threshold(of_test["threshold"], labels, scores))
    assert (about["n_frames"], about["AUC"]) == (len(labels), area_under_roc(labels, scores))
    assert about["speech"] == pytest.approx(100 * labels.mean())

    shutil.copyfile(pausing / "validation.csv", pausing / "renamed.csv")
    _, about = in_toolkit("copy", dataset=pausing / "renamed.csv", thresholds_on=validation)
    assert about["found_on"] == "renamed"  # the same windows are not scored twice


def test_a_speaker_with_one_window_is_judged_as_far_as_it_goes(
    data: Path, tmp_path: Path, small_checkpoint: Path
) -> None:
    table = pd.read_csv(data / "test.csv")
    of_s7 = table.video_path.str.contains("/s7/")
    split = data / "one_window.csv"
    pd.concat([table[~of_s7], table[of_s7][:1]]).to_csv(split, index=False)
    report = evaluated(data, tmp_path, small_checkpoint, dataset=split).report
    of_one = report["checkpoint"]["by_speaker"]["s7"]
    assert of_one["n_windows"] == 1
    assert of_one["mAP"] is None
    assert report["checkpoint"]["by_speaker"]["s6"]["mAP"] is not None


def test_kinds_that_nobody_knows_are_refused(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run
) -> None:
    table = pd.read_csv(data / "test.csv")
    table["kind"] = "guessed"
    table.to_csv(data / "guessed.csv", index=False)
    done = run(
        "evaluate", "--checkpoint", small_checkpoint, "--dataset", data / "guessed.csv",
        exit_code=1,
    )  # fmt: skip
    assert "unknown kinds of windows: 'guessed'" in done.output


def test_an_empty_split_is_refused(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run
) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text((data / "test.csv").read_text().splitlines()[0] + "\n")
    done = run("evaluate", "--checkpoint", small_checkpoint, "--dataset", empty, exit_code=1)
    assert "empty.csv" in done.output


def test_two_evaluations_do_not_share_a_folder(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run
) -> None:
    with filelock.FileLock(tmp_path / ".asdtune" / "evaluate.lock"):
        done = run(
            "evaluate", "--checkpoint", small_checkpoint, "--dataset", data / "test.csv",
            "--output-dir", tmp_path, exit_code=1,
        )  # fmt: skip
    assert "another asdtune evaluate is at work in this folder" in done.output


def test_a_comparison_is_not_thrown_away_by_evaluating_again(
    data: Path, tmp_path: Path, small_checkpoint: Path
) -> None:
    compared = evaluated(data, tmp_path, small_checkpoint, baseline=small_checkpoint)
    before = compared.report_path.read_bytes()
    again = evaluated(data, tmp_path, small_checkpoint)
    assert again.is_fresh
    assert again.report_path.read_bytes() == before
    assert "baseline" not in evaluated(data, tmp_path, small_checkpoint, overwrite=True).report


@pytest.mark.parametrize(
    ("start", "start_blake2b", "flags", "compared_with"),
    [
        ("before.pth", "", [], "before.pth"),
        ("before.pth", "its own", [], "before.pth"),
        ("before.pth", "another", [], None),
        ("before.pth", "", ["--baseline", "none"], None),
        ("scratch", "", [], None),
        ("gone.pth", "", [], None),
        ("new.pth", "", [], None),  # a run that wrote over what it started from
    ],
)
def test_a_checkpoint_is_compared_with_what_it_started_from(
    data: Path, in_tmp: Path, run: Run, start: str, start_blake2b: str, flags: list[str],
    compared_with: str | None,
) -> None:  # fmt: skip
    before = write_checkpoint(Path("before.pth"), 5)
    if start_blake2b == "its own":
        start_blake2b = content_hash(before)
    new = write_checkpoint(Path("new.pth"), 5)
    about = Path("new.json")
    origin = {"started_from": start, "start_blake2b": start_blake2b}
    about.write_text(json.dumps({**json.loads(about.read_text()), **origin}))
    done = run(
        "evaluate", "--checkpoint", new, "--dataset", data / "test.csv", "--toolkit-clips", 0,
        "--json", *flags,
    )  # fmt: skip
    assert json.loads(done.stdout).get("baseline", {}).get("name") == compared_with
    said = "".join(done.stderr.split())
    assert ("gone.pth,whichthischeckpointstartedfrom,isnot" in said) == (start == "gone.pth")
    assert ("before.pth,whichthischeckpointstartedfrom,has" in said) == (start_blake2b == "another")


@pytest.mark.parametrize(
    ("split", "whose"),
    [("training", "of training"), ("validation", "of validation"), ("test", "")],
)
def test_a_verdict_says_on_whom_it_is(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run, split: str, whose: str
) -> None:
    run(
        "evaluate", "--checkpoint", small_checkpoint, "--dataset", data / f"{split}.csv",
        "--output-dir", tmp_path, "--toolkit-clips", 0,
    )  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    n_speakers = 4 if split == "training" else 2
    assert f"On {n_speakers} speakers {whose}".rstrip() + "," in report["verdict"]["text"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    is_told = re.search('<p class="caveat">These speakers are of ', page) is not None
    assert is_told == (split != "test")


@pytest.mark.parametrize("labels_of", ["s6", "s0"])
def test_notes_say_what_stands_between_figures_and_a_claim(
    data: Path, tmp_path: Path, small_checkpoint: Path, run: Run, labels_of: str
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(
        f"clip,start_second,end_second,speaking\n{labels_of}_0000,0,1,1\n{labels_of}_0000,1,1.5,0\n"
    )
    root = data.parent
    said = run(
        "evaluate", "--labels", labels, "--checkpoint", small_checkpoint, "--output-dir", tmp_path,
        "--face-crops-dir", root / "face_crops", "--mfccs-dir", root / "mfccs",
    ).output  # fmt: skip
    assert "note: speakers: 1; fewer than 6" in said
    is_told = "whether the network met them while it learned is not known" in " ".join(said.split())
    assert is_told == (labels_of == "s0")
