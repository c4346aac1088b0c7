"""The encoders that Light-ASD and LR-ASD share, but for their blocks.

Three blocks of split convolutions, over the picture (or the coefficients) and over time apart.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

WIDTHS = (32, 64, 128)  # of the three blocks


class VisualBlock(Protocol):
    """Builds a block (B, n_in, T, H, W) to (B, n_out, T, H / stride, W / stride)."""

    def __call__(self, n_in: int, n_out: int, *, stride: int = 1) -> nn.Module:
        """Build it."""


class AudioBlock(Protocol):
    """Builds a block (B, n_in, 13, T) to (B, n_out, 13, T)."""

    def __call__(self, n_in: int, n_out: int) -> nn.Module:
        """Build it."""


class VisualEncoder(nn.Module):
    """Face crops (B, 1, T, 112, 112) to embeddings (B, T, 128)."""

    def __init__(self, block: VisualBlock) -> None:
        super().__init__()
        self.block1 = block(1, WIDTHS[0], stride=2)
        self.block2 = block(WIDTHS[0], WIDTHS[1])
        self.block3 = block(WIDTHS[1], WIDTHS[2])
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.pool(self.block1(x))  # (B, 32, T, 28, 28)
        x = self.pool(self.block2(x))  # (B, 64, T, 14, 14)
        return self.block3(x).amax((3, 4)).transpose(1, 2)  # over the picture


class AudioEncoder(nn.Module):
    """MFCC (B, 1, 13, 4T) to embeddings (B, T, 128)."""

    def __init__(self, block: AudioBlock) -> None:
        super().__init__()
        self.block1 = block(1, WIDTHS[0])
        self.block2 = block(WIDTHS[0], WIDTHS[1])
        self.block3 = block(WIDTHS[1], WIDTHS[2])
        self.pool = nn.MaxPool2d((1, 3), stride=(1, 2), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.pool(self.block1(x))  # (B, 32, 13, 2T)
        x = self.pool(self.block2(x))  # (B, 64, 13, T)
        return self.block3(x).mean(2).transpose(1, 2)  # over the coefficients


def over_picture(n_in: int, n_out: int, k: int, stride: int = 1) -> nn.Conv3d:
    """Build a convolution k x k of each picture by itself."""
    half = k // 2
    return nn.Conv3d(
        n_in, n_out, (1, k, k), stride=(1, stride, stride), padding=(0, half, half), bias=False
    )


def over_frames(n: int, k: int) -> nn.Conv3d:
    """Build a convolution of each pixel over k frames."""
    return nn.Conv3d(n, n, (k, 1, 1), padding=(k // 2, 0, 0), bias=False)


def over_coefficients(n_in: int, n_out: int, k: int) -> nn.Conv2d:
    """Build a convolution of each MFCC frame over k coefficients."""
    return nn.Conv2d(n_in, n_out, (k, 1), padding=(k // 2, 0), bias=False)


def over_mfcc_frames(n: int, k: int) -> nn.Conv2d:
    """Build a convolution of each coefficient over k MFCC frames."""
    return nn.Conv2d(n, n, (1, k), padding=(0, k // 2), bias=False)


def visual_norm(n: int) -> nn.BatchNorm3d:
    """Build a batch norm of pictures: slow statistics, a larger epsilon."""
    return nn.BatchNorm3d(n, momentum=0.01, eps=0.001)


def audio_norm(n: int) -> nn.BatchNorm2d:
    """Build a batch norm of sound: slow statistics, a larger epsilon."""
    return nn.BatchNorm2d(n, momentum=0.01, eps=0.001)
