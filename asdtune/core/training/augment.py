"""Windows made different each time they are seen, as TalkNet's training does.

A window's pictures stay as they are, or are mirrored, or cut to 70 to 100 percent of their side, or
turned by up to 15 degrees, all of them alike (a quarter of the windows each). To the sound of every
other window that of another clip is added, -5 to 5 dB weaker, and MFCC are computed of the sum.
(Tao et al., "Is Someone Speaking?", 2021, and the code published with it.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as everybody calls it)

from asdtune.core.prepare.mfcc import (
    FRAME_SAMPLES,
    HOP_SAMPLES,
    PRE_EMPHASIS,
    mfcc_of_frames,
)
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.training.dataset import Rows, Voices, WindowDataset
from asdtune.core.training.devices import to_device

MIN_CROP = 0.7  # of the side of a picture
MAX_DEGREES = 15.0
MAX_DECIBEL = 5.0  # by which the window's own sound is louder, or the other one
MIX_SHARE = 0.5  # of the windows
_N_TRIES = 8  # to find another clip's sound


@dataclass(frozen=True)
class Changes:
    """What is done to the windows of a batch.

    Attributes:
        affine: Shape (B, 2, 3), float32: where each point of a new picture lies in the old one,
            both -1..1.
        noise: Shape (B,): the row of the split whose sound is added; -1 for none.
        decibel: Shape (B,), float32: by which the window's own sound is louder.
    """

    affine: npt.NDArray[np.float32]
    noise: Rows
    decibel: npt.NDArray[np.float32]

    def __getitem__(self, share: slice) -> Changes:
        """Give those of some of the windows."""
        return Changes(self.affine[share], self.noise[share], self.decibel[share])


def draw_changes(windows: WindowDataset, rows: Rows, rng: np.random.Generator) -> Changes:
    """Decide what is done to the windows of a batch."""
    affine = np.stack([_draw_affine(rng) for _ in rows])
    noise = np.full(len(rows), -1)
    for k, i in enumerate(rows):
        wanted = rng.random() < MIX_SHARE
        tries = rng.integers(len(windows), size=_N_TRIES)
        others = [j for j in tries if _is_of_other_clip(windows, i, j)]
        if wanted and others:
            noise[k] = others[0]
    decibel = rng.uniform(-MAX_DECIBEL, MAX_DECIBEL, len(rows)).astype(np.float32)
    return Changes(affine, noise, decibel)


def change_pictures(crops: Tensor, affine: Tensor) -> Tensor:
    """Mirror, cut or turn the pictures of windows; black is what lies outside.

    Args:
        crops: Shape (B, W, H, H), 0..255, any dtype.
        affine: Shape (B, 2, 3), float32.

    Returns:
        Shape (B, W, H, H), float32, 0..255.
    """
    grid = F.affine_grid(affine, list(crops.shape), align_corners=False)
    return F.grid_sample(crops.float(), grid, align_corners=False)


def mix_sound(mfcc: Tensor, windows: WindowDataset, rows: Rows, changes: Changes) -> Tensor:
    """Add the sound of other clips to that of windows.

    Args:
        mfcc: Of the windows as they are, shape (B, 4W, 13); is changed in place.
        windows: The split they come from.
        rows: Their rows.
        changes: What is added to each.

    Returns:
        Shape (B, 4W, 13). Windows whose sound was not kept, or not what would be added, stay as
        they are.
    """
    chosen = np.flatnonzero(changes.noise >= 0)
    own, other = windows.voices(rows[chosen]), windows.voices(changes.noise[chosen])
    kept = np.flatnonzero((own.n_samples > 0) & (other.n_samples > 0))  # among those
    if len(kept):
        decibel = to_device(changes.decibel[chosen[kept]], mfcc.device)
        mixed = mfcc_of_mixture(own[kept], other[kept], decibel)
        mfcc[to_device(chosen[kept], mfcc.device)] = mixed
    return mfcc


def mfcc_of_mixture(own: Voices, other: Voices, decibel: Tensor) -> Tensor:
    """Compute the MFCC of windows of sound to which others are added.

    Args:
        own: The sound of B windows.
        other: What is added to each.
        decibel: Shape (B,): by how much a window's own sound is louder than what is added.

    Returns:
        Shape (B, 4W, 13), float32, on the device of `decibel`.
    """
    device = decibel.device
    n_own = to_device(own.n_samples, device)[:, None]
    samples, added = (to_device(each.samples, device).float() for each in (own, other))
    gain = _loudness(samples) - _loudness(added) - decibel
    total = samples + added * (10 ** (gain / 20))[:, None]
    total[:, 0] *= ~to_device(own.begins_clip, device)  # nothing is before the first sample
    emphasised = torchaudio.functional.preemphasis(total, PRE_EMPHASIS)[:, 1:]
    at = torch.arange(emphasised.shape[1], device=device)
    emphasised = torch.where(at < n_own, emphasised, 0)  # the last frame of a clip ends with zeros
    return mfcc_of_frames(emphasised.unfold(1, FRAME_SAMPLES, HOP_SAMPLES))


def draw_masks(
    n_windows: int, window_size: int, n_masked: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw for each window a run of at most so many video frames: first and end, shape (B, 2)."""
    lengths = rng.integers(0, n_masked + 1, n_windows)
    starts = rng.integers(0, np.maximum(window_size - lengths, 0) + 1)
    return np.stack([starts, starts + lengths], 1)


def mask_sound(mfcc: Tensor, masks: npt.NDArray[np.int64]) -> Tensor:
    """Put the mean of a window's sound in the place of some of it.

    Args:
        mfcc: Shape (B, 4W, 13).
        masks: First and end of what is masked, video frames, shape (B, 2).
    """
    at = torch.arange(mfcc.shape[1], device=mfcc.device) // MFCC_PER_FRAME
    first, end = to_device(masks, mfcc.device).unbind(1)
    is_masked = (at >= first[:, None]) & (at < end[:, None])
    return torch.where(is_masked[..., None], mfcc.mean(1, keepdim=True), mfcc)


def _loudness(samples: Tensor) -> Tensor:
    """Give the mean power of sounds (B, n) in dB, shape (B,)."""
    return 10 * (samples.square().mean(1) + 1e-4).log10()


def _is_of_other_clip(windows: WindowDataset, row: int, other: int) -> bool:
    """Tell whether the sound of another window is of another clip than its pictures and sound."""
    name = windows.audio_paths[other].stem
    return name not in (windows.audio_paths[row].stem, windows.video_paths[row].stem)


def _draw_affine(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw one of: nothing, mirror, cut, turn; shape (2, 3)."""
    kind = rng.integers(4)
    side, angle = rng.uniform(MIN_CROP, 1.0), math.radians(rng.uniform(-MAX_DEGREES, MAX_DEGREES))
    x, y = rng.uniform(side - 1, 1 - side, 2)
    cos, sin = math.cos(angle), math.sin(angle)
    drawn = (
        [[1, 0, 0], [0, 1, 0]],
        [[-1, 0, 0], [0, 1, 0]],
        [[side, 0, x], [0, side, y]],
        [[cos, -sin, 0], [sin, cos, 0]],
    )
    return np.array(drawn[kind], np.float32)
