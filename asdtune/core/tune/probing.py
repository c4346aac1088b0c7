"""What a run would cost, from a short probe on this machine; nothing is written.

for step in probe(Path("splits/training.csv"), Path("splits/validation.csv"), ...):
    ...  # ProbeReport, at the end
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from asdtune.core.networks.catalogue import make_network
from asdtune.core.networks.checkpoints import find_checkpoint, load_weights
from asdtune.core.networks.network import Network
from asdtune.core.tune.dataset import Batch, Rows, WindowDataset, check_splits
from asdtune.core.tune.feeds import count_encoded_frames
from asdtune.core.tune.freezing import Freeze
from asdtune.core.tune.learning import batches_of_epoch, learn_epoch
from asdtune.core.tune.optimising import averaged_copy, make_optimizer
from asdtune.core.tune.planning import EpochPlan, plan_epochs, without_empty_curriculum
from asdtune.core.tune.precision import computing, prepare_network
from asdtune.core.tune.ranks import Ranks
from asdtune.core.tune.runs import Learner, Position, TrainingSettings
from asdtune.core.tune.scoring import choose_device, score_windows
from asdtune.core.tune.settings import check_settings, resolve_settings
from asdtune.core.tune.stores import BLOCK_FRAMES, Distinct

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.networks.talknet import TalkNetSizes

_N_STEPS = 3  # of which the first, that builds what later ones reuse, does not count


@dataclass(frozen=True)
class PhaseCost:
    """Epochs that are alike, and what each costs."""

    epochs: tuple[int, int]  # first and last
    freeze: str
    is_temporal: bool
    n_windows: int
    n_steps: int
    seconds: float


@dataclass(frozen=True)
class ProbeReport:
    """What a run would cost.

    Attributes:
        device: Where.
        precision: `fp32` or `bf16`.
        phases: Its epochs.
        feature_seconds: What storing features costs, once.
        seconds: All of it, without the test split.
        memory_bytes: The most that the probe took: of the GPU, or of this process; None where the
            system does not tell.
        disk_bytes: Of the packed clips, the stored features and the checkpoints.
    """

    device: str
    precision: str
    phases: tuple[PhaseCost, ...]
    feature_seconds: float
    seconds: float
    memory_bytes: int | None
    disk_bytes: int


def probe(
    training_dataset: Path,
    validation_dataset: Path,
    *,
    settings: TrainingSettings,
    device: str,
    sizes: TalkNetSizes | None = None,
) -> ProbeReport:
    """Take a few steps of each phase of a run and say how long all of it would take.

    Args:
        training_dataset: As for `train`.
        validation_dataset: As for `train`.
        settings: As for `train`.
        device: As for `train`.
        sizes: As for `train`.

    Raises:
        AsdtuneError: As for `train`.
    """
    check_settings(settings)
    ranks = Ranks(0, 1, choose_device(device))
    start_path = find_checkpoint(settings.checkpoint)
    settings = resolve_settings(settings, ranks.device, is_scratch=start_path is None)
    training = WindowDataset(training_dataset, settings.window_size)
    validation = WindowDataset(validation_dataset, settings.window_size)
    check_splits(
        {"training": training, "validation": validation},
        {"training": training_dataset, "validation": validation_dataset},
    )
    settings = without_empty_curriculum(settings, training)
    torch.manual_seed(settings.seed)
    network = make_network(settings.network, sizes)
    if start_path is not None:
        load_weights(network, start_path)
    prepare_network(network, settings.precision, ranks.device)
    optimizer = make_optimizer(network, settings)
    learner = Learner(network, optimizer, averaged_copy(network, settings.ema_decay))

    plans = plan_epochs(settings)
    alike = Counter((plan.freeze, plan.is_temporal) for plan in plans)
    phases = []
    for freeze, is_temporal in alike:
        of_phase = [p for p in plans if (p.freeze, p.is_temporal) == (freeze, is_temporal)]
        step_seconds = _step_seconds(learner, training, of_phase[0], settings, ranks)
        batches = batches_of_epoch(training, of_phase[0], settings, ranks)
        score_seconds = _score_seconds(network, validation, freeze, settings)
        seconds = len(batches) * step_seconds + len(validation) * score_seconds
        phases.append(
            PhaseCost(
                (of_phase[0].epoch, of_phase[-1].epoch), freeze.value, is_temporal,
                sum(map(len, batches)), len(batches), seconds,
            )
        )  # fmt: skip
    n_frames = 0
    if any(plan.freeze is not Freeze.NONE for plan in plans):
        n_frames = sum(count_encoded_frames(network, each) for each in (training, validation))
    feature_seconds = n_frames * _frame_seconds(network, settings) if n_frames else 0.0
    total = feature_seconds + sum(
        phase.seconds * alike[Freeze(phase.freeze), phase.is_temporal] for phase in phases
    )
    return ProbeReport(
        device=str(ranks.device),
        precision=settings.precision,
        phases=tuple(phases),
        feature_seconds=feature_seconds,
        seconds=total,
        memory_bytes=_peak_memory(ranks.device),
        disk_bytes=_disk_bytes(learner, [training, validation], n_frames, settings),
    )


class _Stand:
    """Windows whose pictures and sounds are noise of the shape that frozen parts would give."""

    def __init__(self, windows: WindowDataset, freeze: Freeze, network: Network) -> None:
        self.windows, self.freeze = windows, freeze
        self.labels, self.window_size = windows.labels, windows.window_size
        self._widths = (network.n_features, network.n_embedding)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Rows) -> Batch:
        """Gather windows as far as they are not frozen."""
        if self.freeze is Freeze.NONE:
            return self.windows.batch(rows)
        if self.freeze is Freeze.VISUAL:
            noise = self._noise(len(rows), self._widths[0])
            return Batch(noise, self.windows.mfcc(rows), self.labels[rows])
        noise = self._noise(len(rows), self._widths[1])
        return Batch(noise, noise, self.labels[rows])

    def _noise(self, n: int, width: int) -> npt.NDArray[np.float32]:
        shape = (n, self.window_size, width)
        return np.random.default_rng(0).standard_normal(shape, np.float32)


def _step_seconds(
    learner: Learner,
    windows: WindowDataset,
    plan: EpochPlan,
    settings: TrainingSettings,
    ranks: Ranks,
) -> float:
    """Time a few steps of an epoch, without the first."""
    feed = _Stand(windows, plan.freeze, learner.network)
    steps = learn_epoch(learner, feed, windows, plan, Position(), settings=settings, ranks=ranks)
    begun = time.monotonic()
    times = []
    for _, _ in zip(range(_N_STEPS), steps, strict=False):
        times.append(time.monotonic() - begun)
    _wait_for(ranks.device)
    times[-1] = time.monotonic() - begun
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else times[0]


def _score_seconds(
    network: Network, windows: WindowDataset, freeze: Freeze, settings: TrainingSettings
) -> float:
    """Time the scoring of a window."""
    rows = np.arange(min(len(windows), settings.batch_size))
    stand = _Stand(windows, freeze, network)

    def score() -> None:
        for _ in score_windows(
            network, stand, batch_size=len(rows), rows=rows, freeze=freeze,
            precision=settings.precision,
        ):  # fmt: skip
            pass

    return _seconds_of(score) / len(rows)


def _frame_seconds(network: Network, settings: TrainingSettings) -> float:
    device = next(network.parameters()).device
    crops = torch.zeros(1, BLOCK_FRAMES, 112, 112, dtype=torch.uint8, device=device)

    def encode() -> None:
        with torch.inference_mode(), computing(settings.precision, device):
            network.encode_frames(crops)
        _wait_for(device)

    network.eval()
    return _seconds_of(encode) / BLOCK_FRAMES


def _seconds_of(work: Callable[[], None]) -> float:
    """Time the second of two goes."""
    work()
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _disk_bytes(
    learner: Learner, splits: list[WindowDataset], n_frames: int, settings: TrainingSettings
) -> int:
    weights = sum(value.nbytes for value in learner.network.state_dict().values())
    n_copies = 5 + (learner.averaged is not None)  # best, last, and the state with Adam's moments
    clips = sum(
        sum(each.clips.crops(path).size for path in set(each.video_paths))
        + sum(each.clips.mfcc(path).size * 4 for path in set(each.audio_paths))
        for each in splits
    )
    n_bytes = 4 if settings.precision == "fp32" else 2
    n_features = n_frames * learner.network.n_features
    if settings.freeze == Freeze.FRONTENDS.value:
        n_features += learner.network.n_embedding * sum(map(_n_embedded_frames, splits))
    return int(weights * n_copies + clips + n_features * n_bytes)


def _n_embedded_frames(windows: WindowDataset) -> int:
    """Count the frames whose embeddings are stored: of every distinct window, seen and heard."""
    seen = Distinct(windows.video_paths, windows.video_starts)
    heard = Distinct(windows.audio_paths, windows.audio_starts)
    return (len(seen.row) + len(heard.row)) * windows.window_size
