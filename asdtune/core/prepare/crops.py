"""Videos to face crops.

In: videos below a folder, at any frame rate. Out: at the same place below another folder
`<clip>.npz` with `data` (T, 112, 112) uint8 grey at 25 frames per second, `boxes` (T, 4) float32
in pixels of the upright video, `detected` (T,) bool, and `settings`, the JSON of what made them.
The crop is what the toolkit cuts: the detector's box, clamped to the frame, resized to 112 x 112,
grey. A gap of a few frames is bridged by boxes on the line between its ends; where no face is,
the image is black, the box 0 and `detected` false.

    for result in extract_crops(Path("videos"), Path("face_crops"), detector="haar", ...):
        print(result.name, result.status)
"""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import FaceCrops, write_npz_rows
from asdtune.core.files import content_hash
from asdtune.core.prepare.batch import (
    ClipResult,
    Outcome,
    Work,
    forget_removed_chunks,
    run_batch,
    works_of_videos,
)
from asdtune.core.rates import CROP_SIZE
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import av
    import numpy.typing as npt

    from asdtune.core.prepare.faces import Box
    from asdtune.core.prepare.sightings import Sighting
    from asdtune.core.prepare.tracks import Track

STAGE = "crops"
_VERSION = 2  # raise it when the same settings begin to give other crops


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
) -> Iterator[ClipResult]:
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
    from asdtune.core.prepare.faces import find_detector_model, load_detector

    model = find_detector_model(detector, detector_model)
    if detector != "retinaface":  # which takes long to load: its workers will
        load_detector(detector, model, min_score)
    settings = {
        "version": _VERSION,
        "detector": detector,
        "detector_model": None if model is None else content_hash(model),
        "detection_size": detection_size,
        "min_score": min_score,
        "detect_every": detect_every,
        "max_gap_frames": max_gap_frames,
    }
    works, clashes = works_of_videos(
        video_dir,
        output_dir,
        settings_of=lambda _: settings,
        resources_of=lambda _: {"detector_model": model},
    )
    yield from clashes
    yield from run_batch(
        crop_video,
        works,
        stage=STAGE,
        output_dir=output_dir,
        workers=workers,
        overwrite=overwrite,
        executor=executor,
    )
    forget_removed_chunks(video_dir, output_dir, STAGE)


def crop_video(work: Work) -> Outcome:
    """Cut the crops of one video (the batch engine's task)."""
    from asdtune.core.prepare.faces import load_detector
    from asdtune.core.prepare.media import read_frames
    from asdtune.core.prepare.sightings import sight_faces

    detector = load_detector(
        work.settings["detector"], work.resources["detector_model"], work.settings["min_score"]
    )
    (target,) = work.targets
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        follower = _Follower(spool, work.settings["max_gap_frames"])
        for sighting in sight_faces(
            read_frames(work.source),
            detector,
            detection_size=work.settings["detection_size"],
            detect_every=work.settings["detect_every"],
        ):
            follower.see(sighting)
        n_frames = follower.n_seen
        boxes, rows = follower.main_speaker()
        if (rows < 0).all():
            raise AsdtuneError(
                f"no face found in {n_frames} frames",
                where=work.source,
                fix="look at the video; try another --detector, or delete it from the folder",
            )
        write_npz_rows(
            target,
            _rows_of(spool, rows),
            shape=(n_frames, CROP_SIZE, CROP_SIZE),
            boxes=boxes,
            detected=rows >= 0,
            settings=np.array(json.dumps(work.settings, sort_keys=True)),
        )
    n_without = int((rows < 0).sum())
    return Outcome((target,), n_frames, {"n_frames_without_face": n_without})


def cut_crop(frame: av.VideoFrame, box: Box) -> FaceCrops:
    """Cut one face: clamp the box to the frame, resize to 112 x 112, grey.

    Args:
        frame: The upright picture.
        box: x0, y0, x1, y1 in its pixels.

    Returns:
        Shape (112, 112), 0..255.
    """
    import cv2

    from asdtune.core.prepare.pictures import grey_region

    x0, y0, x1, y1 = clamp_box(box, frame.width, frame.height)
    return np.asarray(
        cv2.resize(grey_region(frame, x0, y0, x1, y1), (CROP_SIZE, CROP_SIZE)), np.uint8
    )


def clamp_box(box: npt.NDArray[np.float32], width: int, height: int) -> tuple[int, int, int, int]:
    """Cut a box off at the edges of the frame; at least one pixel is left.

    Examples:
        >>> clamp_box(np.float32([-5.2, 3.7, 20.9, 99]), 16, 12)
        (0, 3, 16, 12)
    """
    x0, y0, x1, y1 = (int(side) for side in box)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return x0, y0, max(min(x1, width), x0 + 1), max(min(y1, height), y0 + 1)


class _Follower:
    """Follows every face through a video, one picture at a time.

    Crops go to a spool file as they are cut, because who is the main speaker is known at the end.
    Only the pictures of the longest gap that may be bridged are held.
    """

    def __init__(self, spool: IO[bytes], max_gap_frames: int) -> None:
        self._spool = spool
        self._n_spooled = 0
        self._max_gap = max_gap_frames
        self._recent: deque[av.VideoFrame] = deque(maxlen=max_gap_frames + 1)
        self.n_seen = 0
        self._live: list[Track] = []
        self._ended: list[Track] = []

    def see(self, sighting: Sighting) -> None:
        """Carry the tracks on with the faces of the next picture."""
        from asdtune.core.prepare.tracks import Track, interpolate, match_boxes

        i_frame = self.n_seen
        self.n_seen += 1
        self._recent.append(sighting.frame)
        self._end_tracks_before(i_frame if sighting.is_after_cut else i_frame - self._max_gap - 1)
        last_boxes = np.array([track.boxes[-1] for track in self._live]).reshape(-1, 4)
        continued = match_boxes(last_boxes, sighting.boxes)
        for box, i_track in zip(sighting.boxes, continued, strict=True):
            if i_track is None:
                track = Track()
                self._live.append(track)
            else:
                track = self._live[i_track]
                missed = range(track.frames[-1] + 1, i_frame)
                between = interpolate(track.boxes[-1], box, len(missed))
                for i_missed, missed_box in zip(missed, between, strict=True):
                    past = self._recent[i_missed - i_frame - 1]
                    track.add(i_missed, missed_box, self._store(past, missed_box))
            track.add(i_frame, box, self._store(sighting.frame, box))

    def main_speaker(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Give boxes (T, 4), 0 where no face is, and spool rows (T,), -1 there."""
        from asdtune.core.prepare.tracks import choose_main

        boxes = np.zeros((self.n_seen, 4), np.float32)
        rows = np.full(self.n_seen, -1)
        for track in choose_main(self._ended + self._live):
            boxes[track.frames] = track.boxes
            rows[track.frames] = track.rows
        return boxes, rows

    def _end_tracks_before(self, i_frame: int) -> None:
        self._ended += [track for track in self._live if track.frames[-1] < i_frame]
        self._live = [track for track in self._live if track.frames[-1] >= i_frame]

    def _store(self, frame: av.VideoFrame, box: Box) -> int:
        self._spool.write(cut_crop(frame, box).tobytes())
        self._n_spooled += 1
        return self._n_spooled - 1


def _rows_of(spool: IO[bytes], rows: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the stored crops in the order of the frames, black where the row is -1."""
    size = CROP_SIZE * CROP_SIZE
    black = bytes(size)
    spool.flush()
    for row in rows:
        if row < 0:
            yield black
        else:
            spool.seek(int(row) * size)
            yield spool.read(size)
