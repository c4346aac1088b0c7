"""How fast each network learns and scores, and what memory it takes, each in a process of its own.

Is part of `python -m tests.bench.train`.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from asdtune.core.models.network import Network
from asdtune.core.models.registry import NETWORKS, make_network
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.devices import choose_device, prepare_network
from asdtune.core.training.distributed import Ranks
from asdtune.core.training.encoding import Pictures
from asdtune.core.training.feature_cache import FeatureWindows, cache_features
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.optimizer import make_optimizer
from asdtune.core.training.run_state import TrainState
from asdtune.core.training.schedule import EpochPlan
from asdtune.core.training.scoring import Windows, score_windows
from asdtune.core.training.settings import TrainingSettings
from asdtune.core.training.trainer import learn_epoch
from tests.bench.measuring import REPEATS, best, peak_mb, wait_for

N_SCORED = 16  # windows
FROZEN_BATCH = 32


class Step(NamedTuple):
    """What a step cost the network, and of how many windows it was."""

    loss: float
    n_windows: int


def networks_figures(
    csv_path: Path, settings: TrainingSettings, device: str
) -> dict[str, dict[str, float]]:
    """Give the figures of every network."""
    return {name: network_figures(csv_path, settings, device, name) for name in NETWORKS}


def network_figures(
    csv_path: Path, settings: TrainingSettings, device: str, name: str
) -> dict[str, float]:
    """Give frames per second and peak memory, beyond what is imported, of one network."""
    figures = {}
    for measure in (learning, learning_frozen, scoring):
        # Of a process of its own, because memory that was taken once counts for ever.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            figures |= pool.submit(measure, csv_path, settings, device, name).result()
    return figures


def learning(
    csv_path: Path, settings: TrainingSettings, device: str, name: str
) -> dict[str, float]:
    """Measure steps in which all of the network learns."""
    before = memory_gb(choose_device(device))
    windows, network, ranks = opened(csv_path, settings, device, name)
    steps = learn(network, windows, windows, Freeze.NONE, settings, ranks)
    return {
        "train_frames_per_s": frames_per_second(steps, settings.window_size),
        "train_gb": memory_gb(ranks.device) - before,
    }


def learning_frozen(
    csv_path: Path, settings: TrainingSettings, device: str, name: str
) -> dict[str, float]:
    """Measure storing what the frozen visual front-end makes of windows, and steps on that."""
    before = memory_gb(choose_device(device))
    windows, network, ranks = opened(csv_path, settings, device, name)
    settings = settings.model_copy(update={"batch_size": FROZEN_BATCH})
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        for _ in cache_features(network, windows, Path(folder), precision=settings.precision):
            pass
        stored = time.perf_counter() - begun
        feed = FeatureWindows(windows, Path(folder))
        steps = learn(network, feed, windows, Freeze.VISUAL, settings, ranks)
        rate = frames_per_second(steps, settings.window_size)
    return {
        "cached_frames_per_s": len(Pictures.of(windows).start) * settings.window_size / stored,
        "frozen_frames_per_s": rate,
        "frozen_gb": memory_gb(ranks.device) - before,
    }


def scoring(csv_path: Path, settings: TrainingSettings, device: str, name: str) -> dict[str, float]:
    """Measure scoring windows in float32, as `evaluate` does."""
    before = memory_gb(choose_device(device))
    windows, network, ranks = opened(csv_path, settings, device, name, precision="fp32")
    rows = np.arange(N_SCORED)

    def score() -> None:
        for _ in score_windows(network, windows, batch_size=8, rows=rows):
            pass

    score()
    seconds = best(score)
    return {
        "score_frames_per_s": len(rows) * settings.window_size / seconds,
        "score_gb": memory_gb(ranks.device) - before,
    }


def opened(
    csv_path: Path, settings: TrainingSettings, device: str, name: str, precision: str | None = None
) -> tuple[WindowDataset, Network, Ranks]:
    """Open the windows, and make the network."""
    ranks = Ranks(0, 1, choose_device(device))
    torch.manual_seed(0)
    network = make_network(name)
    prepare_network(network, precision or settings.precision, ranks.device)
    return WindowDataset(csv_path, settings.window_size), network, ranks


def learn(
    network: Network,
    feed: Windows,
    windows: WindowDataset,
    freeze: Freeze,
    settings: TrainingSettings,
    ranks: Ranks,
) -> Iterator[Step]:
    """Take steps as `train` does, without end."""
    state = TrainState(network, make_optimizer(network, settings), None)
    n_before = 0
    while True:
        plan = EpochPlan(state.epoch, freeze, is_temporal=False)
        for report in learn_epoch(state, feed, windows, plan, None, settings, ranks):
            wait_for(ranks.device)
            yield Step(report.loss, state.n_windows - n_before)
            n_before = state.n_windows
        state.begin_epoch(state.epoch + 1)
        n_before = 0


def frames_per_second(steps: Iterator[Step], window_size: int) -> float:
    """Give the rate of the fastest of some steps, without the first."""
    next(steps)
    rates = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        step = next(steps)
        rates.append(step.n_windows * window_size / (time.perf_counter() - begun))
    return max(rates)


def memory_gb(device: torch.device) -> float:
    """Give the most memory that was taken so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return peak_mb() / 2**10
