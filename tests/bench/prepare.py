"""How near preparing data is to its limit, the speed of the decoder.

    python -m tests.bench.prepare [--json] [--detector-model YUNET.onnx] [--clips DIR] [VIDEO ...]

Without a video it renders two (a drawn face, 720p and 1080p, 20 s). All figures of one video come
from one run, so that their ratios hold on a noisy machine. One process is one thread. With the real
clips of `--clips` (default: those beside the repository, if they are there) it also tells how near
the boxes of the default settings come to looking at every picture in full size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av

from asdtune.core.prepare.boxes import MIN_IOU, iou
from asdtune.core.prepare.crops import extract_crops
from asdtune.core.prepare.detection import detect_faces
from asdtune.core.prepare.detectors import find_detector_model, load_detector
from asdtune.core.prepare.extract_mfccs import extract_mfccs
from asdtune.core.prepare.media import count_frames, read_audio, read_frames
from asdtune.core.prepare.pictures import shrink
from asdtune.project import Project
from tests.bench.measuring import best, peak_mb
from tests.render import render_talking_face

N_COPIES = 16  # clips for the runs with workers, so that starting them does not count
CLIPS = Path(__file__).parents[3] / "shared" / "clips" / "speakers"
LOOK_EVERY = 15  # frames from one comparison with full size to the next; it is slow


def main() -> None:
    """Print a table, and with --json one object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--detector-model", type=Path)
    parser.add_argument("--clips", type=Path, default=CLIPS)
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak_of is not None:
        print(peak_rss_mb(args.peak_of, args.detector_model))
        return
    with tempfile.TemporaryDirectory() as folder:
        videos = args.videos or [
            render_talking_face(Path(folder, "720p.mp4"), seconds=20, width=1280, height=720),
            render_talking_face(Path(folder, "1080p.mp4"), seconds=20, width=1920, height=1080),
        ]
        figures = {video.name: measure(video, args.detector_model) for video in videos}
    for name, of_video in figures.items():
        print(name)
        for what, value in of_video.items():
            print(f"  {what:<22} {value:10.1f}")
        print(f"  crops / decode         {of_video['crops_fps'] / of_video['decode_fps']:10.2f}")
        two = of_video["crops_fps_2_workers"] / of_video["crops_fps"]
        print(f"  two workers / one      {two:10.2f}")
        sound = of_video["mfcc_speed"] / of_video["audio_decode_speed"]
        print(f"  mfcc / audio decode    {sound:10.2f}")
        sound = of_video["mfcc_speed"] / of_video["waveform_speed"]
        print(f"  mfcc / 16 kHz waveform {sound:10.2f}")
    boxes = {}
    if args.clips.is_dir():
        boxes = compare_boxes(args.clips, args.detector_model)
        print(f"boxes against full size on {args.clips}")
        print(f"  mean IoU               {boxes['box_iou']:10.3f}")
        print(f"  most faces lost        {boxes['most_faces_lost_percent']:10.1f} % of a clip")
    if args.json:
        first = next(iter(figures.values()))
        print(json.dumps({**first, **boxes, "videos": figures}))


def measure(video: Path, model: Path | None) -> dict[str, float]:
    """Give frames per second, and times real time for sound; the best of some runs each."""
    settings = Project().crops
    model = find_detector_model("yunet", model)
    detector = load_detector("yunet", model, settings.min_score)
    n_frames = count_frames(video)
    pictures = [shrink(frame, settings.detection_size) for frame in read_frames(video)][:200]
    with tempfile.TemporaryDirectory() as folder:
        copies = Path(folder, "videos")
        copies.mkdir()
        for i in range(N_COPIES):
            shutil.copy(video, copies / f"{i}{video.suffix}")

        def crops(workers: int) -> None:
            results = extract_crops(
                copies,
                Path(folder, "crops"),
                **settings.model_dump(exclude={"detector_model"}),
                detector_model=model,
                workers=workers,
                overwrite=True,
            )
            check(results)

        def mfccs() -> None:
            check(
                extract_mfccs(
                    copies, Path(folder, "crops"), Path(folder, "mfccs"), workers=1, overwrite=True
                )
            )

        crops(1)
        mfccs()  # what is imported and built on first use does not count
        total = n_frames * N_COPIES
        seconds = total / 25
        return {
            "decode_fps": n_frames / best(lambda: decode(video)),
            "detect_fps": len(pictures) / best(lambda: [detector.detect(p) for p in pictures]),
            "crops_fps": total / best(lambda: crops(1)),
            "crops_fps_2_workers": total / best(lambda: crops(2)),
            "audio_decode_speed": n_frames / 25 / best(lambda: decode(video, "audio")),
            "waveform_speed": n_frames / 25 / best(lambda: list(read_audio(video))),
            "mfcc_speed": seconds / best(mfccs),
            "peak_rss_mb": peak_in_a_process(video, model),
        }


def compare_boxes(clips: Path, model: Path | None) -> dict[str, float]:
    """Compare the boxes of the default settings with YuNet's surest face in full size."""
    settings = Project().crops
    detector = load_detector("yunet", find_detector_model("yunet", model), settings.min_score)
    overlaps, lost = [], []
    for clip in sorted(path for path in clips.glob("*/*") if path.is_file()):
        n_faces, found = 0, []
        all_detections = detect_faces(
            read_frames(clip),
            detector,
            detection_size=settings.detection_size,
            detect_every=settings.detect_every,
        )
        for i, detections in enumerate(all_detections):
            if i % LOOK_EVERY == LOOK_EVERY // 2:
                faces = detector.detect(shrink(detections.frame, 10_000))
                if len(faces):
                    n_faces += 1
                    found.append(max((iou(faces[0], box) for box in detections.faces), default=0.0))
        n_lost = sum(overlap < MIN_IOU for overlap in found)
        lost.append(100 * n_lost / max(n_faces, 1))
        overlaps += [overlap for overlap in found if overlap >= MIN_IOU]
    return {"box_iou": sum(overlaps) / len(overlaps), "most_faces_lost_percent": max(lost)}


def decode(video: Path, kind: str = "video") -> None:
    """Decode and do nothing else, on one thread."""
    with av.open(str(video)) as container:
        stream = getattr(container.streams, kind)[0]
        stream.thread_type = "NONE"
        for _ in container.decode(stream):
            pass


def check(results: object) -> None:
    """Make sure that nothing failed."""
    for result in results:
        if result.error is not None:
            raise result.error


def peak_in_a_process(video: Path, model: Path | None) -> float:
    """Measure the peak memory of cropping in a process of its own, in MB beyond its imports."""
    command = [sys.executable, "-m", "tests.bench.prepare", "--peak-of", str(video)]
    if model is not None:
        command += ["--detector-model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak_rss_mb(video: Path, model: Path | None) -> float:
    """Crop one video and compute its MFCC in this process, and give how far its memory grew.

    torch, which MFCC are computed with, is imported before: it alone takes 300 MB.
    """
    import torch  # noqa: F401
    import torchaudio  # noqa: F401

    before = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder, "videos")
        videos.mkdir()
        (videos / video.name).symlink_to(video.resolve())
        settings = Project().crops
        check(
            extract_crops(
                videos,
                Path(folder, "crops"),
                **settings.model_dump(exclude={"detector_model"}),
                detector_model=find_detector_model("yunet", model),
                workers=1,
                overwrite=True,
            )
        )
        outputs = Path(folder, "crops"), Path(folder, "mfccs")
        check(extract_mfccs(videos, *outputs, workers=1, overwrite=True))
    return peak_mb() - before


if __name__ == "__main__":
    main()
