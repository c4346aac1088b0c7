"""How fast training reads windows and learns from them, against doing it plainly.

    python -m tests.bench.train [--json] [--device cpu] [--window-size 51] [--batch-size 8]
                                [--curve 200] [--splits FOLDER]

Without splits it renders a corpus. The loader is compared with reading the whole compressed
`.npz` of every window, as upstream does, and with copying the same bytes in memory; the step with
the plain float32 network (on a GPU with TF32); an epoch on stored features, the pass that stores
them included, with a full one over the same windows, which cover every frame 20 times. `--curve N`
takes N steps both ways and prints both losses. At the end the three networks are compared: frames a
second and peak memory of learning, of learning on stored features, of scoring in float32. All
figures come from one run, so that their ratios
hold on a noisy machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from asdtune.core.arrays import map_data
from asdtune.core.models.talknet import TalkNet
from asdtune.core.rates import MFCC_PER_FRAME, VIDEO_FPS
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.devices import choose_device, prepare_network, to_device
from asdtune.core.training.distributed import Ranks
from asdtune.core.training.feature_cache import FeatureWindows, cache_features
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.optimizer import make_optimizer
from asdtune.core.training.run_state import TrainState
from asdtune.core.training.schedule import EpochPlan
from asdtune.core.training.scoring import Windows
from asdtune.core.training.settings import TrainingSettings, resolve_settings
from asdtune.core.training.trainer import learn_epoch
from tests import small
from tests.bench.measuring import best, wait_for
from tests.bench.networks import learn, networks_figures
from tests.talkers import write_corpus

N_CLIPS, N_FRAMES = 16, 500
N_EPOCH_CLIPS = 2  # of the epochs that are compared
N_FEW_CLIPS = 2  # with which the networks are compared
COVERAGE = 20  # windows that show each frame
N_WINDOWS = 512  # that the loader reads in one measurement
N_PLAIN_WINDOWS = 16
COLUMNS = (
    ("video_path", 1, "video_window_center"),
    ("audio_path", MFCC_PER_FRAME, "audio_window_center"),
)
SETTINGS = small.altered(
    small.SETTINGS, precision="auto", window_size=25, learning_rate=1e-4, total_epochs=1
)


def main() -> None:
    """Print a table, and with --json one object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--splits", type=Path, help="a folder with training.csv")
    parser.add_argument("--window-size", type=int, default=51)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--curve", type=int, default=0, metavar="N")
    args = parser.parse_args()
    ranks = Ranks(0, 1, choose_device(args.device))
    settings = resolve_settings(
        small.altered(
            SETTINGS, window_size=args.window_size, batch_size=args.batch_size,
            precision=args.precision, compile=args.compile,
        ),
        ranks.device, is_scratch=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        splits = args.splits or make_corpus(folder / "long", N_CLIPS, settings, 64)
        windows = WindowDataset(splits / "training.csv", settings.window_size)
        figures = loader_figures(windows, settings, folder)
        figures |= step_figures(windows, settings, ranks)
        if args.curve:
            curves(windows, settings, ranks, args.curve)
        per_clip = round(COVERAGE * N_FRAMES / settings.window_size)
        splits = make_corpus(folder / "dense", N_EPOCH_CLIPS, settings, per_clip)
        windows = WindowDataset(splits / "training.csv", settings.window_size)
        figures |= epoch_figures(windows, settings, ranks, folder / "features")
        few = make_corpus(folder / "few", N_FEW_CLIPS, settings, 16)
        of_networks = networks_figures(few / "training.csv", settings, args.device)
    if ranks.device.type == "cuda":
        figures["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 2**30
    for what, value in figures.items():
        print(f"{what:<32} {value:14.3f}")
    for what, over, under in (
        ("loader / whole .npz", "loader_windows_per_s", "npz_loader_windows_per_s"),
        ("loader / copy in memory", "loader_windows_per_s", "copy_windows_per_s"),
        (f"step in {settings.precision} / plain", "step_frames_per_s", "plain_step_frames_per_s"),
        ("full epoch / frozen epoch", "full_epoch_s", "frozen_epoch_s"),
        ("loader / step", "loader_windows_per_s", "step_windows_per_s"),
    ):
        print(f"{what:<32} {figures[over] / figures[under]:14.2f}")
    print_networks(of_networks)
    if args.json:
        print(json.dumps({**figures, "networks": of_networks}))


def make_corpus(
    folder: Path, n_clips: int, settings: TrainingSettings, windows_per_clip: int
) -> Path:
    """Render clips of people, two of each, and draw windows; give the folder of splits."""
    return write_corpus(
        folder, {"training": n_clips // 2}, n_clips=2, seconds=N_FRAMES / VIDEO_FPS,
        window_size=settings.window_size, windows_per_clip=windows_per_clip,
    )  # fmt: skip


def loader_figures(
    windows: WindowDataset, settings: TrainingSettings, folder: Path
) -> dict[str, float]:
    """Give windows per second of the loaders, and bytes per second of the copy."""
    order = np.random.default_rng(0).permutation(len(windows))
    some, few = order[:N_WINDOWS], order[:N_PLAIN_WINDOWS]
    compressed = {}
    for i in few:
        for column, _, _ in COLUMNS:
            name = windows.table[column].iloc[i]
            compressed[name] = folder / f"{len(compressed)}.npz"
            np.savez_compressed(compressed[name], data=map_data(Path(name)))
    size, n = settings.window_size, settings.batch_size
    whole, batch = windows.batch(some), windows.batch(order[:n])

    def load() -> None:
        for start in range(0, len(some), n):
            windows.batch(some[start : start + n])

    def load_whole() -> None:
        for i in few:
            for column, per_frame, centre in COLUMNS:
                start = windows.table[centre].iloc[i] - size // 2 * per_frame
                with np.load(compressed[windows.table[column].iloc[i]]) as file:
                    file["data"][start : start + size * per_frame].copy()

    def copy() -> None:
        for start in range(0, len(some), n):
            part = slice(start, start + n)
            np.copyto(batch.pictures, whole.pictures[part])
            np.copyto(batch.sound, whole.sound[part])

    load()  # what is read on first use does not count
    seconds = best(copy)
    n_bytes = whole.pictures.nbytes + whole.sound.nbytes
    return {
        "loader_windows_per_s": len(some) / best(load),
        "npz_loader_windows_per_s": len(few) / best(load_whole),
        "copy_windows_per_s": len(some) / seconds,
        "copy_gb_per_s": n_bytes / seconds / 1e9,
    }


def step_figures(
    windows: WindowDataset, settings: TrainingSettings, ranks: Ranks
) -> dict[str, float]:
    """Give frames per second of the plain step and of ours, and what the machine's limit is."""
    n_frames = settings.batch_size * settings.window_size
    ours, plain = our_steps(windows, settings, ranks), plain_steps(windows, settings, ranks)
    flops = flops_of_step(windows, settings)
    seconds, plain_seconds = best(lambda: next(ours)), best(lambda: next(plain))
    rates = {
        name: matrix_rate(dtype, ranks.device)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    return {
        "step_frames_per_s": n_frames / seconds,
        "step_windows_per_s": settings.batch_size / seconds,
        "plain_step_frames_per_s": n_frames / plain_seconds,
        "step_gflop": flops / 1e9,
        "step_tflops": flops / seconds / 1e12,
        "matrix_tflops_fp32": rates["fp32"] / 1e12,
        "matrix_tflops_bf16": rates["bf16"] / 1e12,
        "share_of_matrix_rate": flops / seconds / rates[settings.precision],
    }


def our_steps(windows: WindowDataset, settings: TrainingSettings, ranks: Ranks) -> Iterator[float]:
    """Take steps as `train` does, without end; give the loss of each."""
    torch.manual_seed(0)
    network = TalkNet()
    prepare_network(network, settings.precision, ranks.device)
    for step in learn(network, windows, windows, Freeze.NONE, settings, ranks):
        yield step.loss


def plain_steps(
    windows: WindowDataset, settings: TrainingSettings, ranks: Ranks
) -> Iterator[float]:
    """Take the same steps with the network as it is defined: float32, plain Adam, no tricks."""
    if ranks.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    network = TalkNet().to(ranks.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, foreach=False)
    epoch = 0
    while True:
        epoch += 1
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(windows))
        for start in range(0, len(order), settings.batch_size):
            batch = windows.batch(order[start : start + settings.batch_size])
            mfcc, crops = (to_device(x, ranks.device) for x in (batch.sound, batch.pictures))
            loss = network.loss(network(mfcc, crops), to_device(batch.labels, ranks.device)).total
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            yield float(loss.detach())


def flops_of_step(windows: WindowDataset, settings: TrainingSettings) -> int:
    """Count the multiplications and additions of one window, forward and back, times the batch."""
    network, batch = TalkNet().train(), windows.batch(np.arange(1))
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.from_numpy(batch.sound), torch.from_numpy(batch.pictures))
        network.loss(logits, torch.from_numpy(batch.labels)).total.backward()
    return counter.get_total_flops() * settings.batch_size


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Measure the floating-point operations per second of multiplying square matrices."""
    n = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        a @ b
        wait_for(device)

    multiply()
    return 2 * n**3 / best(multiply)


def print_networks(figures: dict[str, dict[str, float]]) -> None:
    """Print a row for each network."""
    columns = list(next(iter(figures.values())))
    print("| network |", " | ".join(columns), "|")
    print("| --- " * (len(columns) + 1) + "|")
    for name, of_network in figures.items():
        print(f"| {name} |", " | ".join(f"{of_network[each]:.4g}" for each in columns), "|")


def curves(windows: WindowDataset, settings: TrainingSettings, ranks: Ranks, n_steps: int) -> None:
    """Print the loss of the plain and of our steps, in twenty means, and how far they are apart."""
    ours, plain = (
        np.array(list(islice(steps(windows, settings, ranks), n_steps)))
        for steps in (our_steps, plain_steps)
    )
    n_each = max(1, n_steps // 20)
    print(f"{'steps':>9} {'plain':>8} {settings.precision:>8}")
    for start in range(0, n_steps, n_each):
        part = slice(start, start + n_each)
        means = f"{plain[part].mean():8.4f} {ours[part].mean():8.4f}"
        print(f"{start + 1:4d}-{start + n_each:<4d} {means}")
    apart = ours - plain
    print(
        f"mean difference {apart.mean():+.4f}, standard error {apart.std() / n_steps**0.5:.4f}, "
        f"spread of the plain losses {plain.std():.4f}"
    )


def epoch_figures(
    windows: WindowDataset, settings: TrainingSettings, ranks: Ranks, folder: Path
) -> dict[str, float]:
    """Time an epoch over windows that cover every frame 20 times, full and on stored features."""
    torch.manual_seed(0)
    network = TalkNet()
    prepare_network(network, settings.precision, ranks.device)
    settings = small.altered(settings, batch_size=max(32, settings.batch_size))

    def epoch(feed: Windows, freeze: Freeze) -> None:
        state = TrainState(network, make_optimizer(network, settings), None)
        plan = EpochPlan(1, freeze, is_temporal=False)
        for _ in learn_epoch(state, feed, windows, plan, None, settings, ranks):
            pass
        wait_for(ranks.device)

    begun = time.perf_counter()
    for _ in cache_features(network, windows, folder, precision=settings.precision):
        pass
    stored = time.perf_counter()
    epoch(FeatureWindows(windows, folder), Freeze.VISUAL)
    frozen = time.perf_counter()
    epoch(windows, Freeze.NONE)
    return {
        "epoch_frames": float(len(windows) * settings.window_size),
        "feature_pass_s": stored - begun,
        "frozen_epoch_s": frozen - begun,  # the pass counted
        "full_epoch_s": time.perf_counter() - frozen,
    }


if __name__ == "__main__":
    main()
