"""Where somebody speaks: the voice activity of silero-vad, computed fast.

Silero's network takes 32 ms of sound at a time and remembers the past in an LSTM. Called as its
package calls it, that is 31 calls a second of sound, and ten times the cost of decoding the sound.
All but the LSTM is the same for every piece, so here many pieces go through it at once; the
probabilities are those of the package within rounding.

    stream = SpeechStream()
    probabilities = np.concatenate([stream.push(waveform), stream.end()])
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everybody calls it)

from asdtune.core.rates import SAMPLES_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.media import Waveform

    _State = tuple[Tensor, Tensor]  # hidden and cell of the LSTM, (1, 1, 128) each

CHUNK_SAMPLES = 512  # 32 ms at 16 kHz: what silero judges at once
_CONTEXT_SAMPLES = 64  # of the chunk before, which it sees again
_BATCH_CHUNKS = 256
_N_FFT, _HOP = 256, 128
_STRIDES = (1, 2, 2, 1)  # of its four convolutions over the four spectra of a chunk


class SpeechStream:
    """Judges sound as it comes."""

    def __init__(self) -> None:
        self._net = _load_net()
        self._state: _State | None = None
        self._waiting = np.zeros(_CONTEXT_SAMPLES, np.int16)

    def push(self, block: Waveform) -> npt.NDArray[np.float32]:
        """Take int16 sound at 16 kHz; give how surely somebody speaks, 0..1, per 512 samples."""
        self._waiting = np.concatenate([self._waiting, block])
        n_batch = _BATCH_CHUNKS * CHUNK_SAMPLES
        ready = [np.zeros(0, np.float32)]
        while len(self._waiting) >= _CONTEXT_SAMPLES + n_batch:
            ready.append(self._judge(self._waiting[: _CONTEXT_SAMPLES + n_batch]))
            self._waiting = self._waiting[n_batch:]
        return np.concatenate(ready)

    def end(self) -> npt.NDArray[np.float32]:
        """Judge the rest (n,), its last chunk completed with silence."""
        n_left = len(self._waiting) - _CONTEXT_SAMPLES
        if n_left == 0:
            return np.zeros(0, np.float32)
        return self._judge(np.pad(self._waiting, (0, -n_left % CHUNK_SAMPLES)))

    @torch.inference_mode()
    def _judge(self, samples: Waveform) -> npt.NDArray[np.float32]:
        probabilities, self._state = self._net(_chunks(samples), self._state)
        return np.asarray(probabilities)


def speech_of_frames(
    probabilities: npt.NDArray[np.float32], n_frames: int
) -> npt.NDArray[np.float32]:
    """Average probabilities, one for every 512 samples, over T video frames; 0 without sound.

    Examples:
        >>> speech_of_frames(np.float32([1, 0]), 2)  # 512 of the first 640 samples
        array([0.8, 0. ], dtype=float32)
    """
    ends = np.arange(len(probabilities) + 1) * CHUNK_SAMPLES
    sums = np.concatenate([[0.0], np.cumsum(probabilities, dtype=np.float64) * CHUNK_SAMPLES])
    borders = np.arange(n_frames + 1) * SAMPLES_PER_FRAME
    return np.asarray(np.diff(np.interp(borders, ends, sums)) / SAMPLES_PER_FRAME, np.float32)


def _chunks(samples: Waveform) -> Tensor:
    """Cut (64 + 512 n) samples into n chunks (n, 576), each with its context."""
    scaled = torch.from_numpy(samples.astype(np.float32) / 2**15)
    return scaled.unfold(0, _CONTEXT_SAMPLES + CHUNK_SAMPLES, CHUNK_SAMPLES)


class _SpeechNet(nn.Module):
    """Silero's network for 16 kHz, over many chunks at once."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = (_N_FFT // 2 + 1, 128, 64, 64, 128)
        self.layers = nn.ModuleList(nn.Linear(3 * n_in, n_out) for n_in, n_out in pairwise(sizes))
        self.lstm = nn.LSTM(128, 128)
        self.head = nn.Linear(128, 1)
        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)

    def forward(self, chunks: Tensor, state: _State | None) -> tuple[Tensor, _State]:
        """Give the probabilities (n,) of chunks (n, 576), -1..1, and the LSTM's next state."""
        # Four spectra a chunk; the last reaches over its end, which is mirrored there.
        mirrored = F.pad(chunks[:, None], (0, _HOP // 2), mode="reflect")[:, 0]  # (n, 640)
        spectra = torch.fft.rfft(mirrored.unfold(1, _N_FFT, _HOP) * self.window)  # (n, 4, 129)
        x = torch.view_as_real(spectra).square().sum(-1).sqrt()
        for layer, stride in zip(self.layers, _STRIDES, strict=True):
            # A convolution of 3 over time, as one product: frames side by side, then a matrix.
            x = F.pad(x, (0, 0, 1, 1)).unfold(1, 3, stride).transpose(2, 3)  # (n, t, 3, c)
            x = F.relu(layer(x.flatten(2)))
        hidden, state = self.lstm(x, state)  # one chunk after the other: (n, 1, 128)
        return self.head(F.relu(hidden)).flatten().sigmoid(), state


@lru_cache(maxsize=1)
def _load_net() -> _SpeechNet:
    """Put the weights that silero-vad carries into our network.

    Raises:
        AsdtuneError: They are not those of this network.
    """
    n_threads = torch.get_num_threads()
    import silero_vad  # which leaves torch one thread, for good

    torch.set_num_threads(n_threads)
    try:
        with warnings.catch_warnings():  # torch would have them stored in its newer format
            warnings.simplefilter("ignore", FutureWarning)
            weights = silero_vad.load_silero_vad()._model.state_dict()
        net = _SpeechNet()
        net.load_state_dict(_renamed(weights, len(net.layers)))
    except (AttributeError, KeyError, RuntimeError) as error:
        raise AsdtuneError(
            f"silero-vad {version('silero-vad')} holds another network than this version knows",
            fix='python -m pip install "silero-vad>=6.2,<7"',
        ) from error
    return net.eval()


def _renamed(weights: dict[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    state = {}
    for i in range(n_layers):
        convolution = f"encoder.{i}.reparam_conv"
        state[f"layers.{i}.weight"] = weights[f"{convolution}.weight"].transpose(1, 2).flatten(1)
        state[f"layers.{i}.bias"] = weights[f"{convolution}.bias"]
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        state[f"lstm.{name}_l0"] = weights[f"decoder.rnn.{name}"]
    state["head.weight"] = weights["decoder.decoder.2.weight"].flatten(1)
    state["head.bias"] = weights["decoder.decoder.2.bias"]
    return state
