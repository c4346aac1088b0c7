"""Windows of silent faces: pictures of pauses, under another's speech and under silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asdtune.core.prepare.silent_faces import MIN_PAUSE_FRAMES, add_silent_faces, back_and_forth
from asdtune.core.prepare.splits import make_splits
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.windows import WindowKind, read_windows
from tests.clips import write_clip
from tests.conftest import Run
from tests.test_windows import SETTINGS as TUTORIAL
from tests.test_windows import count

SETTINGS = {**TUTORIAL, "silent_face_share": 0.25}
MISMATCHES = ("temporal_mismatch", "partial_speaker_mismatch", "complete_speaker_mismatch")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give four speakers of two clips who pause: one for long, three for 0.8 s at a time."""
    root = tmp_path_factory.mktemp("pauses")
    for i in range(4):
        for i_clip in range(2):
            n_frames = 300 + 20 * i
            pauses = [range(100, 160)] if i == 0 else [range(80, 100), range(200, 220)]
            silent = {frame for pause in pauses for frame in pause}
            write_clip(
                root, f"training/s{i}/s{i}_{i_clip}", n_frames,
                speech=[frame for frame in range(n_frames) if frame not in silent],
            )  # fmt: skip
    return root


def draw(root: Path, output: Path, **changed: object) -> pd.DataFrame:
    dirs = (root / "face_crops", root / "mfccs", output)
    (result,) = make_splits(*dirs, **{**SETTINGS, **changed})
    return read_windows(result.path)


def silent_of(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.kind == WindowKind.SILENT.value]


@pytest.mark.parametrize("size", [25, 51])
def test_pictures_are_of_pauses_and_sound_is_of_others(
    corpus: Path, tmp_path: Path, size: int
) -> None:
    silent = silent_of(draw(corpus, tmp_path, window_size=size))
    assert (silent.label == 0).all()
    n_loops = 0
    for row in silent.itertuples():
        with np.load(row.video_path) as file:
            start = row.video_window_center - size // 2
            frames = file["data"][start : start + size, 0, 0].astype(int)  # their grey tells which
        source = corpus / "mfccs" / "training" / Path(row.video_path).parent.name
        clip = row.video_id.split("_pause")[0]
        with np.load(source / f"{clip}.npz") as file:
            speech = file["speech"]
        assert len(frames) == size
        assert (speech[frames] < 0.5).all()
        assert (np.abs(np.diff(frames)) == 1).all()  # forwards and backwards, never frozen
        n_loops += "_pause" in row.video_id
        assert row.audio_id != clip
    assert 0 < n_loops <= len(silent)


def test_sound_is_speech_and_silence_by_turns(corpus: Path, tmp_path: Path) -> None:
    silent, shares = silent_of(draw(corpus, tmp_path)), []
    for row in silent.itertuples():
        with np.load(row.audio_path) as file:
            centre = row.audio_window_center // 4
            shares.append((file["speech"][centre - 12 : centre + 13] >= 0.5).mean())
    shares = np.array(shares)
    assert ((shares >= 0.5) | (shares <= 0.2)).all()
    assert 0.4 < (shares <= 0.2).mean() < 0.6


def test_a_quarter_of_all_windows_shows_silent_faces(corpus: Path, tmp_path: Path) -> None:
    table = draw(corpus, tmp_path)
    assert len(table) == 8 * SETTINGS["windows_per_sample"]
    shares = table.kind.value_counts(normalize=True)
    assert shares["silent_face"] == pytest.approx(0.25, abs=0.01)
    assert shares["positive"] == pytest.approx(0.375, abs=0.01)


def test_same_seed_same_windows_and_same_loops(corpus: Path, tmp_path: Path) -> None:
    for name in "ab":
        draw(corpus, tmp_path / name)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.npz")]
    assert files
    for path in (*files, Path("training.csv")):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_the_tutorials_kinds_are_drawn_as_if_there_were_no_others(
    run: Run, corpus: Path, in_tmp: Path
) -> None:
    folders = ("--face-crops-dir", corpus / "face_crops", "--mfccs-dir", corpus / "mfccs")
    run("splits", "--window-size", 25, "--kinds", "tutorial", *folders)
    kinds = set(read_windows(Path("splits/training.csv")).kind)
    assert kinds == {"positive", *MISMATCHES}
    assert not Path("splits/silent_faces").exists()
    output = run("splits", "--kinds", "others", *folders, exit_code=2).output
    assert "--kinds" in output


def test_deleted_pictures_of_pauses_are_made_again(run: Run, corpus: Path, in_tmp: Path) -> None:
    folders = ("--face-crops-dir", corpus / "face_crops", "--mfccs-dir", corpus / "mfccs")
    command = ("splits", "--window-size", 25, *folders)
    run(*command)
    before = {path: path.read_bytes() for path in Path("splits").rglob("*.npz")}
    assert "(up to date)" in run(*command).output
    next(iter(before)).unlink()
    assert "(up to date)" not in run(*command).output
    assert {path: path.read_bytes() for path in Path("splits").rglob("*.npz")} == before


def test_few_pauses_are_told_with_what_to_do(tmp_path: Path) -> None:
    for i in range(3):
        write_clip(tmp_path, f"training/s{i}/s{i}_0", 200, speech=range(200))
    dirs = (tmp_path / "face_crops", tmp_path / "mfccs", tmp_path / "splits")
    (result,) = make_splits(*dirs, **SETTINGS)
    (note,) = (note for note in result.notes if "silent_face" in note)
    assert "only 0 of 30 windows" in note
    assert f"0 pauses of {MIN_PAUSE_FRAMES} frames" in note
    assert sum(count(result).values()) == 120


def test_where_nobody_listened_for_speech_no_face_counts_as_silent(tmp_path: Path) -> None:
    for i in range(3):
        write_clip(tmp_path, f"training/s{i}/s{i}_0", 200, only_data=True)
    dirs = (tmp_path / "face_crops", tmp_path / "mfccs", tmp_path / "splits")
    (result,) = make_splits(*dirs, **SETTINGS)
    assert count(result)["silent_face"] == 0
    assert any("run mfcc again" in note for note in result.notes)


def test_positive_windows_are_not_speaking_where_there_is_no_speech(
    corpus: Path, tmp_path: Path
) -> None:
    draw(corpus, tmp_path)
    windows = WindowDataset(tmp_path / "training.csv", 25)
    assert (windows.frame_labels[windows.labels == 0] == 0).all()
    for i in np.flatnonzero(windows.labels == 1):
        start = windows.video_starts[i]
        with np.load(windows.audio_paths[i]) as file:
            expected = file["speech"][start : start + 25] >= 0.5
        np.testing.assert_array_equal(windows.frame_labels[i], expected)
    assert 0 < windows.frame_labels[windows.labels == 1].mean() < 1


def test_a_split_of_the_tutorials_kinds_is_given_silent_faces_to_judge_by(
    corpus: Path, tmp_path: Path
) -> None:
    draw(corpus, tmp_path / "splits", silent_face_share=0.0)
    path = add_silent_faces(tmp_path / "splits" / "training.csv", 25, tmp_path / "report")
    assert path == tmp_path / "report" / "windows_training.csv"
    table = read_windows(path)
    assert len(silent_of(table)) > 50
    assert set(table.kind) == {"positive", "silent_face", *MISMATCHES}
    WindowDataset(path, 25)  # finds all files


def test_back_and_forth_fills_any_length() -> None:
    assert back_and_forth(5, 6, 3).tolist() == [5, 5, 5]
    assert back_and_forth(5, 7, 5).tolist() == [5, 6, 5, 6, 5]


@pytest.mark.slow
@pytest.mark.parametrize("size", [25, 51])
def test_speech_padding_and_motion_do_not_tell_mismatches_of_real_people(
    run: Run, people: Path, in_tmp: Path, size: int
) -> None:
    run(
        "splits", "--window-size", size, "--face-crops-dir", people / "face_crops",
        "--mfccs-dir", people / "mfccs",
    )  # fmt: skip
    report = json.loads(Path("splits/report.json").read_text())
    for split in report["splits"].values():
        assert split["kinds"]["silent_face"]["n_windows"] > 30
        assert split["kinds"]["silent_face"]["shortcut_AUC"] is not None
        for kind in MISMATCHES:
            assert split["kinds"][kind]["shortcut_AUC"] <= 60
