"""Light-ASD: a fifteenth of TalkNet, and better on films.

Liao et al., "A Light Weight Model for Active Speaker Detection", CVPR 2023. Convolutions are split
into one over the picture and one over time; each block has two such paths, of kernel 3 and 5. Both
embeddings are added, and two GRUs look forward and backward in time.

Layer names are those of the published checkpoints, as in `talknet.py`.
"""

from __future__ import annotations

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

VISUAL_WEIGHT = 0.5  # of the visual loss in the total
_TEMPERATURE, _COOLING, _COLDEST = 1.3, 0.02, 0.7  # of the loss: at first, per epoch, at last


class LightASD(nn.Module):
    """The network with its two heads."""

    n_features = n_embedding = WIDTHS[-1]
    has_audio_head = False

    def __init__(self) -> None:
        super().__init__()
        self.model = _LightASDModel()
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
        return Logits(self.lossAV(self.model.GRU(audio + visual)), None, self.lossV(visual))

    def loss(
        self, logits: Logits, labels: Tensor, *, epoch: int = 1, label_smoothing: float = 0.0
    ) -> Losses:
        """Compute cross-entropy, audio-visual + 0.5 visual.

        Logits are divided by a temperature that falls from 1.3 by 0.02 an epoch (published for 30
        epochs, and held after).
        """
        heat = max(_TEMPERATURE - _COOLING * (epoch - 1), _COLDEST)
        warm = Logits(logits.audio_visual / heat, None, logits.visual / heat)
        return losses_of(
            warm, labels, audio=0.0, visual=VISUAL_WEIGHT, label_smoothing=label_smoothing
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
        norm = block.bn_last
        norm.weight.mul_(scale)
        norm.bias.mul_(scale)


class _LightASDModel(nn.Module):
    """Everything but the heads; exists because the checkpoints name it `model`."""

    def __init__(self) -> None:
        super().__init__()
        self.visualEncoder = VisualEncoder(_VisualBlock)
        self.audioEncoder = AudioEncoder(_AudioBlock)
        self.GRU = _Detector(WIDTHS[-1])


class _VisualBlock(nn.Module):
    """Two paths, each over the picture and then over time, added and mixed."""

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.s_3, self.bn_s_3 = over_picture(n_in, n_out, 3, stride), visual_norm(n_out)
        self.t_3, self.bn_t_3 = over_frames(n_out, 3), visual_norm(n_out)
        self.s_5, self.bn_s_5 = over_picture(n_in, n_out, 5, stride), visual_norm(n_out)
        self.t_5, self.bn_t_5 = over_frames(n_out, 5), visual_norm(n_out)
        self.last, self.bn_last = over_frames(n_out, 1), visual_norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        three = F.relu(self.bn_t_3(self.t_3(F.relu(self.bn_s_3(self.s_3(x))))))
        five = F.relu(self.bn_t_5(self.t_5(F.relu(self.bn_s_5(self.s_5(x))))))
        return F.relu(self.bn_last(self.last(three + five)))


class _AudioBlock(nn.Module):
    """Two paths, each over the coefficients and then over time, added and mixed."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.m_3, self.bn_m_3 = over_coefficients(n_in, n_out, 3), audio_norm(n_out)
        self.t_3, self.bn_t_3 = over_mfcc_frames(n_out, 3), audio_norm(n_out)
        self.m_5, self.bn_m_5 = over_coefficients(n_in, n_out, 5), audio_norm(n_out)
        self.t_5, self.bn_t_5 = over_mfcc_frames(n_out, 5), audio_norm(n_out)
        self.last, self.bn_last = over_mfcc_frames(n_out, 1), audio_norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        three = F.relu(self.bn_t_3(self.t_3(F.relu(self.bn_m_3(self.m_3(x))))))
        five = F.relu(self.bn_t_5(self.t_5(F.relu(self.bn_m_5(self.m_5(x))))))
        return F.relu(self.bn_last(self.last(three + five)))


class _Detector(nn.Module):
    """Embeddings (B, T, C) that know what was before and what comes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru_forward = nn.GRU(width, width, batch_first=True)
        self.gru_backward = nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.gru_forward(x)[0])
        return F.gelu(self.gru_backward(x.flip(1))[0].flip(1))
