"""The windows of the splits, and their CSV."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asdtune.core.prepare.failures import keep_failures
from asdtune.core.prepare.jobs import JobResult, Status
from asdtune.core.prepare.splits import SplitResult, make_splits
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.windows import COLUMNS, read_windows
from asdtune.errors import AsdtuneError, UsageError
from tests.clips import GOOD_ROW, HEADER, write_clip
from tests.conftest import Run
from tests.small import write_checkpoint

SHIFTED_ROW = GOOD_ROW.replace(",1,", ",0,").replace("200,positive", "240,temporal_mismatch")
SETTINGS = {
    "window_size": 25,
    "windows_per_sample": 40,
    "n_samples": None,
    "seed": 0,
    "silent_face_share": 0.0,
    "min_speech_share": 0.5,
    "all_clips": False,
    "overwrite": False,
}
THIRD = {"temporal_mismatch", "partial_speaker_mismatch", "complete_speaker_mismatch"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give crops and MFCC of nine speakers with two or three clips each."""
    root = tmp_path_factory.mktemp("prepared")
    for i, split in enumerate(["training"] * 5 + ["validation"] * 2 + ["test"] * 2):
        for i_clip in range(2 + i % 2):
            write_clip(
                root,
                f"{split}/s{i}/s{i}_{i_clip:04d}",
                150 + 37 * i_clip,
                without_face=range(60, 63) if i_clip else (),
            )
    return root


def make(root: Path, output: Path, **changed: object) -> dict[str, pd.DataFrame]:
    results = make_splits(root / "face_crops", root / "mfccs", output, **{**SETTINGS, **changed})
    return {result.split.value: read_windows(result.path) for result in results}


def count(result: SplitResult) -> Counter[str]:
    """Count the windows of each kind."""
    kinds = result.report["kinds"].items()
    return +Counter({name: kind["n_windows"] for name, kind in kinds})


def check_rows(table: pd.DataFrame, size: int) -> None:
    half = size // 2
    for row in table.itertuples():
        video, audio = Path(row.video_path), Path(row.audio_path)
        assert (video.stem, audio.stem) == (row.video_id, row.audio_id)
        same_clip = video.stem == audio.stem and video.parent.name == audio.parent.name
        same_speaker = video.parent.name == audio.parent.name
        centre, audio_centre = row.video_window_center, row.audio_window_center / 4
        if row.kind == "positive":
            assert same_clip
            assert audio_centre == centre
        elif row.kind == "temporal_mismatch":
            assert same_clip
            assert size - abs(centre - audio_centre) <= size / 2
        elif row.kind == "partial_speaker_mismatch":
            assert same_speaker
            assert not same_clip
        else:
            assert row.kind == "complete_speaker_mismatch"
            assert not same_speaker
        assert row.label == (row.kind == "positive")
        assert row.audio_window_center % 4 == 0
        n_frames = len(np.load(video)["data"])
        n_rows = len(np.load(audio)["data"])
        assert half <= centre < n_frames - half
        assert 4 * half <= row.audio_window_center < n_rows - 4 * half


@pytest.mark.parametrize("size", [25, 51])
def test_every_row_is_what_it_says(prepared: Path, tmp_path: Path, size: int) -> None:
    tables = make(prepared, tmp_path, window_size=size)
    assert tables.keys() == {"training", "validation", "test"}
    for table in tables.values():
        check_rows(table, size)


def test_shares_of_the_kinds_hold_at_6000_windows(prepared: Path, tmp_path: Path) -> None:
    tables = make(prepared, tmp_path, windows_per_sample=None, n_samples=6000)
    assert {name: len(table) for name, table in tables.items()} == {
        "training": 6000, "validation": 1800, "test": 1800,
    }  # fmt: skip
    for table in tables.values():
        shares = table.kind.value_counts(normalize=True)
        assert shares["positive"] == pytest.approx(0.5, abs=0.01)
        for kind in THIRD:
            assert shares[kind] == pytest.approx(1 / 6, abs=0.01)


def test_every_clip_gives_as_many_windows_half_of_them_positive(
    prepared: Path, tmp_path: Path
) -> None:
    for table in make(prepared, tmp_path).values():
        assert set(Counter(table.video_path).values()) == {40}
        assert set(table.groupby("video_path").label.sum()) == {20}


def test_negatives_show_pictures_of_positives(prepared: Path, tmp_path: Path) -> None:
    for table in make(prepared, tmp_path).values():
        shown = table.groupby("label").apply(
            lambda rows: set(zip(rows.video_path, rows.video_window_center, strict=True)),
            include_groups=False,
        )
        assert shown[0] <= shown[1]


def test_no_window_has_a_black_picture_or_padded_sound(prepared: Path, tmp_path: Path) -> None:
    for table in make(prepared, tmp_path).values():
        for row in table.itertuples():
            with np.load(row.video_path) as file:
                seen = file["detected"][row.video_window_center - 12 : row.video_window_center + 13]
            with np.load(row.audio_path) as file:
                start = row.audio_window_center - 48
                heard = file["padded"][start : start + 100]
            assert seen.all()
            assert len(heard) == 100
            assert not heard.any()


def test_same_seed_same_bytes_another_seed_others(prepared: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make(prepared, tmp_path / name, seed=seed)
    for split in ("training", "validation", "test"):
        a, b, c = ((tmp_path / name / f"{split}.csv").read_bytes() for name in "abc")
        assert a == b != c


def test_csv_has_the_promised_header_and_relative_paths(prepared: Path, tmp_path: Path) -> None:
    make(prepared, prepared / "splits")
    lines = (prepared / "splits" / "test.csv").read_text().splitlines()
    assert lines[0] == (
        "video_id,audio_id,label,video_window_center,video_path,audio_path,audio_window_center,kind"
    )
    assert lines[1].split(",")[4].startswith("../face_crops/test/s7/")


def test_files_with_only_data_are_taken(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        for i in range(2):
            write_clip(tmp_path, f"{split}/{split}{i}/a", 120, only_data=True)
    tables = make(tmp_path, tmp_path / "splits")
    assert tables.keys() == {"training", "validation"}


def test_kind_that_the_corpus_cannot_give_is_told_and_the_others_fill_in(tmp_path: Path) -> None:
    for i in range(3):
        write_clip(tmp_path, f"training/s{i}/s{i}_0000", 200)
    (result,) = make_splits(
        tmp_path / "face_crops",
        tmp_path / "mfccs",
        tmp_path / "splits",
        **SETTINGS,
    )
    assert count(result)["partial_speaker_mismatch"] == 0
    assert sum(count(result).values()) == 120
    assert "speakers with two clips" in result.notes[0]


@pytest.mark.parametrize("is_told", [False, True])
def test_clip_without_mfcc_fails_with_what_mfcc_said_of_it(
    in_tmp: Path, run: Run, is_told: bool
) -> None:
    for name in ("a", "b"):
        write_clip(in_tmp, f"training/{name}/{name}_0000", 60)
    Path("mfccs/training/a/a_0000.npz").unlink()
    if is_told:
        error = AsdtuneError("the sound is silent from beginning to end")
        result = JobResult("training/a/a_0000.mp4", Status.FAILED, error=error)
        assert list(keep_failures([result], Path("mfccs"))) == [result]
    said = " ".join(run("splits", "--window-size", 25, exit_code=1).output.split())
    told = "no MFCC for this clip" + ": the sound is silent" * is_told
    assert f"failed training/a/a_0000: {told}" in said
    assert ("run mfcc first" in said) != is_told


def test_clip_too_short_for_a_window_is_left_out_by_name(tmp_path: Path) -> None:
    write_clip(tmp_path, "training/a/a_0000", 24)
    write_clip(tmp_path, "training/b/b_0000", 200)
    (result,) = make_splits(
        tmp_path / "face_crops",
        tmp_path / "mfccs",
        tmp_path / "splits",
        **{**SETTINGS, "windows_per_sample": 10},
    )
    assert result.left_out.keys() == {"training/a/a_0000"}
    assert "no window of 25 frames fits" in str(result.left_out["training/a/a_0000"])


def test_split_without_a_single_window_is_an_error(tmp_path: Path) -> None:
    write_clip(tmp_path, "training/a/a_0000", 20)
    with pytest.raises(AsdtuneError, match="no clip of training holds a window"):
        make(tmp_path, tmp_path / "splits")


@pytest.mark.parametrize(
    "changed",
    [
        {"window_size": 50},
        {"n_samples": 100},
        {"windows_per_sample": None},
    ],
)
def test_wrong_settings_are_wrong_usage(
    prepared: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        make(prepared, tmp_path, **changed)


@given(data=st.data(), size=st.sampled_from([5, 11, 25]))
def test_windows_of_any_corpus_lie_inside_their_clips(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, size: int
) -> None:
    root = tmp_path_factory.mktemp("corpus")
    lengths = data.draw(st.lists(st.integers(size + 1, 90), min_size=1, max_size=5))
    for i, n_frames in enumerate(lengths):
        speaker = f"s{data.draw(st.integers(0, 2))}"
        n_rows = data.draw(st.integers(4 * size + 4, 4 * n_frames + 8))
        write_clip(root, f"training/{speaker}/c{i}", n_frames, n_rows=n_rows)
    n_windows = data.draw(st.integers(1, 15))
    tables = make(root, root / "splits", window_size=size, windows_per_sample=n_windows)
    check_rows(tables["training"], size)


def upstream_csv(root: Path, table: pd.DataFrame) -> Path:
    """Write a split as upstream's scripts do: own sound in every row, one centre, no kind."""
    theirs = table.rename(columns={"video_window_center": "window_center"}).drop(
        columns=["audio_window_center", "kind"]
    )
    own = theirs.video_path.str.replace("face_crops", "mfccs")
    theirs["audio_path"] = own
    path = root / "upstream.csv"
    theirs.to_csv(path, index=False)
    return path


def test_columns_of_upstream_are_read_and_their_wrong_sound_mended(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = make(prepared, tmp_path)["test"]
    read = read_windows(upstream_csv(tmp_path, ours))
    # Where the sound of a temporal mismatch lies, upstream's file does not say.
    n_temporal = (ours.kind == "temporal_mismatch").sum()
    assert f"{n_temporal} negatives are of a single clip" in caplog.text
    ours = ours[ours.kind != "temporal_mismatch"].reset_index(drop=True)
    assert len(read) == len(ours)
    assert list(read.columns) == list(COLUMNS)
    assert (read.audio_window_center == 4 * read.video_window_center).all()
    assert [Path(path).stem for path in read.audio_path] == list(read.audio_id)
    assert "audio_path is not the file of audio_id" in caplog.text
    mismatched = ours.kind.isin(["partial_speaker_mismatch", "complete_speaker_mismatch"])
    assert (read.kind[mismatched] == ours.kind[mismatched]).all()


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give clips of eight speakers who speak and pause, some of them much more than others."""
    root = tmp_path_factory.mktemp("speaking")
    rng = np.random.default_rng(0)
    for i in range(8):
        for i_clip in range(1 + i % 3):
            n_frames = 40 if i == 5 else 300
            pauses = rng.random(n_frames // 10) < (0.05, 0.2, 0.35, 0.5)[i % 4]
            speech = np.flatnonzero(~np.repeat(pauses, 10))
            split = "training" if i < 6 else "test"
            write_clip(root, f"{split}/s{i}/s{i}_{i_clip}", n_frames, speech=speech)
    return root


def speech_around(path: str, centre: int) -> float:
    with np.load(path) as file:
        return float((file["speech"][centre - 12 : centre + 13] >= 0.5).mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_silence_does_not_tell_the_kind(speaking: Path, tmp_path: Path, seed: int) -> None:
    table = make(speaking, tmp_path, seed=seed)["training"]
    shares = np.array(
        [speech_around(row.audio_path, row.audio_window_center // 4) for row in table.itertuples()]
    )
    assert shares.min() >= 0.5
    means = table.assign(silence=1 - shares).groupby("kind").silence.mean()
    assert means["positive"] > 0.02
    assert means.max() - means.min() < 0.02, means


def test_silence_does_not_tell_the_kind_where_short_clips_have_more_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(8):
        n_frames = 200 if i < 4 else 46  # too short for shifted sound
        for i_clip in range(2 if i < 4 else 1):
            pauses = rng.random(n_frames // 5 + 1) < (0.05 if i < 4 else 0.3)
            speech = np.flatnonzero(~np.repeat(pauses, 5)[:n_frames])
            write_clip(tmp_path, f"training/s{i}/s{i}_{i_clip}", n_frames, speech=speech)
    for changed in ({}, {"windows_per_sample": None, "n_samples": 400}):
        (result,) = results_of(tmp_path, window_size=31, **changed)
        kinds = result.report["kinds"]
        assert all(kinds[kind]["shortcut_AUC"] <= 60 for kind in THIRD), kinds
        assert any("more than 2 points apart" in note for note in result.notes)


@pytest.fixture
def long_and_short(in_tmp: Path) -> Path:
    """Give clips of 200 frames, and two in which 6 windows of 25 have room."""
    for i in range(4):
        write_clip(in_tmp, f"training/s{i}/s{i}_0000", 200 if i < 2 else 31)
    return in_tmp


def test_short_clips_give_fewer_windows_rather_than_the_same_again(
    long_and_short: Path, run: Run
) -> None:
    command = ("splits", "--window-size", 25, "--kinds", "tutorial", "--n-samples")
    output = run(*command, 100).output
    table = read_windows(Path("splits/training.csv"))
    positives = table[table.label == 1]
    assert not positives.duplicated(["video_path", "video_window_center"]).any()
    assert sorted(table.video_id.value_counts()) == [12, 12, 38, 38]
    assert "repeat others" not in output
    run(*command, 1000)  # more than all clips hold: then all of them repeat alike
    table = read_windows(Path("splits/training.csv"))
    shown = table[table.label == 1].value_counts(["video_path", "video_window_center"])
    assert len(table) == 1000
    assert set(shown) == {1, 2}
    assert set(shown.groupby("video_path").max()) == {2}
    report = json.loads(Path("splits/report.json").read_text())["splits"]["training"]
    assert any("positive windows repeat others" in note for note in report["notes"])


def test_two_processes_do_not_make_splits_in_one_folder(long_and_short: Path, run: Run) -> None:
    with filelock.FileLock(_made("splits/.asdtune") / "splits.lock"):
        done = run("splits", "--window-size", 25, exit_code=1)
    assert "another asdtune splits is at work in this folder" in done.output
    run("splits", "--window-size", 25)


def _made(folder: str) -> Path:
    Path(folder).mkdir(parents=True)
    return Path(folder)


def test_clip_with_a_damaged_header_is_named_and_the_rest_is_done(
    long_and_short: Path, run: Run
) -> None:
    path = Path("mfccs/training/s0/s0_0000.npz")
    path.write_bytes(path.read_bytes().replace(b", }", b",  ", 1))  # of data: never ends
    done = run("splits", "--window-size", 25, exit_code=1)
    assert "failed training/s0/s0_0000: not a readable .npz file" in " ".join(done.output.split())
    assert "s1_0000" in set(read_windows(Path("splits/training.csv")).video_id)


def test_clip_without_speech_is_left_out_by_name(tmp_path: Path) -> None:
    write_clip(tmp_path, "training/a/a_0000", 200, speech=range(0, 200, 3))
    write_clip(tmp_path, "training/b/b_0000", 200, speech=range(200))
    (result,) = results_of(tmp_path)
    assert "too little speech" in result.left_out["training/a/a_0000"].problem
    assert count(result)["positive"] == 20


def results_of(root: Path, **changed: object) -> list[SplitResult]:
    dirs = (root / "face_crops", root / "mfccs", root / "splits")
    return list(make_splits(*dirs, **{**SETTINGS, **changed}))


def test_several_people_and_too_few_faces_are_left_out_unless_all_are_wanted(
    tmp_path: Path,
) -> None:
    write_clip(tmp_path, "training/a/a_0000", 200, several_faces=range(21))
    write_clip(tmp_path, "training/b/b_0000", 200, without_face=range(101))
    write_clip(tmp_path, "training/c/c_0000", 200, several_faces=range(20))
    write_clip(tmp_path, "training/d/d_0000", 200, only_data=True)
    (result,) = results_of(tmp_path)
    assert {name: error.problem for name, error in result.left_out.items()} == {
        "training/a/a_0000": "several people: 10.5 % of its frames show more than one",
        "training/b/b_0000": "too few faces: the speaker's is in 49.5 % of its frames",
    }
    assert result.report["n_clips"] == 2
    (result,) = results_of(tmp_path, all_clips=True)
    assert not result.left_out
    assert result.report["n_clips"] == 4


def test_report_tells_counts_silence_padding_and_what_was_left_out(
    speaking: Path, tmp_path: Path
) -> None:
    make(speaking, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    training = report["splits"]["training"]
    assert report["settings"]["window_size"] == 25
    assert sum(kind["n_windows"] for kind in training["kinds"].values()) == training["n_windows"]
    assert sum(s["n_windows"] for s in training["speakers"].values()) == training["n_windows"]
    assert training["speakers"]["s2"] == {"n_clips": 3, "minutes": 0.6, "n_windows": 120}
    assert training["kinds"]["positive"]["padding_percent"] == 0
    assert 2 < training["kinds"]["positive"]["silence_percent"] < 50
    of_training = {clip.split("/")[1] for clip in (e["clip"] for e in training["left_out"])}
    assert of_training <= {"s3", "s5"}


def test_nothing_is_drawn_again_if_nothing_changed(prepared: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("splits"))
    first = results_of(root)
    assert not any(result.is_fresh for result in first)
    again = results_of(root)
    assert all(result.is_fresh for result in again)
    assert [r.report for r in again] == [r.report for r in first]
    assert not any(result.is_fresh for result in results_of(root, seed=1))
    assert not any(result.is_fresh for result in results_of(root, seed=1, overwrite=True))
    (root / "splits" / "test.csv").write_text("edited")
    assert not any(result.is_fresh for result in results_of(root, seed=1))
    os.utime(root / "mfccs" / "test" / "s7" / "s7_0000.npz", (1, 1))
    assert not any(result.is_fresh for result in results_of(root, seed=1))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        (HEADER, "no windows"),
        ("video_id,label\na,1\n", "audio_id"),
        (f"{HEADER}\n{GOOD_ROW.replace('50', 'x')}\n", "whole number"),
        (f"{HEADER}\n{GOOD_ROW.replace(',1,', ',2,')}\n", "labels must be 0 or 1"),
        (f"{HEADER}\n{GOOD_ROW.replace(',1,', ',0,')}\n", "kind positive and label 0"),
        (f"{HEADER}\n{GOOD_ROW.replace('/s/a', '/s/b')}\n", "audio_id"),
        (f"{HEADER}\n{GOOD_ROW.replace('training', 'absent')}\n", "not there"),
        (f"{HEADER}\n{GOOD_ROW.replace('50', '5')}\n", "leave their clip"),
        (f"{HEADER}\n{GOOD_ROW.replace('200', '792')}\n", "leave their clip"),
        (
            f"{HEADER}\n{SHIFTED_ROW}\n",
            "overlap by more than half",
        ),
    ],
)
def test_bad_split_is_one_clear_error(tmp_path: Path, text: str, problem: str) -> None:
    write_clip(tmp_path, "training/s/a", 200)
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(AsdtuneError, match=problem) as caught:
        WindowDataset(path, 25)
    assert str(path) in str(caught.value.where)


def test_a_folder_in_place_of_a_split_is_one_clear_error(in_tmp: Path, run: Run) -> None:
    write_checkpoint(Path("best.pth"), 5)
    Path("empty").mkdir()
    said = run("evaluate", "--checkpoint", "best.pth", "--dataset", "empty", exit_code=1).output
    assert "error: a folder, not a file" in said
    assert "fix:   run asdtune splits first" in said


def test_batches_hold_the_frames_and_rows_of_their_windows(prepared: Path, tmp_path: Path) -> None:
    table = make(prepared, tmp_path)["test"]
    windows = WindowDataset(tmp_path / "test.csv", 25)
    batch = windows.batch([3, 39, 7])
    assert batch.pictures.shape == (3, 25, 112, 112)
    assert batch.sound.shape == (3, 100, 13)
    for i, row in enumerate(table.iloc[[3, 39, 7]].itertuples()):
        first = row.video_window_center - 12
        np.testing.assert_array_equal(
            batch.pictures[i, :, 5, 5], np.arange(first, first + 25) % 256
        )
        first = row.audio_window_center - 48
        np.testing.assert_array_equal(batch.sound[i, :, 0], np.arange(first, first + 100))
        assert (batch.labels[i] == row.label).all()  # where speech is not known, all of it is


def test_files_that_cannot_be_used_are_named_and_the_rest_is_done(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_clip(tmp_path, f"training/{name}/{name}_0000", 200)
    folder = tmp_path / "face_crops" / "training" / "a"
    (folder / "gone.npz").symlink_to(folder / "nowhere.npz")
    whole = (folder / "a_0000.npz").read_bytes()
    (folder / "a_0000.npz").write_bytes(whole[: len(whole) // 2])
    (result,) = results_of(tmp_path)
    assert result.failed.keys() == {"training/a/a_0000", "training/a/gone"}
    assert result.report["n_clips"] == 2


@pytest.mark.parametrize(
    "marks",
    [np.array("text"), np.array(1), np.zeros((200, 2)), np.zeros(7), np.full(200, np.nan)],
)
def test_marks_of_another_kind_tell_nothing(tmp_path: Path, marks: np.ndarray) -> None:
    write_clip(tmp_path, "training/a/a_0000", 200, only_data=True)
    for stage, keys in {
        "face_crops": ("detected", "n_faces"),
        "mfccs": ("speech", "padded"),
    }.items():
        path = tmp_path / stage / "training" / "a" / "a_0000.npz"
        data = np.load(path)["data"]
        np.savez(path, data=data, **dict.fromkeys(keys, marks))
    (result,) = results_of(tmp_path)
    assert result.report["n_windows"] == 40
    assert result.report["kinds"]["positive"]["silence_percent"] is None


def test_split_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        write_clip(tmp_path, f"{split}/{split}/a", 200)
    results_of(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "splits").glob("[!.]*")}
    write_clip(tmp_path, "validation/validation/a", 20)
    with pytest.raises(AsdtuneError, match="no clip of validation"):
        results_of(tmp_path)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "splits").glob("[!.]*")}


def test_split_without_negatives_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path, "training/a/a_0000", 30)
    (result,) = results_of(tmp_path)
    assert count(result) == {"positive": 20}
    assert any("it has not both labels" in note for note in result.notes)
