"""Labels that somebody made by hand: read, found, and judged frame by frame."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asdtune.core.evaluation.labelled_clips import LabelledClips
from asdtune.core.evaluation.spans import Span, check_spans, label_frames
from asdtune.core.evaluation.toolkit_scoring import ToolkitNetwork
from asdtune.core.evaluation.track_scoring import TrackScorer
from asdtune.core.metrics import average_precision
from asdtune.core.models.checkpoints import load_network
from asdtune.core.models.network import Network
from asdtune.core.models.talknet import TalkNet
from asdtune.core.rates import VIDEO_FPS
from asdtune.errors import AsdtuneError
from tests.conftest import Run
from tests.small import tiny_network, write_checkpoint

HEADER = "clip,start_second,end_second,speaking\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best.pth", 9)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(
        HEADER + "s6_0000,0,0.6,1\ns6_0000,0.6,1.2,0\n"
        "test/s7/s7_0001,0.2,0.52,0\ntest/s7/s7_0001, 0.52, 1.0, 1\n"
    )
    return path


def evaluate_labels(run: Run, data: Path, output: Path, *more: object, exit_code: int = 0) -> str:
    root = data.parent
    return run(
        "evaluate", "--face-crops-dir", root / "face_crops", "--mfccs-dir", root / "mfccs",
        "--output-dir", output, *more, exit_code=exit_code,
    ).output  # fmt: skip


def test_labelled_clips_are_judged_frame_by_frame(
    run: Run, data: Path, tmp_path: Path, labels: Path, checkpoint: Path
) -> None:
    out = tmp_path / "report"
    evaluate_labels(
        run, data, out, "--labels", labels, "--checkpoint", checkpoint, "--baseline", checkpoint
    )
    table = pd.read_csv(out / "scores_labels.csv")
    assert list(table.columns) == ["clip", "frame", "label", "score"]
    of_s6, of_s7 = (table[table["clip"] == f"test/{clip}"] for clip in ("s6/s6_0000", "s7/s7_0001"))
    assert of_s6.frame.tolist() == list(range(30))
    assert of_s6.label.tolist() == [1] * 15 + [0] * 15
    assert of_s7.frame.tolist() == list(range(5, 25))
    assert of_s7.label.tolist() == [0] * 8 + [1] * 12

    report = json.loads((out / "report_labels.json").read_text())
    assert report["mAP"] == pytest.approx(average_precision(table.label, table.score), abs=1e-3)
    assert (report["n_frames"], report["n_clips"], report["n_speakers"]) == (50, 2, 2)
    assert report["difference"]["mAP"]["value"] == 0
    assert report["checkpoint"]["by_speaker"].keys() == {"s6", "s7"}
    assert report["checkpoint"]["thresholds_in_toolkit"]

    _, network = load_network(checkpoint)
    crops = np.load(data.parent / "face_crops" / "test" / "s6" / "s6_0000.npz")["data"]
    mfcc = np.load(data.parent / "mfccs" / "test" / "s6" / "s6_0000.npz")["data"]
    expected = plain_scores(network, crops, mfcc, 9)
    np.testing.assert_allclose(of_s6.score, expected[:30], atol=1e-5)
    page = (out / "report_labels.html").read_text(encoding="utf-8")
    for words in ("on labelled clips", "50 frames of 2 clips", "Scores over time", "not speaking"):
        assert words in page
    assert "silent faces" not in page
    assert not (out / "report.json").exists()


def test_labels_alone_are_followed_by_a_split_and_then_by_the_export(
    run: Run, data: Path, tmp_path: Path, labels: Path, checkpoint: Path
) -> None:
    of_labels = ("--labels", labels, "--checkpoint", checkpoint)
    said = evaluate_labels(run, data, tmp_path, *of_labels)
    assert f"next: asdtune evaluate --checkpoint {checkpoint} --set paths." in said
    bare = shutil.copyfile(checkpoint, tmp_path / "bare.pth")
    run(
        "evaluate", "--dataset", data / "test.csv", "--checkpoint", bare, "--window-size", 5,
        "--output-dir", tmp_path, "--toolkit-clips", 0,
    )  # fmt: skip
    said = evaluate_labels(run, data, tmp_path, *of_labels)
    assert f"next: asdtune export-config --checkpoint {checkpoint} --set paths." in said
    assert said.endswith(f"--set paths.report_dir={tmp_path}\n")


def plain_scores(network: Network, crops: np.ndarray, mfcc: np.ndarray, size: int) -> np.ndarray:
    """Score windows one by one, and give every frame the mean of its scores."""
    n = len(crops)
    seen: list[list[float]] = [[] for _ in range(n)]
    network.eval()
    for at in [*range(0, n - size, size // 2), n - size]:
        window = torch.tensor(mfcc[None, 4 * at : 4 * (at + size)], dtype=torch.float32)
        with torch.no_grad():
            logits = network(window, torch.tensor(crops[None, at : at + size]))
        for i, score in enumerate(logits.audio_visual[0].softmax(-1)[:, 1].tolist()):
            seen[at + i].append(score)
    return np.array([np.mean(each) for each in seen])


@pytest.mark.parametrize("n_frames", [9, 10, 23, 71])
def test_tracks_share_what_their_windows_have_in_common(n_frames: int) -> None:
    network = tiny_network()
    assert isinstance(network, TalkNet)
    rng = np.random.default_rng(n_frames)
    crops = rng.integers(0, 256, (n_frames, 112, 112), np.uint8)
    mfcc = rng.normal(size=(4 * n_frames, 13)).astype(np.float32)
    scores = TrackScorer(network, 9, "fp32").score(crops, np.arange(n_frames), mfcc)
    np.testing.assert_allclose(scores, plain_scores(network, crops, mfcc, 9), atol=1e-5)


def test_frames_without_a_face_are_not_judged(data: Path, tmp_path: Path, labels: Path) -> None:
    root = tmp_path / "corpus"
    for kind in ("face_crops", "mfccs"):
        for clip in ("s6/s6_0000", "s7/s7_0001"):
            target = root / kind / "test" / f"{clip}.npz"
            target.parent.mkdir(parents=True)
            arrays = dict(np.load(data.parent / kind / "test" / f"{clip}.npz"))
            if kind == "face_crops" and clip.startswith("s6"):
                arrays["detected"] = np.arange(40) >= 10
            np.savez(target, **arrays)
    clips = LabelledClips(labels, root / "face_crops", root / "mfccs", scored_frames=9)
    assert len(clips.labels) == 50 - 10
    assert clips.labels.sum() == 5 + 12


def test_a_clip_that_is_not_there_stops_no_other(
    run: Run, data: Path, tmp_path: Path, labels: Path, checkpoint: Path
) -> None:
    with labels.open("a") as file:
        file.write("nobody,0,1,1\ns7_0000,30,31,1\n")
    said = evaluate_labels(
        run, data, tmp_path, "--labels", labels, "--checkpoint", checkpoint, exit_code=1
    )
    assert "failed nobody: no clip is called nobody" in said
    assert "failed test/s7/s7_0000: it is marked up to 31 s, and ends at 1.6 s" in said
    assert json.loads((tmp_path / "report_labels.json").read_text())["n_clips"] == 2


@pytest.mark.parametrize(
    ("text", "problem", "exit_code"),
    [
        ("", "the file is empty", 1),
        ("\xff", "national encoding", 1),
        (HEADER, "it marks nothing", 1),
        ("clip,start,end,speaking\na,0,1,1\n", "no column start_second, end_second", 1),
        (HEADER + "a,0,x,1\n", "not run from '0' to 'x'", 1),
        (HEADER + "a,2,1,1\n", "not run from '2' to '1'", 1),
        (HEADER + "a,-1,1,1\n", "not run from '-1' to '1'", 1),
        (HEADER + "a,0,nan,1\n", "not run from '0' to 'nan'", 1),
        (HEADER + "a,0,1,maybe\n", "speaking must be 1 or 0, not 'maybe'", 1),
        (HEADER + "s6_0000,0,1,1\ns6_0000,0.5,2,0\n", "as not speaking at 0.5 s", 1),
        (HEADER + "s6_0000,0,1,1\ns6_0000,0.2,0.3,1\ns6_0000,0.5,0.6,0\n", "at 0.5 s", 1),
        (HEADER + "s6_0000,0,1,1\ntest/s6/s6_0000,0.5,0.6,0\n", "at 0.5 s", 1),
        (HEADER + "a,0,1,1,\n\na,0,1,2,\n", "labels.csv, line 4", 1),
        (HEADER + "a,0,1,1\n", "no labelled clip can be used", 1),
    ],
)
def test_bad_labels_are_refused(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path, text: str, problem: str, exit_code: int
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_bytes(text.encode("latin-1"))
    said = evaluate_labels(
        run, data, tmp_path, "--labels", labels, "--checkpoint", checkpoint, exit_code=exit_code
    )
    assert problem in " ".join(said.split())
    assert "labels.csv" in said


def test_where_nothing_can_be_used_a_few_clips_are_named(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(HEADER + "a,0,1,1\ns7_0000,30,31,1\nb,0,1,1\nc,0,1,1\nd,0,1,1\n")
    said = evaluate_labels(
        run, data, tmp_path, "--labels", labels, "--checkpoint", checkpoint, exit_code=1
    )
    said = " ".join(said.split())
    assert "a: no clip is called a; b: no clip is called b; c: no" in said
    assert "; and 2 more" in said
    assert said.count("names are those of the face crops") == 1


def test_labels_and_a_split_are_two_evaluations(
    run: Run, data: Path, tmp_path: Path, labels: Path
) -> None:
    said = evaluate_labels(
        run, data, tmp_path, "--labels", labels, "--dataset", data / "test.csv", exit_code=2
    )
    assert "two evaluations" in said


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 100), st.booleans()), max_size=5),
    st.integers(1, 120),
)
def test_a_frame_has_the_label_of_every_span_its_middle_lies_in(
    spans: list[tuple[int, int, bool]], n_frames: int
) -> None:
    marked = [Span(at / 100, (at + length) / 100, said) for at, length, said in spans]
    contradict = any(
        a.is_speaking != b.is_speaking
        and a.start_second < b.end_second
        and b.start_second < a.end_second
        for a, b in combinations(marked, 2)
    )
    if contradict:
        with pytest.raises(AsdtuneError, match="as speaking and as not speaking"):
            check_spans(marked, clip="a", where=Path("labels.csv"))
        return
    check_spans(marked, clip="a", where=Path("labels.csv"))
    for i, label in enumerate(label_frames(marked, n_frames)):
        middle = (i + 0.5) / VIDEO_FPS
        said = {each.is_speaking for each in marked
                if each.start_second <= middle < each.end_second}  # fmt: skip
        assert said == (set() if label == -1 else {bool(label)})


def test_names_of_a_clip_are_one_clip(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(HEADER + "s6_0000,0,0.4,1\ntest/s6/s6_0000,0.4,0.8,0\n\ns6_0000,0,0.2,1\n")
    root = data.parent
    clips = LabelledClips(path, root / "face_crops", root / "mfccs", scored_frames=9)
    assert clips.labels.tolist() == [1] * 10 + [0] * 10


def test_foreign_arrays_are_scored_as_ours(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    rng = np.random.default_rng(0)
    for kind, array in {
        "face_crops": rng.integers(0, 255, (7, 112, 112)).astype(np.float64),
        "mfccs": rng.normal(size=(50, 13)),  # float64, and longer than the pictures
    }.items():
        target = tmp_path / kind / "test" / "s6" / "s6_0000.npz"
        target.parent.mkdir(parents=True)
        np.savez(target, data=array)
    path = tmp_path / "labels.csv"
    path.write_text(HEADER + "s6_0000,0,0.2,1\ns6_0000,0.2,0.5,0\n")
    clips = LabelledClips(path, tmp_path / "face_crops", tmp_path / "mfccs", scored_frames=9)
    _, network = load_network(checkpoint)
    steps = clips.score(network, "checkpoint", 8)
    next(steps)
    with pytest.raises(StopIteration) as done:
        next(steps)
    assert done.value.value.shape == (7, 1)


def test_frames_whose_sound_is_padding_are_not_judged(
    data: Path, tmp_path: Path, labels: Path
) -> None:
    shutil.copytree(data.parent, tmp_path / "corpus")
    mfcc = tmp_path / "corpus" / "mfccs" / "test" / "s6" / "s6_0000.npz"
    np.savez(mfcc, **np.load(mfcc), padded=np.arange(160) >= 4 * 20)
    root = tmp_path / "corpus"
    clips = LabelledClips(labels, root / "face_crops", root / "mfccs", scored_frames=9)
    assert len(clips.labels) == 20 + 20


def test_a_split_may_be_called_labels(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    split = data / "labels.csv"
    shutil.copyfile(data / "test.csv", split)
    run(
        "evaluate", "--dataset", split, "--checkpoint", checkpoint, "--window-size", 9,
        "--output-dir", tmp_path, "--toolkit-clips", 0, exit_code=1,
    )  # fmt: skip
    five = write_checkpoint(tmp_path / "five.pth", 5)
    run(
        "evaluate", "--dataset", split, "--checkpoint", five, "--output-dir", tmp_path,
        "--toolkit-clips", 0,
    )  # fmt: skip
    assert json.loads((tmp_path / "report.json").read_text())["of"] == "split"


def test_scores_that_are_no_numbers_are_refused() -> None:
    network = tiny_network()
    with torch.no_grad():
        network.lossAV.FC.bias.fill_(float("nan"))
    crops, mfcc = np.zeros((9, 112, 112), np.uint8), np.zeros((36, 13), np.float32)
    with pytest.raises(AsdtuneError, match="diverged"):
        TrackScorer(network, 9, "fp32").score(crops, np.arange(9), mfcc)
    with pytest.raises(AsdtuneError, match="diverged"):
        ToolkitNetwork("talknet", network).score_track(crops, mfcc, 9)
