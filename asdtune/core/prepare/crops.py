"""Videos to face crops.

In: videos below a folder, at any frame rate. Out: at the same place below another folder
`<clip>.npz` with `data` (T, 112, 112) uint8 grey at 25 frames per second, `boxes` (T, 4) float32
in pixels of the upright video, `detected` (T,) bool, `n_faces` (T,) uint8, the faces in each
frame (photographs beside somebody do not count), `still`, `profile` and `mouth_outside` (T,) bool,
why lips cannot be read in a frame, and `provenance`, the JSON of what made them; and `quality.csv`,
a row per clip.
The crop is what the toolkit cuts: the detector's box, clamped to the frame, resized to 112 x 112,
grey. A gap of a few frames is bridged by boxes on the line between its ends; where no face is,
the image is black, the box 0 and `detected` false. One person is followed through the whole clip:
the one whose face is largest for longest, and moves.

    for result in extract_crops(Path("videos"), Path("face_crops"), detector="haar", ...):
        print(result.name, result.status)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from asdtune.core.arrays import write_npz_rows
from asdtune.core.files import content_hash
from asdtune.core.prepare.batch import run_batch
from asdtune.core.prepare.jobs import Job, JobResult, Status, find_videos, npz_of
from asdtune.core.prepare.provenance import forget_removed_chunks, provenance, read_provenance
from asdtune.core.rates import CROP_SIZE
from asdtune.errors import AsdtuneError

STAGE = "crops"
_VERSION = 4  # raise it when the same settings begin to give other crops


def extract_crops(
    video_dir: Path,
    output_dir: Path,
    *,
    detector: str,
    detector_model: Path | None,
    detection_size: int,
    min_score: float,
    detect_every: int,
    max_gap_frames: int,
    workers: int,
    overwrite: bool,
    executor: Executor | None = None,
) -> Iterator[JobResult]:
    """Cut the main speaker's face out of every video below a folder.

    Args:
        video_dir: The folder of videos.
        output_dir: Where the crops go, at the same relative paths.
        detector: `yunet`, `haar` or `retinaface`.
        detector_model: The detector's file; None for the one in the cache or a download.
        detection_size: Longest side in pixels of the picture in which faces are looked for.
        min_score: How sure the detector must be, 0..1 (`haar` has no such score).
        detect_every: Frames from one look of the detector to the next where faces move little.
        max_gap_frames: Longest run of frames without a face that is bridged.
        workers: Processes; 0 for one per core.
        overwrite: Cut all crops again.
        executor: Runs the work instead of local processes.

    Yields:
        One result per video, as they come.

    Raises:
        AsdtuneError: There are no videos, or the detector cannot be had.
    """
    from asdtune.core.prepare.detectors import find_detector_model, load_detector

    videos, clashes = find_videos(video_dir)
    yield from clashes
    model = find_detector_model(detector, detector_model)
    if detector != "retinaface":  # which takes long to load: its workers will
        load_detector(detector, model, min_score)
    jobs = plan_crops(
        videos,
        video_dir,
        output_dir,
        model=model,
        detector=detector,
        detection_size=detection_size,
        min_score=min_score,
        detect_every=detect_every,
        max_gap_frames=max_gap_frames,
    )
    qualities: dict[str, Any] = {}
    for result in run_batch(
        crop_video,
        jobs,
        stage=STAGE,
        output_dir=output_dir,
        workers=workers,
        overwrite=overwrite,
        executor=executor,
    ):
        qualities[_clip_of(result.name)] = result.details.get("quality")
        yield result
    forget_removed_chunks(video_dir, output_dir, STAGE)
    _write_quality(output_dir, qualities)


def plan_crops(
    videos: Sequence[PurePosixPath],
    video_dir: Path,
    output_dir: Path,
    *,
    model: Path | None,
    **settings: str | float,
) -> list[Job]:
    """Plan the crops of videos, and change nothing.

    Args:
        videos: Relative to their folder.
        video_dir: The folder.
        output_dir: Where the crops go.
        model: The detector's file, if it has one.
        settings: Those of `extract_crops` that decide what is in the crops.
    """
    mark = None if model is None else content_hash(model)
    return [
        Job(
            str(video),
            video_dir / video,
            (output_dir / npz_of(video),),
            {"version": _VERSION, "detector_model": mark, **settings},
            {"detector_model": model},
        )
        for video in videos
    ]


def crop_video(job: Job) -> JobResult:
    """Cut the crops of one video (the batch engine's task)."""
    from asdtune.core.prepare.detection import detect_faces
    from asdtune.core.prepare.detectors import load_detector
    from asdtune.core.prepare.media import read_frames
    from asdtune.core.prepare.tracking import FaceTracker, read_spool

    detector = load_detector(
        job.settings["detector"], job.resources["detector_model"], job.settings["min_score"]
    )
    notes: list[str] = []
    (target,) = job.targets
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        tracker = FaceTracker(spool, job.settings["max_gap_frames"])
        for detections in detect_faces(
            read_frames(job.source, notes=notes),
            detector,
            detection_size=job.settings["detection_size"],
            detect_every=job.settings["detect_every"],
        ):
            tracker.update(detections)
        main = tracker.finish()
        quality, n_frames = asdict(main.quality), main.quality.n_frames
        if main.quality.n_frames_of_speaker == 0:
            raise AsdtuneError(
                f"no face found in {n_frames} frames",
                where=job.source,
                fix="look at the video; try another --detector, or delete it from the folder",
            )
        write_npz_rows(
            target,
            read_spool(spool, main.rows),
            shape=(n_frames, CROP_SIZE, CROP_SIZE),
            boxes=main.boxes,
            detected=main.rows >= 0,
            n_faces=main.n_faces,
            **main.flaws,
            provenance=provenance(job, quality=quality),
        )
    details = {"quality": quality, "notes": notes}
    return JobResult(job.name, Status.WRITTEN, n_frames, job.targets, details)


def _clip_of(video: str) -> str:
    return str(PurePosixPath(video).with_suffix(""))


def _write_quality(output_dir: Path, qualities: dict[str, Any]) -> None:
    """Write what is known of every clip, those whose videos are gone included."""
    from asdtune.core.prepare.quality import QUALITY_CSV, is_quality, write_quality

    for path in output_dir.rglob("[!.]*.npz"):
        clip = path.relative_to(output_dir).with_suffix("").as_posix()
        if clip not in qualities:
            made_of = read_provenance(path, output_dir, STAGE, f"{clip}.mp4") or {}
            qualities[clip] = made_of.get("quality")
    known = {clip: quality for clip, quality in qualities.items() if is_quality(quality or {})}
    if known:
        write_quality(output_dir / QUALITY_CSV, known)
    else:
        (output_dir / QUALITY_CSV).unlink(missing_ok=True)
