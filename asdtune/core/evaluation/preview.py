"""A video in which you see who is speaking.

In: any video, of one person or several. Out: `<name>_preview.mp4`, the same pictures and sound with
a box around every face, green while its person speaks, its score, and all scores over time below;
and `<name>_preview.csv` with a row for every face in every frame.

    for step in preview_video(Path("talk.mp4"), Path("preview"), scorer, threshold=0.5, ...):
        ...  # Progress
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.evaluation.evaluation_sets import Progress
from asdtune.core.files import write_text
from asdtune.core.rates import CROP_SIZE, MFCC_PER_FRAME, SAMPLES_PER_FRAME, VIDEO_FPS
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from asdtune.core.arrays import Mfcc
    from asdtune.core.evaluation.track_scoring import TrackScorer
    from asdtune.core.prepare.detectors import FaceDetector
    from asdtune.core.prepare.tracks import Track

_CRF = 23
SIDES = ["x0", "y0", "x1", "y1"]  # of a box, in pixels of the upright video


def preview_video(
    video: Path,
    output_dir: Path,
    scorer: TrackScorer,
    *,
    threshold: float,
    detector: FaceDetector,
    detection_size: int,
    detect_every: int,
    max_gap_frames: int,
) -> Iterator[Progress]:
    """Write the preview of a video and its scores.

    Args:
        video: At any frame rate; the preview has 25 frames per second.
        output_dir: Where both files go.
        scorer: Scores the faces.
        threshold: From which score on a box is green.
        detector: Finds the faces.
        detection_size: Longest side in pixels of the picture in which it looks.
        detect_every: Frames from one look to the next where faces move little.
        max_gap_frames: Longest run of frames without a face that is bridged.

    Yields:
        How far it is.

    Raises:
        AsdtuneError: The video cannot be read, has no sound, or shows no face.
    """
    from asdtune.core.evaluation.overlay import draw_preview
    from asdtune.core.prepare.detection import detect_faces
    from asdtune.core.prepare.media import probe, read_frames
    from asdtune.core.prepare.tracking import FaceTracker

    if not probe(video).n_audio_tracks:
        raise AsdtuneError(
            "no audio stream", where=video, fix="without sound, nobody can be heard speaking"
        )
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output_dir) as spool:
        tracker = FaceTracker(spool, max_gap_frames)
        for detections in detect_faces(
            read_frames(video), detector, detection_size=detection_size, detect_every=detect_every
        ):
            tracker.update(detections)
            if tracker.n_frames % VIDEO_FPS == 0:
                yield Progress("finding faces, frames", tracker.n_frames, None)
        n_frames, people = tracker.n_frames, tracker.people()
        if not people:
            raise AsdtuneError(
                f"no face found in {n_frames} frames", where=video,
                fix="look at the video; try another --detector",
            )  # fmt: skip
        mfcc = _mfcc_of(video, n_frames)
        scored = []
        n_faces = sum(len(track.rows) for person in people for track in person)
        n_done = 0
        for number, person in enumerate(people, 1):
            for track in person:
                scored.append(_scored(track, number, spool, mfcc, scorer))
                n_done += len(track.rows)
                yield Progress("scoring, faces", n_done, n_faces)
    faces = pd.concat(scored).sort_values(["frame", "person"], ignore_index=True)
    target = output_dir / f"{video.stem}_preview.mp4"
    for n_drawn in draw_preview(video, target, faces, n_frames, threshold=threshold, crf=_CRF):
        yield Progress("drawing, frames", n_drawn, n_frames)
    _write_scores(target.with_suffix(".csv"), faces, threshold)


def _mfcc_of(video: Path, n_frames: int) -> Mfcc:
    from asdtune.core.prepare.media import read_audio
    from asdtune.core.prepare.mfcc import align_to_video
    from asdtune.core.prepare.sound import listen

    sound = listen(read_audio(video), n_frames * MFCC_PER_FRAME)
    if sound.n_samples < n_frames * SAMPLES_PER_FRAME // 2:
        raise AsdtuneError(
            "the sound covers less than half of the video", where=video,
            fix="download it again, or convert it to mp4 first",
        )  # fmt: skip
    return align_to_video(sound.coefficients, n_frames)[0]


def _scored(
    track: Track, person: int, spool: IO[bytes], mfcc: Mfcc, scorer: TrackScorer
) -> pd.DataFrame:
    """Score a face over time; give a row for each of its frames."""
    spool.flush()
    stored: npt.NDArray[Any] = np.memmap(spool, np.uint8, "r").reshape(-1, CROP_SIZE, CROP_SIZE)
    sound = mfcc[MFCC_PER_FRAME * track.start : MFCC_PER_FRAME * track.end]
    scores = scorer.score(stored, np.array(track.rows, np.int64), sound)
    rows = pd.DataFrame(track.boxes, columns=SIDES)
    return rows.assign(frame=range(track.start, track.end), person=person, score=scores)


def _write_scores(path: Path, faces: pd.DataFrame, threshold: float) -> None:
    written = {
        "frame": faces.frame,
        "seconds": (faces.frame / VIDEO_FPS).map("{:.2f}".format),
        "person": faces.person,
        **{side: faces[side].map("{:.1f}".format) for side in SIDES},
        "score": faces.score.map("{:.4f}".format),
        "speaking": (faces.score > threshold).astype(int),
    }
    write_text(path, pd.DataFrame(written).to_csv(index=False, lineterminator="\n"))
