"""What all networks have in common: how they are called, their heads, and what those cost.

A network turns face crops and MFCC into one embedding per video frame each, and decides from both
whether the person on screen speaks. Whoever trains, scores or stores knows no more of it than
`Network` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch.nn.functional as F  # noqa: N812 (as everybody calls it)
from torch import Tensor, nn

from asdtune.core.windows import NOT_COUNTED

_PIXEL_MEAN, _PIXEL_STD = 0.4161, 0.1688  # of face crops scaled to 0..1


class Logits(NamedTuple):
    """What the heads say of every frame, each (B, T, 2): not speaking, speaking."""

    audio_visual: Tensor
    audio: Tensor | None  # None for a network without such a head
    visual: Tensor


class Losses(NamedTuple):
    """The loss that is minimised and its parts, each a scalar."""

    total: Tensor
    audio_visual: Tensor
    audio: Tensor  # 0 without such a head
    visual: Tensor


class Network(Protocol):
    """A network that detects active speakers; the calls of `nn.Module` that are used are below.

    Attributes:
        n_features: Of each frame, from the part that `visual-frontend` freezes.
        n_embedding: Of each frame, from either encoder.
        has_audio_head: Whether it also decides by the sound alone.
    """

    n_features: int
    n_embedding: int
    has_audio_head: bool

    def __call__(self, mfcc: Tensor, crops: Tensor) -> Logits:
        """Decide for every frame: MFCC (B, 4T, 13), crops (B, T, 112, 112) grey 0..255."""

    def encode_frames(self, crops: Tensor) -> Tensor:
        """Turn face crops (B, T, 112, 112) into features of each frame (B, T, n_features)."""

    def embed_features(self, features: Tensor) -> Tensor:
        """Turn these into visual embeddings (B, T, n_embedding)."""

    def encode_mfcc(self, mfcc: Tensor) -> Tensor:
        """Turn MFCC (B, 4T, 13) into audio embeddings (B, T, n_embedding)."""

    def detect(self, audio: Tensor, visual: Tensor) -> Logits:
        """Turn embeddings (B, T, n_embedding) into the logits of the heads, each (B, T, 2)."""

    def loss(self, logits: Logits, labels: Tensor, *, epoch: int, label_smoothing: float) -> Losses:
        """Compute what is minimised: labels (B,) or (B, T), int64; epochs count from 1."""

    def frozen_parts(self, freeze: str) -> list[nn.Module]:
        """Give what stays as it is: for `none`, `visual-frontend` or `frontends`."""

    def scale_features(self, scale: Tensor) -> None:
        """Multiply each of the features of a frame by a number above 0, for good."""

    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102 (of nn.Module, and below)
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...  # noqa: D102
    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def eval(self) -> Any: ...  # noqa: D102
    def requires_grad_(self, requires_grad: bool = True) -> Any: ...  # noqa: D102
    def to(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102
    def state_dict(self) -> dict[str, Tensor]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...  # noqa: D102


@runtime_checkable
class StemNetwork(Network, Protocol):
    """A network whose features look at other frames in their first layer only.

    Features of a whole clip then are those of any window cut from it, but for `stem_reach` frames
    at either end.
    """

    stem_reach: int

    def normalise(self, crops: Tensor) -> Tensor:
        """Bring grey 0..255 to about mean 0 and standard deviation 1."""

    def encode_stacks(self, stacks: Tensor) -> Tensor:
        """Turn each frame and its neighbours (B, T, 2 reach + 1, 112, 112) into its features."""


class Head(nn.Module):
    """Embeddings (B, T, C) to logits (B, T, 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.FC = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.FC(x)


def normalise(crops: Tensor, like: Tensor) -> Tensor:
    """Bring grey 0..255 to about mean 0 and standard deviation 1, in the dtype of `like`."""
    return (crops.to(like.dtype) / 255 - _PIXEL_MEAN) / _PIXEL_STD


def losses_of(
    logits: Logits, labels: Tensor, *, audio: float, visual: float, label_smoothing: float = 0.0
) -> Losses:
    """Compute the mean cross-entropy over frames of each head, and their weighted sum.

    Args:
        logits: What the heads say, each (B, T, 2).
        labels: Shape (B,) or (B, T), int64, 1 where the person on screen is speaking, else 0;
            `NOT_COUNTED` where nothing is to be learned.
        audio: Weight of the audio head's loss in the total.
        visual: Weight of the visual head's loss in the total.
        label_smoothing: Share of each label that is spread over both classes.
    """
    if labels.ndim == 1:
        labels = labels[:, None].expand(-1, logits.audio_visual.shape[1])
    flat = labels.reshape(-1)
    n_counted = (flat != NOT_COUNTED).sum().clamp(min=1)

    def cost(head: Tensor) -> Tensor:
        total = F.cross_entropy(
            head.reshape(-1, 2).float(), flat,
            ignore_index=NOT_COUNTED, reduction="sum", label_smoothing=label_smoothing,
        )  # fmt: skip
        return total / n_counted

    of_both, of_visual = cost(logits.audio_visual), cost(logits.visual)
    of_audio = of_both.new_zeros(()) if logits.audio is None else cost(logits.audio)
    return Losses(of_both + audio * of_audio + visual * of_visual, of_both, of_audio, of_visual)
