"""How fast previews are made, against the time the video takes to watch.

    python -m tests.bench.preview VIDEO... --detector-model face_detection_yunet_2023mar.onnx

Weights are drawn: they cost as much as any. Real time is 25 frames per second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch

from asdtune.core.evaluation.preview import preview_video
from asdtune.core.evaluation.track_scoring import TrackScorer
from asdtune.core.models.registry import LIGHT_ASD, LR_ASD, TALKNET, make_network
from asdtune.core.prepare.detectors import YUNET, find_detector_model, load_detector
from asdtune.core.prepare.media import count_frames
from asdtune.core.rates import VIDEO_FPS
from asdtune.core.training.devices import choose_device, choose_precision, prepare_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--detector-model", type=Path)
    parser.add_argument("--window-size", type=int, default=51)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    detector = load_detector("yunet", find_detector_model("yunet", args.detector_model), 0.6)
    device = choose_device(args.device)
    precision = choose_precision("auto", device)
    print(f"{torch.get_num_threads()} threads, {device}, {precision}, detector {YUNET.name}")
    for video in args.videos:
        seconds = count_frames(video) / VIDEO_FPS
        for name in (TALKNET, LIGHT_ASD, LR_ASD):
            network = make_network(name)
            prepare_network(network, precision, device)
            scorer = TrackScorer(network, args.window_size, precision)
            took = time_preview(video, scorer, detector)
            whole = sum(took.values())
            parts = ", ".join(f"{what} {part:.1f} s" for what, part in took.items())
            print(
                f"{video.name}, {seconds:.1f} s, {name}: {whole:.1f} s ({parts}), "
                f"{seconds / whole:.2f} times real time",
                flush=True,
            )


def time_preview(video: Path, scorer: TrackScorer, detector: object) -> dict[str, float]:
    """Give the seconds of each part of the work."""
    took: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for step in preview_video(
            video, Path(folder), scorer, threshold=0.5, detector=detector,
            detection_size=320, detect_every=5, max_gap_frames=12,
        ):  # fmt: skip
            now = time.perf_counter()
            took[step.what.split(",")[0]] += now - began
            began = now
        took["drawing"] += time.perf_counter() - began
    return took


if __name__ == "__main__":
    main()
