"""Labels that somebody made by hand: read, found, and judged frame by frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asdtune.core.networks.checkpoints import load_network
from asdtune.core.networks.network import Network
from asdtune.core.networks.talknet import TalkNet
from asdtune.core.rates import VIDEO_FPS
from asdtune.core.tune.labelled import LabelledClips
from asdtune.core.tune.labels import Span, label_frames, read_labels
from asdtune.core.tune.metrics import average_precision
from asdtune.core.tune.track_scoring import TrackScorer
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
    assert "AP over windows" not in page
    assert not (out / "report.json").exists()


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
    assert "failed nobody: no clips are called nobody" in said
    assert "failed s7_0000: nothing of what is marked lies within the clip" in said
    assert json.loads((tmp_path / "report_labels.json").read_text())["n_clips"] == 2


@pytest.mark.parametrize(
    ("text", "problem", "exit_code"),
    [
        ("", "no CSV that can be read", 1),
        (HEADER, "it marks nothing", 1),
        ("clip,start,end,speaking\na,0,1,1\n", "no column start_second, end_second", 1),
        (HEADER + "a,0,x,1\n", "must be numbers, not '0' and 'x'", 1),
        (HEADER + "a,2,1,1\n", "not run from 2 to 1", 1),
        (HEADER + "a,-1,1,1\n", "not run from -1 to 1", 1),
        (HEADER + "a,0,nan,1\n", "not run from 0 to nan", 1),
        (HEADER + "a,0,1,yes\n", "speaking must be 1 or 0, not 'yes'", 1),
        (HEADER + "a,0,1,1\na,0.5,2,0\n", "as not speaking at 0.5 s", 1),
        (HEADER + "a,0,1,1\n", "no labelled clip can be used", 1),
    ],
)
def test_bad_labels_are_refused(
    run: Run, data: Path, tmp_path: Path, checkpoint: Path, text: str, problem: str, exit_code: int
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    said = evaluate_labels(
        run, data, tmp_path, "--labels", labels, "--checkpoint", checkpoint, exit_code=exit_code
    )
    assert problem in " ".join(said.split())
    assert "labels.csv" in said


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
def test_frames_have_the_label_of_the_span_their_middle_lies_in(
    spans: list[tuple[int, int, bool]], n_frames: int
) -> None:
    marked = [Span(at / 100, (at + length) / 100, said) for at, length, said in spans]
    labels = label_frames(marked, n_frames)
    for i, label in enumerate(labels):
        middle = (i + 0.5) / VIDEO_FPS
        said = [
            each.is_speaking for each in marked if each.start_second <= middle < each.end_second
        ]
        assert label == (int(said[-1]) if said else -1)


def test_spans_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(HEADER + "a,1,2,0\nb,0,1,1\na,0,1,1\n")
    spans = read_labels(path)
    assert spans == {"a": [Span(0, 1, True), Span(1, 2, False)], "b": [Span(0, 1, True)]}
