"""TalkNet: is the person on screen speaking?

Tao et al., "Is Someone Speaking? Exploring Long-term Temporal Features for Audio-visual Active
Speaker Detection", ACM Multimedia 2021. Two front-ends turn face crops and MFCC into one embedding
per video frame each; cross-attention lets each look at the other, self-attention looks over time,
and a linear head decides frame by frame.

The state dict of `TalkNet` is a file format that AnnoTheia reads. Its layer names are kept as the
published checkpoints spell them; this module alone is therefore exempt from the naming lint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdtune.core.models.network import Head, Logits, Losses, losses_of, normalise


@dataclass(frozen=True)
class TalkNetSizes:
    """The sizes of the published network; a smaller one is for tests."""

    visual_width: int = 512
    visual_layers: tuple[int, ...] = (64, 128, 256, 512)
    audio_layers: tuple[int, ...] = (16, 32, 64, 128)
    audio_blocks: tuple[int, ...] = (3, 4, 6, 3)
    embedding: int = 128
    n_heads: int = 8
    n_temporal_blocks: int = 5
    dropout: float = 0.1


AUXILIARY_WEIGHT = 0.4  # of the audio loss and of the visual loss in the total
STEM_REACH = 2  # frames before and behind that the visual front-end looks at


class TalkNet(nn.Module):
    """The network with its three heads."""

    has_audio_head = True
    stem_reach = STEM_REACH

    def __init__(self, sizes: TalkNetSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or TalkNetSizes()
        self.n_features, self.n_embedding = sizes.visual_width, sizes.embedding
        self.model = _TalkNetModel(sizes)
        self.lossAV = Head(2 * sizes.embedding)
        self.lossA = Head(sizes.embedding)
        self.lossV = Head(sizes.embedding)

    def forward(self, mfcc: Tensor, crops: Tensor) -> Logits:
        """Decide for every frame of every window.

        Args:
            mfcc: Shape (B, 4T, 13), floating point.
            crops: Shape (B, T, 112, 112), grey 0..255, uint8 or floating point.

        Returns:
            The logits of the three heads, each (B, T, 2).
        """
        visual = self.embed_features(self.encode_frames(crops))
        return self.detect(self.encode_mfcc(mfcc), visual)

    def scores(self, mfcc: Tensor, crops: Tensor) -> Tensor:
        """Give the probability of speaking, shape (B, T), 0..1; inputs as for `forward`."""
        return F.softmax(self(mfcc, crops).audio_visual, -1)[..., 1]

    def encode_frames(self, crops: Tensor) -> Tensor:
        """Turn face crops (B, T, 112, 112) into features of each frame (B, T, 512)."""
        if self.model.visualFrontend.is_channels_last:
            return self.encode_stacks(self.stack_crops(crops))
        return self.model.visualFrontend(self.normalise(crops))

    def stack_crops(self, crops: Tensor) -> Tensor:
        """Stack each crop (B, T, 112, 112) with its neighbours: (B, T, 5, 112, 112), normalised.

        Beyond the window there are zeros.
        """
        x = F.pad(self.normalise(crops), (0, 0, 0, 0, STEM_REACH, STEM_REACH))
        return x.unfold(1, 2 * STEM_REACH + 1, 1).movedim(-1, 2)

    def encode_stacks(self, stacks: Tensor) -> Tensor:
        """Turn stacks of five crops (B, T, 5, 112, 112) into features of each frame (B, T, 512)."""
        return self.model.visualFrontend.of_stacks(stacks)

    def embed_features(self, features: Tensor) -> Tensor:
        """Turn features of frames (B, T, 512) into visual embeddings (B, T, 128)."""
        x = self.model.visualTCN(features.transpose(1, 2).contiguous())  # (B, 512, T)
        return self.model.visualConv1D(x).transpose(1, 2)

    def frozen_parts(self, freeze: str) -> list[nn.Module]:
        """Give what stays as it is: for `none`, `visual-frontend` or `frontends`."""
        model = self.model
        visual: list[nn.Module] = [model.visualFrontend]
        encoders = [*visual, model.visualTCN, model.visualConv1D, model.audioEncoder]
        return {"none": [], "visual-frontend": visual, "frontends": encoders}[freeze]

    def scale_features(self, scale: Tensor) -> None:
        """Multiply each of the 512 features of a frame by a number above 0, for good.

        They are the mean of a ReLU of a batch norm, so its gain and offset take the scale.
        """
        norm = self.model.visualFrontend.resnet.last_norm
        norm.weight.mul_(scale)
        norm.bias.mul_(scale)

    def normalise(self, crops: Tensor) -> Tensor:
        """Bring grey 0..255 to about mean 0 and standard deviation 1."""
        return normalise(crops, like=self.lossAV.FC.weight)

    def encode_mfcc(self, mfcc: Tensor) -> Tensor:
        """Turn MFCC (B, 4T, 13) into audio embeddings (B, T, 128)."""
        return self.model.audioEncoder(mfcc.transpose(1, 2)[:, None])

    def detect(self, audio: Tensor, visual: Tensor) -> Logits:
        """Turn embeddings (B, T, 128) into the logits of the three heads, each (B, T, 2)."""
        attended_audio = self.model.crossA2V(source=audio, target=visual)
        attended_visual = self.model.crossV2A(source=visual, target=audio)
        both = torch.cat([attended_audio, attended_visual], -1)  # (B, T, 256)
        both = self.model.selfAV(source=both, target=both)
        return Logits(self.lossAV(both), self.lossA(attended_audio), self.lossV(attended_visual))

    def loss(
        self, logits: Logits, labels: Tensor, *, epoch: int = 1, label_smoothing: float = 0.0
    ) -> Losses:
        """Compute cross-entropy, audio-visual + 0.4 audio + 0.4 visual; the same in every epoch."""
        del epoch
        weight = AUXILIARY_WEIGHT
        return losses_of(
            logits, labels, audio=weight, visual=weight, label_smoothing=label_smoothing
        )


class _TalkNetModel(nn.Module):
    """Everything but the heads; exists because the checkpoints name it `model`."""

    def __init__(self, sizes: TalkNetSizes) -> None:
        super().__init__()
        width, half, embedding = sizes.visual_width, sizes.visual_width // 2, sizes.embedding
        self.visualFrontend = _VisualFrontend(sizes)
        self.visualTCN = _VisualTemporalNet(width, sizes.n_temporal_blocks)
        self.visualConv1D = _VisualConv1D(width, half, embedding)
        self.audioEncoder = _AudioEncoder(sizes)
        self.crossA2V = _AttentionLayer(embedding, sizes.n_heads, sizes.dropout)
        self.crossV2A = _AttentionLayer(embedding, sizes.n_heads, sizes.dropout)
        self.selfAV = _AttentionLayer(2 * embedding, sizes.n_heads, sizes.dropout)


class _VisualFrontend(nn.Module):
    """Face crops (B, T, 112, 112) to features (B, T, 512).

    The only layer that looks across frames is the 3-D convolution, two frames each way. Upstream
    runs it over the frames of all windows of a batch as one sequence, so that windows leak into
    each other; here every window is convolved by itself, which equals upstream at B = 1.
    """

    def __init__(self, sizes: TalkNetSizes) -> None:
        super().__init__()
        stem = sizes.visual_layers[0]
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, stem, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False),
            _StemNorm(stem, momentum=0.01, eps=0.001),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        self.resnet = _VisualResNet(sizes.visual_layers)

    @property
    def is_channels_last(self) -> bool:
        """Whether the weights lie in memory as the faster kernels want them."""
        weight = next(self.resnet.parameters())
        return weight.is_contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        n_windows, n_frames = x.shape[:2]
        x = self.frontend3D(x[:, None])  # (B, 64, T, 28, 28)
        x = x.transpose(1, 2).flatten(0, 1)  # (B * T, 64, 28, 28)
        return self.resnet(x).view(n_windows, n_frames, -1)

    def of_stacks(self, stacks: Tensor) -> Tensor:
        """Compute the same from each frame and its neighbours (B, T, 5, 112, 112), and faster.

        A 3-D convolution of one channel that keeps the number of frames is a 2-D one of stacks of
        frames, for which processors have better kernels; it rounds differently.
        """
        conv, norm, relu, _ = self.frontend3D
        assert isinstance(conv, nn.Conv3d)
        x = stacks.flatten(0, 1)
        if self.is_channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = F.conv2d(x, conv.weight.squeeze(1), stride=2, padding=3)  # (B * T, 64, 56, 56)
        x = F.max_pool2d(relu(norm(x)), 3, stride=2, padding=1)  # (B * T, 64, 28, 28)
        return self.resnet(x).view(*stacks.shape[:2], -1)


class _StemNorm(nn.BatchNorm3d):
    """Batch norm of (B, C, T, H, W) or of (B * T, C, H, W): the statistics are the same."""

    def _check_input_dim(self, x: Tensor) -> None:
        """Take both."""


class _VisualResNet(nn.Module):
    """Pictures (N, 64, 28, 28) to features (N, 512)."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        n_in = widths[0]
        for i, width in enumerate(widths, start=1):
            self.add_module(f"layer{i}", _VisualResNetLayer(n_in, width, stride=1 if i == 1 else 2))
            n_in = width
        self.avgpool = nn.AvgPool2d(4)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The batch norm before the last ReLU."""
        *_, last = (each for each in self.children() if isinstance(each, _VisualResNetLayer))
        return last.outbnb

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x.flatten(1)


class _VisualResNetLayer(nn.Module):
    """Two residual halves; each adds what entered it before it was normalised."""

    def __init__(self, n_in: int, n_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1a = _conv3x3(n_in, n_out, stride)
        self.bn1a = _slow_norm(n_out)
        self.conv2a = _conv3x3(n_out, n_out)
        # The first layer has these weights in every checkpoint and never uses them.
        self.downsample = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)
        self.outbna = _slow_norm(n_out)
        self.conv1b = _conv3x3(n_out, n_out)
        self.bn1b = _slow_norm(n_out)
        self.conv2b = _conv3x3(n_out, n_out)
        self.outbnb = _slow_norm(n_out)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        skipped = x if self.stride == 1 else self.downsample(x)
        middle = self.conv2a(F.relu(self.bn1a(self.conv1a(x)))) + skipped
        out = F.relu(self.outbna(middle))
        out = self.conv2b(F.relu(self.bn1b(self.conv1b(out)))) + middle
        return F.relu(self.outbnb(out))


class _VisualTemporalNet(nn.Module):
    """Features (B, 512, T) to features of the same shape that know their neighbours in time."""

    def __init__(self, width: int, n_blocks: int) -> None:
        super().__init__()
        self.net = nn.Sequential(*(_TemporalBlock(width) for _ in range(n_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _TemporalBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(),
            nn.BatchNorm1d(width),
            nn.Conv1d(width, width, 3, padding=1, groups=width, bias=False),
            nn.PReLU(),
            _GlobalLayerNorm(width),
            nn.Conv1d(width, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class _GlobalLayerNorm(nn.Module):
    """Normalise over channels and time together; gain and offset per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, width, 1))
        self.beta = nn.Parameter(torch.zeros(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T)
        return F.group_norm(x, 1, self.gamma.flatten(), self.beta.flatten(), eps=1e-8)


class _VisualConv1D(nn.Module):
    """Features (B, 512, T) to embeddings (B, 128, T)."""

    def __init__(self, width: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(width, hidden, 5, padding=2),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Conv1d(hidden, embedding, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _AudioEncoder(nn.Module):
    """MFCC (B, 1, 13, 4T) to embeddings (B, T, 128): a residual net with squeeze-excitation."""

    def __init__(self, sizes: TalkNetSizes) -> None:
        super().__init__()
        widths = sizes.audio_layers
        self.conv1 = nn.Conv2d(1, widths[0], 7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        n_in = widths[0]
        for i, (width, n_blocks) in enumerate(zip(widths, sizes.audio_blocks, strict=True), 1):
            stride = 2 if i in (2, 3) else 1
            blocks = [_AudioBlock(n_in, width, stride=stride)]
            blocks += [_AudioBlock(width, width) for _ in range(n_blocks - 1)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            n_in = width

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))  # (B, 16, 7, 4T)
        for name, layer in self.named_children():
            if name.startswith("layer"):
                x = layer(x)
        return x.mean(2).transpose(1, 2)  # over the coefficients: (B, T, 128)


class _AudioBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(n_in, n_out, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = _conv3x3(n_out, n_out)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.se = _SqueezeExcitation(n_out)
        self.downsample = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        skipped = x if self.downsample is None else self.downsample(x)
        x = self.bn1(F.relu(self.conv1(x)))
        x = self.se(self.bn2(self.conv2(x)))
        return F.relu(x + skipped)


class _SqueezeExcitation(nn.Module):
    """Weigh each channel by what its mean says."""

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(width, width // reduction),
            nn.ReLU(),
            nn.Linear(width // reduction, width),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return x * self.fc(x.mean((2, 3)))[..., None, None]


class _AttentionLayer(nn.Module):
    """A transformer layer in which `target` asks and `source` answers.

    Upstream adds the answer to the source, not to the target that asked; so do the checkpoints.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, n_heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *, source: Tensor, target: Tensor) -> Tensor:  # (B, T, width) each
        answer, _ = self.self_attn(target, source, source, need_weights=False)
        x = self.norm1(source + self.dropout(answer))
        hidden = self.linear2(self.dropout(F.relu(self.linear1(x))))
        return self.norm2(x + self.dropout(hidden))


def _conv3x3(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)


def _slow_norm(width: int) -> nn.BatchNorm2d:
    """Build a batch norm as the visual front-end has it: slow statistics, a larger epsilon."""
    return nn.BatchNorm2d(width, momentum=0.01, eps=0.001)
