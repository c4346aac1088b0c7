from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asdtune.core.arrays import read_npz
from asdtune.core.prepare import speech
from asdtune.core.prepare.extract_mfccs import extract_mfccs
from asdtune.core.prepare.mfcc import MfccStream, mfcc
from asdtune.core.prepare.speech import CHUNK_SAMPLES, SpeechStream, speech_of_frames
from asdtune.errors import AsdtuneError
from tests.render import read_waveform, render_video


def judge(*blocks: np.ndarray) -> np.ndarray:
    stream = SpeechStream()
    return np.concatenate([*(stream.push(block) for block in blocks), stream.end()])


@pytest.fixture(scope="module")
def speaking(shared: Path) -> np.ndarray:
    waveform = read_waveform(shared / "clips" / "speakers" / "s03" / "s03_00.mp4")
    return np.concatenate([np.zeros(20_000, np.int16), waveform])[:200_100]


def test_speech_is_what_silero_says_called_as_its_package_calls_it(speaking: np.ndarray) -> None:
    import silero_vad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        silero = silero_vad.load_silero_vad()
    completed = np.pad(speaking, (0, -len(speaking) % CHUNK_SAMPLES)).astype(np.float32) / 2**15
    with torch.inference_mode():
        expected = [silero(c, 16_000).item() for c in torch.from_numpy(completed).split(512)]
    assert np.mean(np.array(expected) > 0.5) > 0.3  # somebody speaks ...
    assert np.mean(expected[:36]) < 0.1  # ... but not at once
    # Float32 sums in another order.
    np.testing.assert_allclose(judge(speaking), expected, atol=1e-5, rtol=0)


def test_another_network_than_silero_s_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import silero_vad

    other = SimpleNamespace(_model=torch.nn.Linear(2, 2))
    monkeypatch.setattr(silero_vad, "load_silero_vad", lambda: other)
    speech._load_net.cache_clear()
    with pytest.raises(AsdtuneError, match="holds another network"):
        SpeechStream()


def test_speech_does_not_depend_on_how_the_sound_comes(speaking: np.ndarray) -> None:
    pieces = np.split(speaking, [1, 512, 700, 131_072 - 64, 131_072, 131_073, 199_999])
    np.testing.assert_array_equal(judge(*pieces), judge(speaking))


@given(cuts=st.lists(st.integers(0, 90_000), max_size=5).map(sorted))
def test_mfcc_do_not_depend_on_how_the_sound_comes(cuts: list[int]) -> None:
    waveform = np.random.default_rng(0).integers(-3000, 3000, 90_000, np.int16)
    stream = MfccStream()
    pieces = [stream.push(piece) for piece in np.split(waveform, cuts)]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.end()]), mfcc(waveform))


@given(n_chunks=st.integers(0, 40), n_frames=st.integers(1, 40))
def test_speech_of_frames_keeps_the_seconds_of_speech(n_chunks: int, n_frames: int) -> None:
    probabilities = np.random.default_rng(n_chunks).random(n_chunks).astype(np.float32)
    speech = speech_of_frames(probabilities, n_frames)
    assert speech.shape == (n_frames,)
    assert speech.dtype == np.float32
    if n_frames * 640 >= n_chunks * 512:
        np.testing.assert_allclose(speech.sum() * 640, probabilities.sum() * 512, rtol=1e-5)


def test_mfcc_file_tells_where_somebody_speaks(tmp_path: Path, shared: Path) -> None:
    clip = shared / "clips" / "speakers" / "s03" / "s03_00.mp4"
    video = tmp_path / "videos" / "a.mp4"
    video.parent.mkdir()
    video.write_bytes(clip.read_bytes())
    render_video(tmp_path / "videos" / "b.mp4")
    results = extract_mfccs(
        tmp_path / "videos", tmp_path / "none", tmp_path / "out", workers=1, overwrite=False
    )
    assert not [result.error for result in results if result.error]
    real = read_npz(tmp_path / "out" / "a.npz", "data", "padded", "speech")
    assert len(real["speech"]) * 4 == len(real["data"])
    assert real["speech"].mean() > 0.5
    tone = read_npz(tmp_path / "out" / "b.npz", "speech")
    assert tone["speech"].max() < 0.5  # a tone is no speech


def test_listening_leaves_torch_its_threads() -> None:
    code = (
        "import torch; torch.set_num_threads(2)\n"
        "import numpy as np\n"
        "from asdtune.core.prepare.speech import SpeechStream\n"
        "SpeechStream().push(np.zeros(16_000, np.int16))\n"
        "print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
