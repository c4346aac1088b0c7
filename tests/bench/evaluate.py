"""How much an evaluation saves by computing once what windows share.

    python -m tests.bench.evaluate SPLIT.csv --network talknet --n-alone 200

Scores all windows of a split as `evaluate` does, and some of them one by one, each through the
whole network by itself, from which the time of all is reckoned. Weights are drawn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from asdtune.core.evaluation.evaluation_sets import SplitWindows
from asdtune.core.models.registry import NETWORKS, TALKNET, make_network
from asdtune.core.training.devices import choose_device
from asdtune.core.training.scoring import score_windows
from tests.bench.measuring import wait_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("--network", choices=[*NETWORKS], default=TALKNET)
    parser.add_argument("--window-size", type=int, default=51)
    parser.add_argument("--n-alone", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = choose_device(args.device)
    network = make_network(args.network).to(device)
    evaluated = SplitWindows(args.split, args.window_size)
    windows = evaluated.windows
    pictures = len({*zip(windows.video_paths, windows.video_starts.tolist(), strict=True)})
    print(
        f"{args.network}, {device}, {torch.get_num_threads()} threads: {len(windows)} windows of "
        f"{args.window_size} frames, {pictures} distinct pictures, "
        f"{len({*windows.video_paths})} clips"
    )
    rows = np.random.default_rng(0).choice(len(windows), args.n_alone, replace=False)
    began = time.perf_counter()
    alone = np.concatenate(list(score_windows(network, windows, batch_size=1, rows=rows)))
    wait_for(device)
    of_one = (time.perf_counter() - began) / len(rows)
    began = time.perf_counter()
    steps = evaluated.score(network, "checkpoint", args.batch_size)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            scores = end.value
            break
    wait_for(device)
    seconds = time.perf_counter() - began
    plain = of_one * len(windows)
    apart = float(np.abs(scores[rows] - alone).max())
    print(
        f"as evaluate does: {seconds:.1f} s; one by one: {plain:.0f} s (of {len(rows)} windows); "
        f"1/{plain / seconds:.1f}; scores differ by at most {apart:.1e}"
    )


if __name__ == "__main__":
    main()
