"""Previews: playable, as long as the video, in sync, with a box that stays with its person."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from asdtune.core.prepare.boxes import MIN_IOU, iou
from asdtune.core.prepare.detection import find_cuts
from asdtune.core.prepare.detectors import YUNET
from asdtune.core.prepare.media import count_frames, read_audio, read_frames
from asdtune.core.rates import SAMPLE_RATE, SAMPLES_PER_FRAME, VIDEO_FPS
from tests.conftest import Run
from tests.render import render_video
from tests.small import write_checkpoint

SEVERAL_PEOPLE = [
    "two_people_debate.mp4", "two_people_a.avi", "two_people_b.avi", "four_people_panel.mp4",
]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best.pth", 9)


def check_preview(video: Path, preview: Path) -> None:
    with av.open(str(preview)) as container:
        names = [stream.codec_context.name for stream in container.streams]
        assert names == ["h264", "aac"]
    assert count_frames(preview) == pytest.approx(count_frames(video), abs=1)
    before, after = (
        np.concatenate(list(read_audio(path))).astype(np.float64) for path in (video, preview)
    )
    n = min(len(before), len(after))
    spectra = [np.fft.rfft(sound[:n], 2 * n) for sound in (before, after)]
    lag = int(np.fft.irfft(spectra[1] * spectra[0].conj()).argmax())
    assert min(lag, 2 * n - lag) <= SAMPLES_PER_FRAME


def test_preview_has_the_pictures_and_the_sound_of_the_video(
    run: Run, in_tmp: Path, checkpoint: Path, fake_faces: None
) -> None:
    video = render_video(Path("talk.mp4"), seconds=2, seed=1)
    Path("bad.mp4").write_text("no video")
    done = run(
        "preview", video, "bad.mp4", "gone.mp4", "--checkpoint", checkpoint, "--threshold", 0.3,
        exit_code=1,
    )  # fmt: skip
    assert "1 of 3 videos, threshold 0.300" in done.output
    assert "failed bad.mp4" in done.output
    assert "failed gone.mp4" in done.output
    check_preview(video, Path("preview/talk_preview.mp4"))
    table = pd.read_csv("preview/talk_preview.csv")
    assert table.frame.tolist() == list(range(50))
    assert (table.person == 1).all()
    assert (table.speaking == (table.score > 0.3)).all()
    assert table.score.between(0, 1).all()
    assert sorted(path.name for path in Path("preview").iterdir()) == [
        "talk_preview.csv", "talk_preview.mp4",
    ]  # fmt: skip


def test_flash_and_click_stay_together(
    run: Run, in_tmp: Path, checkpoint: Path, fake_faces: None
) -> None:
    video = render_video(Path("talk.mp4"), seconds=6, flashes=True, seed=1)
    run("preview", video, "--checkpoint", checkpoint)
    preview = Path("preview/talk_preview.mp4")
    height = next(read_frames(video)).height
    lit = np.array(
        [frame.to_ndarray(format="gray")[:height].mean() for frame in read_frames(preview)]
    ) > 150  # fmt: skip
    flashes = (np.flatnonzero(lit[1:] & ~lit[:-1]) + 1) / VIDEO_FPS
    loud = np.abs(np.concatenate(list(read_audio(preview))).astype(np.float64)) > 5000
    starts = np.flatnonzero(loud) / SAMPLE_RATE
    clicks = starts[np.concatenate([[True], np.diff(starts) > 0.5])]
    assert len(flashes) == len(clicks) == 5  # at every full second
    np.testing.assert_allclose(clicks, flashes, atol=1 / VIDEO_FPS)


@pytest.mark.parametrize("value", ["nan", "1.5", "-0.1"])
def test_a_threshold_lies_between_0_and_1(
    run: Run, in_tmp: Path, checkpoint: Path, value: str
) -> None:
    render_video(Path("talk.mp4"), seconds=1, seed=1)
    done = run(
        "preview", "talk.mp4", "--checkpoint", checkpoint, f"--threshold={value}", exit_code=2
    )
    assert "error: --threshold: input should be" in done.output


def test_videos_of_one_name_do_not_overwrite_each_other(
    run: Run, in_tmp: Path, checkpoint: Path, fake_faces: None
) -> None:
    for name in ("a", "b", "c/a"):
        render_video(Path(name, "talk.mp4"), seconds=1, seed=1)
    videos = ("a/talk.mp4", "b/talk.mp4", "c/a/talk.mp4")
    done = run("preview", *videos, "--checkpoint", checkpoint, exit_code=1)
    assert "2 of 3 videos" in done.output
    assert "another video of this name" in done.output
    assert all(Path("preview", name, "talk_preview.mp4").is_file() for name in "ab")


def test_two_previews_are_the_same(
    run: Run, in_tmp: Path, checkpoint: Path, fake_faces: None
) -> None:
    video = render_video(Path("talk.mp4"), seconds=1, seed=1)
    for name in "ab":
        run("preview", video, "--checkpoint", checkpoint, "--output-dir", name)
    for name in ("talk_preview.csv", "talk_preview.mp4"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL_PEOPLE)
def test_a_box_stays_with_its_person(
    run: Run, in_tmp: Path, shared: Path, checkpoint: Path, name: str
) -> None:
    video = shared / "clips" / "edge" / name
    model = shared / "models" / YUNET.name
    run("preview", video, "--checkpoint", checkpoint, "--detector-model", model)
    check_preview(video, Path(f"preview/{video.stem}_preview.mp4"))
    table = pd.read_csv(f"preview/{video.stem}_preview.csv")
    assert table.person.nunique() > 1
    cuts = {i for i, (_, is_cut) in enumerate(find_cuts(read_frames(video))) if is_cut}
    sides = ["x0", "y0", "x1", "y1"]
    for _, rows in table.groupby("person"):
        boxes, frames = rows[sides].to_numpy(np.float32), rows.frame.to_numpy()
        assert len(set(frames)) == len(frames)
        jumps = [
            frames[i + 1]
            for i in range(len(frames) - 1)
            if frames[i + 1] == frames[i] + 1 and iou(boxes[i], boxes[i + 1]) < MIN_IOU
        ]
        assert set(jumps) <= cuts
    assert_sides_stay(table, sorted(cuts))


def assert_sides_stay(table: pd.DataFrame, cuts: list[int]) -> None:
    """Nobody in these clips walks past another: within a shot, each stays on their side of others.

    To the left or right, or above or below: people sit in rows.
    """
    shot = np.searchsorted(cuts, table.frame, side="right")
    centres = {"x": (table.x0 + table.x1) / 2, "y": (table.y0 + table.y1) / 2}
    for _, rows in table.assign(shot=shot, **centres).groupby("shot"):
        places = [rows.pivot(index="frame", columns="person", values=axis) for axis in centres]
        for a, b in combinations(places[0].columns, 2):
            apart = [(of_axis[a] - of_axis[b]).dropna() for of_axis in places]
            assert any((each > 0).all() or (each < 0).all() for each in apart)
