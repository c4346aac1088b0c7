"""How fast training reads windows and learns from them, against doing it plainly.

    python -m tests.bench.train [--json] [--device cpu] [--splits training.csv] [--window-size 25]

Without a split it makes a corpus of noise: 16 clips of 500 frames. The loader is compared with
reading the whole compressed `.npz` of every window, as upstream does, and with copying the same
bytes in memory. All figures come from one run, so that their ratios hold on a noisy machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from asdtune.core.arrays import map_data, write_npz
from asdtune.core.networks.talknet import TalkNet, talknet_loss
from asdtune.core.prepare.windows import make_splits
from asdtune.core.rates import MFCC_PER_FRAME, N_MFCC
from asdtune.core.tune.dataset import WindowDataset
from asdtune.core.tune.scoring import choose_device, to_device
from tests.bench.timing import best

N_CLIPS, N_FRAMES = 16, 500
BATCH_SIZE = 8
N_WINDOWS = 512  # that the loader reads in one measurement
N_PLAIN_WINDOWS = 16
COLUMNS = (
    ("video_path", 1, "video_window_center"),
    ("audio_path", MFCC_PER_FRAME, "audio_window_center"),
)


def main() -> None:
    """Print a table, and with --json one object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--splits", type=Path)
    parser.add_argument("--window-size", type=int, default=25)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        split = args.splits or make_corpus(Path(folder), args.window_size)
        device = choose_device(args.device)
        figures = measure(split, args.window_size, device, Path(folder))
    for what, value in figures.items():
        print(f"{what:<28} {value:12.1f}")
    print(
        f"{'loader / whole .npz':<28} "
        f"{figures['loader_windows_per_s'] / figures['npz_loader_windows_per_s']:12.1f}"
    )
    print(
        f"{'loader / copy in memory':<28} "
        f"{figures['loader_windows_per_s'] / figures['copy_windows_per_s']:12.2f}"
    )
    if args.json:
        print(json.dumps(figures))


def make_corpus(folder: Path, window_size: int) -> Path:
    """Write clips of noise, four of each speaker, and draw windows from them."""
    rng = np.random.default_rng(0)
    for i in range(N_CLIPS):
        name = f"training/s{i // 4}/s{i // 4}_{i % 4:04d}.npz"
        crops = rng.integers(0, 256, (N_FRAMES, 112, 112), np.uint8)
        mfcc = rng.standard_normal((N_FRAMES * MFCC_PER_FRAME, N_MFCC)).astype(np.float32)
        for stage, data in (("face_crops", crops), ("mfccs", mfcc)):
            (folder / stage / name).parent.mkdir(parents=True, exist_ok=True)
            write_npz(folder / stage / name, data=data)
    (result,) = make_splits(
        folder / "face_crops",
        folder / "mfccs",
        folder / "splits",
        window_size=window_size,
        windows_per_sample=64,
        n_samples=None,
        min_speech_share=0.0,
        all_clips=True,
        seed=0,
        overwrite=False,
    )
    return result.path


def measure(split: Path, window_size: int, device: torch.device, folder: Path) -> dict[str, float]:
    """Give windows per second of the loaders and frames per second of the plain step."""
    windows = WindowDataset(split, window_size)
    order = np.random.default_rng(0).permutation(len(windows))
    some, few = order[:N_WINDOWS], order[:N_PLAIN_WINDOWS]
    compressed = {}
    for i in few:
        for column, _, _ in COLUMNS:
            name = windows.table[column].iloc[i]
            compressed[name] = folder / f"{len(compressed)}.npz"
            np.savez_compressed(compressed[name], data=map_data(Path(name)))
    batch = windows.batch(order[:BATCH_SIZE])
    copied = np.empty_like(batch.crops), np.empty_like(batch.mfcc)

    def load() -> None:
        for _ in windows.batches(some, BATCH_SIZE):
            pass

    def load_whole() -> None:
        for i in few:
            for column, n, centre in COLUMNS:
                start = windows.table[centre].iloc[i] - window_size // 2 * n
                with np.load(compressed[windows.table[column].iloc[i]]) as file:
                    file["data"][start : start + window_size * n].copy()

    def copy() -> None:
        for _ in range(0, len(some), BATCH_SIZE):
            np.copyto(copied[0], batch.crops)
            np.copyto(copied[1], batch.mfcc)

    torch.manual_seed(0)
    network = TalkNet().to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        logits = network(to_device(batch.mfcc, device), to_device(batch.crops, device))
        loss = talknet_loss(logits, to_device(batch.labels, device)).total
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for a GPU

    load()
    step()  # what is read or built on first use does not count
    return {
        "loader_windows_per_s": len(some) / best(load),
        "npz_loader_windows_per_s": len(few) / best(load_whole),
        "copy_windows_per_s": len(some) / best(copy),
        "plain_step_frames_per_s": BATCH_SIZE * window_size / best(step),
    }


if __name__ == "__main__":
    main()
