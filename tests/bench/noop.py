"""How long the stages take when there is nothing to do: the promise is under 2 s for 1,000 clips.

    python -m tests.bench.noop [--n-clips 1000] [--json]

It renders one small video, links it under the names of all clips, lets every stage work once,
and times each command again as a user starts it, interpreter included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.render import render_talking_face

N_SPEAKERS = 50
REPEATS = 3
STAGES = {
    "collect-chunk": ["--chunk-seconds", "1", "--min-chunk-seconds", "0.2"],
    "crops": ["--detector", "haar"],
    "mfcc": [],
    "splits": ["--window-size", "5", "--min-speech-share", "0"],
    "doctor": [],
}


def main() -> None:
    """Print a table, and with --json one object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-clips", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = render_talking_face(folder / "first.mp4", seconds=0.4, width=96, height=96)
        for i in range(args.n_clips):
            video = folder / f"raw/s{i % N_SPEAKERS:02d}/{i:05d}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            os.link(first, video)
        figures = {stage: measure(folder, stage) for stage in STAGES}
    for stage, of_stage in figures.items():
        print(f"{stage:<14}{of_stage['first']:8.1f} s, again {of_stage['again']:6.2f} s")
    if args.json:
        print(json.dumps(figures))


def measure(folder: Path, stage: str) -> dict[str, float]:
    """Give the seconds of the run that does the work, and of the fastest that has none."""
    first, _ = run(folder, stage)
    again = [run(folder, stage) for _ in range(REPEATS)]
    for _, told in again:
        if told.get("written"):
            raise RuntimeError(f"{stage} did something again: {told['summary']}")
    return {"first": first, "again": min(seconds for seconds, _ in again)}


def run(folder: Path, stage: str) -> tuple[float, dict[str, object]]:
    """Run a command and give its seconds and what it tells."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", stage, "--json", *STAGES[stage]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{stage} failed: {done.stderr}{done.stdout[-2000:]}")
    return time.perf_counter() - started, json.loads(done.stdout)


if __name__ == "__main__":
    main()
