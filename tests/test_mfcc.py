from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_speech_features import mfcc as reference

from asdtune.core.prepare import mfcc as module
from asdtune.core.prepare.extract_mfccs import align_to_video, extract_mfccs, mfcc
from tests.render import render_video

TOLERANCE = 1e-4  # ten times stricter than the contract; float32 output alone costs 4e-6


def reference_mfcc(waveform: np.ndarray) -> np.ndarray:
    return reference(waveform, 16_000, numcep=13, winlen=0.025, winstep=0.010)


@pytest.mark.parametrize("n_samples", [1, 399, 400, 401, 560, 561, 16_000, 123_457])
def test_mfcc_equals_the_reference_at_any_length(n_samples: int) -> None:
    waveform = np.random.default_rng(n_samples).integers(-(2**15), 2**15, n_samples, np.int16)
    np.testing.assert_allclose(mfcc(waveform), reference_mfcc(waveform), atol=TOLERANCE, rtol=0)


def test_mfcc_equals_the_golden_signals(shared: Path) -> None:
    with np.load(shared / "golden" / "mfcc.npz") as golden:
        for key in golden:
            if key.startswith("signal_"):
                expected = golden[key.replace("signal", "mfcc")]
                np.testing.assert_allclose(mfcc(golden[key]), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("waveform", [np.zeros(16_000, np.int16), np.full(8000, 32_767, np.int16)])
def test_mfcc_of_silence_and_of_a_constant_are_finite(waveform: np.ndarray) -> None:
    np.testing.assert_allclose(mfcc(waveform), reference_mfcc(waveform), atol=TOLERANCE, rtol=0)


def test_mfcc_does_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = np.random.default_rng(0).integers(-3000, 3000, 50_000, np.int16)
    whole = mfcc(waveform)
    monkeypatch.setattr(module, "_BLOCK_FRAMES", 7)
    np.testing.assert_allclose(mfcc(waveform), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "waveform", [np.zeros(0, np.int16), np.zeros(10, np.float32), np.zeros((2, 5), np.int16)]
)
def test_mfcc_refuses_what_is_no_int16_vector(waveform: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16"):
        mfcc(waveform)


@given(n_rows=st.integers(1, 60), n_frames=st.integers(1, 20))
def test_align_gives_four_rows_per_frame_and_marks_repeats(n_rows: int, n_frames: int) -> None:
    rows = np.repeat(np.arange(n_rows, dtype=np.float32)[:, None], 13, 1)
    fitted, padded = align_to_video(rows, n_frames)
    assert fitted.shape == (4 * n_frames, 13)
    np.testing.assert_array_equal(fitted[:, 0], np.arange(4 * n_frames) % n_rows)
    np.testing.assert_array_equal(padded, np.arange(4 * n_frames) >= n_rows)


def extract(video_dir: Path, output_dir: Path) -> dict[str, object]:
    results = extract_mfccs(video_dir, Path("none"), output_dir, workers=1, overwrite=False)
    return {result.name: result for result in results}


def test_stage_refuses_clips_without_usable_sound_and_does_the_rest(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    render_video(videos / "good.mp4")
    render_video(videos / "mute.mp4", audio_rate=None)
    render_video(videos / "silent.mp4", silent=True)
    render_video(videos / "short.mp4", audio_seconds=0.7)
    results = extract(videos, tmp_path / "mfccs")
    assert "no audio stream" in str(results["mute.mp4"].error)
    assert "silent" in str(results["silent.mp4"].error)
    assert "less than half" in str(results["short.mp4"].error)
    with np.load(tmp_path / "mfccs" / "good.npz", allow_pickle=False) as file:
        assert file["data"].shape == (200, 13)
        assert file["data"].dtype == np.float32
        assert file["padded"].sum() <= 4


def test_mfcc_has_four_rows_per_face_crop(tmp_path: Path) -> None:
    render_video(tmp_path / "videos" / "a.mp4", seconds=2)
    (tmp_path / "crops").mkdir()
    np.savez(tmp_path / "crops" / "a.npz", data=np.zeros((37, 112, 112), np.uint8))
    for result in extract_mfccs(
        tmp_path / "videos", tmp_path / "crops", tmp_path / "out", workers=1, overwrite=False
    ):
        assert result.error is None
    with np.load(tmp_path / "out" / "a.npz") as file:
        assert len(file["data"]) == 4 * 37
