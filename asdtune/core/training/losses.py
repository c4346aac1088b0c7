"""What a batch costs: through the parts that are not frozen, to one number."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (as everybody calls it)
from torch import Tensor, nn

from asdtune.core.models.network import Logits, Losses, Network
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.settings import TrainingSettings

_LEAST = 1e-6  # probability, so that its logarithm is a number
_CONTRAST_TEMPERATURE = 0.1  # of the likeness, -1..1, of a frame's picture and sound


class Embedded(NamedTuple):
    """What the encoders make of a batch, each (B, W, C)."""

    audio: Tensor
    visual: Tensor


def embed(network: Network, pictures: Tensor, sound: Tensor, freeze: Freeze) -> Embedded:
    """Take a batch through the encoders.

    Args:
        network: The network.
        pictures: Face crops (B, W, 112, 112); or their features (B, W, C), where those are frozen.
        sound: MFCC (B, 4W, 13).
        freeze: Which of these they are.
    """
    features = network.encode_frames(pictures) if freeze is Freeze.NONE else pictures.float()
    return Embedded(network.encode_mfcc(sound), network.embed_features(features))


def logits_of(network: Network, pictures: Tensor, sound: Tensor, freeze: Freeze) -> Logits:
    """Take a batch, as `embed` does, to what the heads say of it."""
    return network.detect(*embed(network, pictures, sound, freeze))


class Objective(nn.Module):
    """The loss of a batch, as a module: what is compiled, or spread over ranks."""

    def __init__(
        self, network: Network, freeze: Freeze, epoch: int, settings: TrainingSettings
    ) -> None:
        super().__init__()
        self.network = network
        self.freeze, self.epoch = freeze, epoch
        self.dropout = nn.Dropout(settings.dropout)
        self.label_smoothing, self.contrast = settings.label_smoothing, settings.contrast
        self.distillation = settings.distillation
        if settings.compile:
            self.compile(dynamic=False)

    def forward(
        self, pictures: Tensor, sound: Tensor, labels: Tensor, start_scores: Tensor | None = None
    ) -> Losses:
        """Give the losses of a batch, each the mean over its windows.

        Args:
            pictures: As for `embed`.
            sound: As for `embed`.
            labels: Shape (B, W), int64.
            start_scores: As for `distillation_loss`; None without distillation.
        """
        embedded = embed(self.network, pictures, sound, self.freeze)
        logits = self.network.detect(*map(self.dropout, embedded))
        losses = self.network.loss(
            logits, labels, epoch=self.epoch, label_smoothing=self.label_smoothing
        )
        if self.contrast:
            contrast = contrast_loss(embedded, labels)
            losses = losses._replace(total=losses.total + self.contrast * contrast)
        if start_scores is not None:
            kept = distillation_loss(logits.audio_visual, start_scores)
            losses = losses._replace(total=losses.total + self.distillation * kept)
        return losses


def distillation_loss(logits: Tensor, start_scores: Tensor) -> Tensor:
    """Ask a network to say what the one that it started from says.

    The mean over frames of the Kullback-Leibler divergence of the two; frames without a score cost
    nothing. (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; against
    forgetting: Li and Hoiem, "Learning without Forgetting", ECCV 2016.)

    Args:
        logits: Of the network, shape (B, W, 2).
        start_scores: Of the other, the probability of speaking, shape (B, W); NaN for none.
    """
    is_taught = ~start_scores.isnan()
    speaking = start_scores.nan_to_num(0.5).clamp(_LEAST, 1 - _LEAST)
    wanted = torch.stack([1 - speaking, speaking], -1)  # (B, W, 2)
    apart = (wanted * (wanted.log() - logits.float().log_softmax(-1))).sum(-1)
    return (apart * is_taught).mean()


def contrast_loss(embedded: Embedded, labels: Tensor) -> Tensor:
    """Ask of each picture of a speaker which frame of the window's sound is its own.

    The mean over frames of the cross-entropy over the window's frames; those of label 0 cost
    nothing. (Jung et al., "TalkNCE: Improving Active Speaker Detection with Talk-Aware Contrastive
    Learning", ICASSP 2024.)

    Args:
        embedded: Of the encoders, each (B, W, C).
        labels: Shape (B, W), int64.
    """
    with torch.autocast(labels.device.type, enabled=False):  # which would round before it divides
        audio, visual = (F.normalize(each.float(), dim=-1) for each in embedded)
        likeness = visual @ audio.transpose(1, 2) / _CONTRAST_TEMPERATURE  # (B, W, W)
    own = torch.diagonal(likeness.log_softmax(-1), dim1=1, dim2=2)  # (B, W)
    return -(own * (labels == 1)).mean()
