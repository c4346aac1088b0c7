"""LR-ASD: smaller than Light-ASD by a fifth, and better still.

Liao et al., "LR-ASD: Lightweight and Robust Network for Active Speaker Detection", IJCV 2025. Each
block of an encoder is four convolutions in a row, two over the picture and two over time. Both
embeddings are joined, weighed by what they say, and two small GRUs look forward and backward.

Layer names are those of the published checkpoints, as in `talknet.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdtune.core.models.encoders import (
    WIDTHS,
    AudioEncoder,
    VisualEncoder,
    audio_norm,
    over_coefficients,
    over_frames,
    over_mfcc_frames,
    over_picture,
    visual_norm,
)
from asdtune.core.models.network import Head, Logits, Losses, losses_of, normalise

DROPOUT = 0.5  # before the GRUs
VISUAL_WEIGHT = 0.5  # of the visual loss in the total


class LRASD(nn.Module):
    """The network with its two heads."""

    n_features = n_embedding = WIDTHS[-1]
    has_audio_head = False

    def __init__(self) -> None:
        super().__init__()
        self.model = _LRASDModel()
        self.lossAV = Head(WIDTHS[-1])
        self.lossV = Head(WIDTHS[-1])

    def forward(self, mfcc: Tensor, crops: Tensor) -> Logits:
        """Decide for every frame of every window.

        Args:
            mfcc: Shape (B, 4T, 13), floating point.
            crops: Shape (B, T, 112, 112), grey 0..255, uint8 or floating point.

        Returns:
            The logits of the heads, each (B, T, 2).
        """
        return self.detect(self.encode_mfcc(mfcc), self.encode_frames(crops))

    def encode_frames(self, crops: Tensor) -> Tensor:
        """Turn face crops (B, T, 112, 112) into visual embeddings (B, T, 128)."""
        x = normalise(crops, like=self.lossAV.FC.weight)
        return self.model.visualEncoder(x[:, None])

    def embed_features(self, features: Tensor) -> Tensor:
        """Give them back: the features of a frame are its embedding."""
        return features

    def encode_mfcc(self, mfcc: Tensor) -> Tensor:
        """Turn MFCC (B, 4T, 13) into audio embeddings (B, T, 128)."""
        return self.model.audioEncoder(mfcc.transpose(1, 2)[:, None])

    def detect(self, audio: Tensor, visual: Tensor) -> Logits:
        """Turn embeddings (B, T, 128) into the logits of the heads, each (B, T, 2)."""
        both = self.model.detector(self.model.fusion(torch.cat([audio, visual], -1)))
        return Logits(self.lossAV(both), None, self.lossV(visual))

    def loss(
        self, logits: Logits, labels: Tensor, *, epoch: int = 1, label_smoothing: float = 0.0
    ) -> Losses:
        """Compute cross-entropy, audio-visual + 0.5 visual; the same in every epoch."""
        del epoch
        return losses_of(
            logits, labels, audio=0.0, visual=VISUAL_WEIGHT, label_smoothing=label_smoothing
        )

    def frozen_parts(self, freeze: str) -> list[nn.Module]:
        """Give what stays as it is: for `none`, `visual-frontend` or `frontends`."""
        visual: list[nn.Module] = [self.model.visualEncoder]
        both = [*visual, self.model.audioEncoder]
        return {"none": [], "visual-frontend": visual, "frontends": both}[freeze]

    def scale_features(self, scale: Tensor) -> None:
        """Multiply each of the 128 features of a frame by a number above 0, for good.

        They are the maximum of a ReLU of a batch norm, so its gain and offset take the scale.
        """
        block = self.model.visualEncoder.block3
        assert isinstance(block, _VisualBlock)
        norm = block.t_norm_2
        norm.weight.mul_(scale)
        norm.bias.mul_(scale)


class _LRASDModel(nn.Module):
    """Everything but the heads; exists because the checkpoints name it `model`."""

    def __init__(self) -> None:
        super().__init__()
        self.visualEncoder = VisualEncoder(_VisualBlock)
        self.audioEncoder = AudioEncoder(_AudioBlock)
        self.fusion = _Fusion(2 * WIDTHS[-1])
        self.detector = _Detector(2 * WIDTHS[-1], WIDTHS[-1] // 2)


class _VisualBlock(nn.Module):
    """Twice over the picture, to half of the channels and then to all, and twice over time."""

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1) -> None:
        super().__init__()
        half = n_out // 2
        self.s_1, self.s_norm_1 = over_picture(n_in, half, 5, stride), visual_norm(half)
        self.s_2, self.s_norm_2 = over_picture(half, n_out, 3), visual_norm(n_out)
        self.t_1, self.t_norm_1 = over_frames(n_out, 5), visual_norm(n_out)
        self.t_2, self.t_norm_2 = over_frames(n_out, 3), visual_norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.s_norm_1(self.s_1(x)))
        x = F.relu(self.s_norm_2(self.s_2(x)))
        x = F.relu(self.t_norm_1(self.t_1(x)))
        return F.relu(self.t_norm_2(self.t_2(x)))


class _AudioBlock(nn.Module):
    """Twice over the coefficients, to half of the channels and then to all, and twice over time."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        half = n_out // 2
        self.m_1, self.m_norm_1 = over_coefficients(n_in, half, 5), audio_norm(half)
        self.m_2, self.m_norm_2 = over_coefficients(half, n_out, 3), audio_norm(n_out)
        self.t_1, self.t_norm_1 = over_mfcc_frames(n_out, 5), audio_norm(n_out)
        self.t_2, self.t_norm_2 = over_mfcc_frames(n_out, 3), audio_norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.m_norm_1(self.m_1(x)))
        x = F.relu(self.m_norm_2(self.m_2(x)))
        x = F.relu(self.t_norm_1(self.t_1(x)))
        return F.relu(self.t_norm_2(self.t_2(x)))


class _Fusion(nn.Module):
    """Weigh each channel of each frame, (B, T, C), by what all of them say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Conv1d(width, width, 1, bias=False)
        self.bn = nn.BatchNorm1d(width, momentum=0.01, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.bn(self.attention(x.transpose(1, 2))).transpose(1, 2).sigmoid()


class _Detector(nn.Module):
    """Joined embeddings (B, T, 256) to what is known of each frame (B, T, 128)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(DROPOUT)
        self.gru_forward = nn.GRU(n_in, n_out, batch_first=True)
        self.gru_backward = nn.GRU(n_in, n_out, batch_first=True)
        self.attention = _Fusion(2 * n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x)
        forward, _ = self.gru_forward(x)
        backward, _ = self.gru_backward(x.flip(1))
        return self.attention(torch.cat([forward, backward.flip(1)], -1))
