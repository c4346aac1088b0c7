"""Which detector: what each takes for a look, and how often it finds a face.

    python -m tests.bench.detectors [--detector-model YUNET.onnx] [--retinaface WEIGHTS] VIDEO ...

It looks at every tenth frame, shrunk to `detection_size` as for `crops`, on one thread. Boxes are
compared with those of YuNet on the picture in full size, where both find a face. RetinaFace is
shown where its extra is installed; without weights it gets drawn ones, which tell its time alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from asdtune.core.prepare.boxes import iou
from asdtune.core.prepare.detectors import (
    Haar,
    RetinaFace,
    YuNet,
    _import_retinaface,
    find_detector_model,
)
from asdtune.core.prepare.media import read_frames
from asdtune.core.prepare.pictures import shrink
from asdtune.project import Project

SLOW_LOOKS = 20  # so many of RetinaFace with drawn weights are enough to time it


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--detector-model", type=Path, help="YuNet's file")
    parser.add_argument("--retinaface", type=Path, help="RetinaFace's file")
    args = parser.parse_args()
    settings = Project().crops
    cv2.setNumThreads(1)
    yunet = find_detector_model("yunet", args.detector_model)
    pictures, full_size = [], YuNet(yunet, settings.min_score)
    references = []
    for video in args.videos:
        for frame in islice(read_frames(video), 0, None, 10):
            small = shrink(frame, settings.detection_size)
            boxes = full_size.detect(frame.to_ndarray(format="bgr24"))
            pictures.append(small)
            references.append(boxes[:1] * (small.shape[1] / frame.width))
    print(f"{len(pictures)} pictures of {len(args.videos)} videos\n")
    print("| detector | ms a look | times yunet | a face found | IoU with yunet, full size |")
    print("| --- | --- | --- | --- | --- |")
    detectors = {"yunet": YuNet(yunet, settings.min_score), "haar": Haar()}
    if find_spec("retinaface") is not None:
        detectors["retinaface"] = retinaface(args.retinaface, settings.min_score)
    fastest = None
    for name, detector in detectors.items():
        is_drawn = name == "retinaface" and args.retinaface is None
        looked = pictures[:: max(1, len(pictures) // SLOW_LOOKS)] if is_drawn else pictures
        detector.detect(looked[0])  # what is built on first use does not count
        times, found = [], []
        for picture in looked:
            started = time.perf_counter()
            found.append(detector.detect(picture))
            times.append(1000 * (time.perf_counter() - started))
        fastest = fastest or median(times)
        accuracy = "not measured | not measured"
        if not is_drawn:
            pairs = [
                (a[0], b[0]) for a, b in zip(found, references, strict=True) if len(a) * len(b)
            ]
            share = 100 * np.mean([len(boxes) > 0 for boxes in found])
            accuracy = f"{share:.1f} % | {np.mean([iou(a, b) for a, b in pairs]):.3f}"
        ratio = median(times) / fastest
        print(f"| `{name}` | {median(times):.1f} | {ratio:.1f} | {accuracy} |")


def retinaface(weights: Path | None, min_score: float) -> RetinaFace:
    """Build the detector, with drawn weights where there are none."""
    if weights is not None:
        return RetinaFace(weights, min_score)
    torch.manual_seed(0)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of an older torchvision's way to name no weights
        net = _import_retinaface()(
            "Resnet50", False, 256, {"layer2": 1, "layer3": 2, "layer4": 3}, 256
        )
        torch.save(net.state_dict(), Path(folder, "drawn.pth"))
        return RetinaFace(Path(folder, "drawn.pth"), min_score)


if __name__ == "__main__":
    main()
