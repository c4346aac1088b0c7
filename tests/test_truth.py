"""One truth per frame: of windows, and of the tracks on which thresholds are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asdtune.core.evaluation.tracks import LISTENER_FRAMES, tracks_of
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.windows import NOT_COUNTED, Window, write_windows
from tests.clips import write_clip

W = 9
SPEECH = range(20, 60)  # of a clip of 80 frames


def write_split(root: Path, *rows: tuple[str, str, int, int, str]) -> WindowDataset:
    """Write a split of windows: clip of the pictures, clip of the sound, both centres, kind."""
    windows = [
        Window(
            video, audio, int(kind == "positive"), at, f"face_crops/test/{video[0]}/{video}.npz",
            f"mfccs/test/{audio[0]}/{audio}.npz", 4 * heard_at, kind,
        )
        for video, audio, at, heard_at, kind in rows
    ]  # fmt: skip
    write_windows(root / "test.csv", windows)
    return WindowDataset(root / "test.csv", W)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give two clips of a, one of which has no speech, and one of b, of which nobody knows."""
    write_clip(tmp_path, "test/a/a0", 80, speech=SPEECH, without_face=range(50, 55))
    write_clip(tmp_path, "test/a/a1", 80, speech=[])
    write_clip(tmp_path, "test/b/b0", 80)
    return tmp_path


def test_frames_without_speech_are_not_speaking(root: Path) -> None:
    windows = write_split(
        root,
        ("a0", "a0", 22, 22, "positive"),
        ("a0", "a0", 40, 40, "positive"),
        ("a1", "a1", 40, 40, "positive"),
        ("b0", "b0", 40, 40, "positive"),
        ("a0", "a0", 40, 22, "temporal_mismatch"),
        ("a1", "a0", 40, 40, "silent_face"),
    )
    expected = [[0] * 2 + [1] * 7, [1] * W, [0] * W, [1] * W, [0] * W, [0] * W]
    assert windows.frame_labels.tolist() == expected
    learned = [[NOT_COUNTED] * 2 + [1] * 7, expected[4]]  # nothing is learned from pauses
    assert windows.batch([0, 4]).labels.tolist() == learned


def test_a_clip_is_speaking_where_there_is_speech_and_unknown_where_no_face_is_seen(
    root: Path,
) -> None:
    windows = write_split(
        root,
        ("a0", "a0", 40, 40, "positive"),
        ("a1", "a1", 40, 40, "positive"),
        ("b0", "b0", 40, 40, "positive"),
        ("b0", "a0", 40, 40, "complete_speaker_mismatch"),
    )
    tracks = {track.clip.stem: track for track in tracks_of(windows, 3)}
    assert [*tracks] == ["a0", "b0", "a1"]  # by turns; and no mismatches
    expected = np.isin(np.arange(80), SPEECH).astype(int)
    expected[50:55] = -1
    assert tracks["a0"].labels.tolist() == expected.tolist()
    assert not tracks["a1"].labels.any()  # a clip without speech is not "all speaking"
    assert tracks["b0"].labels.all()


def test_listeners_never_speak_though_their_sound_goes_on(root: Path) -> None:
    windows = write_split(
        root,
        ("a0", "a0", 40, 40, "positive"),
        ("a1", "a0", 40, 24, "silent_face"),
        ("a1", "b0", 40, 40, "silent_face"),  # of the same clip
        ("b0", "a0", 40, 75, "silent_face"),
    )
    own, *listeners = tracks_of(windows, 5)
    assert own.labels.any()
    assert [track.clip.stem for track in listeners] == ["a1", "b0"]
    for track, n_frames, begin in zip(listeners, (60, W), (20, 71), strict=True):
        assert track.labels.tolist() == [0] * n_frames
        assert track.mfcc[0, 0] == 4 * begin
        shown = track.crops[:, 0, 0]
        assert set(shown) <= {*range(36, 45)}
        assert np.abs(np.diff(shown.astype(int))).max() == 1  # forwards and backwards
    assert len(list(tracks_of(windows, 1))) == 2
    assert max(len(track.labels) for track in listeners) <= LISTENER_FRAMES
