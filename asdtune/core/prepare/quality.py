"""What the pictures of a clip are like, and whether that is good enough.

`face_crops/quality.csv` has a row for every clip.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdtune.core.arrays import data_shape, read_marks, read_npz
from asdtune.core.files import write_text
from asdtune.core.prepare.tracks import iou
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.detectors import Boxes

QUALITY_CSV = "quality.csv"
MAX_SEVERAL_FACES_SHARE = 0.1  # of the frames of a clip may show more than one face
SPEECH_PROBABILITY = 0.5  # from here on silero-vad calls it speech
MIN_FACE_SHARE = 0.5  # of the frames must show the speaker's
MIN_FACE_PIXELS = 24  # of height: of a smaller one, lips are a few pixels
FLAWS = {  # of the speaker's face in a frame, by the name of the array that marks it
    "still": "a still picture: nothing moves in the face",
    "profile": "seen from the side",
    "mouth_outside": "the mouth is outside the picture",
}


@dataclass(frozen=True)
class Quality:
    """What the pictures of a clip are like.

    Attributes:
        n_frames: Frames of the clip, 25 per second; the next three add up to them.
        n_frames_without_face: Frames without any face.
        n_frames_with_one_face: Frames with one face.
        n_frames_with_several_faces: Frames with more.
        n_frames_of_speaker: Frames with the main speaker's face, the one that is cropped.
        face_height_pixels: Median height of the main speaker's box, in pixels of the video.
        steadiness: Mean overlap (IoU) of that box with the next frame's, 0..1.
        n_frames_still: Frames in which the speaker's face does not move, for two seconds and more.
        n_frames_in_profile: Frames in which it is seen from the side.
        n_frames_mouth_outside: Frames in which the picture ends above its mouth.
        n_people: Faces told apart over the whole clip; photographs beside somebody do not count.
        n_cuts: Cuts.
    """

    n_frames: int
    n_frames_without_face: int
    n_frames_with_one_face: int
    n_frames_with_several_faces: int
    n_frames_of_speaker: int
    face_height_pixels: float
    steadiness: float
    n_frames_still: int
    n_frames_in_profile: int
    n_frames_mouth_outside: int
    n_people: int
    n_cuts: int


def why_unfit(crops_path: Path, *, all_clips: bool) -> AsdtuneError | None:
    """Say what speaks against the pictures of a clip; what a file does not tell is not bad.

    Args:
        crops_path: The face crops.
        all_clips: Several people, and few faces, are no reason.

    Raises:
        AsdtuneError: The file is missing or is no `.npz`.
    """
    n_frames = data_shape(crops_path)[0]
    detected = read_marks(crops_path, "detected", n_frames)
    seen = np.ones(n_frames, bool) if detected is None else detected != 0
    n_faces = read_marks(crops_path, "n_faces", n_frames)
    several = 0.0 if n_faces is None else 100 * (n_faces > 1).mean()
    problem, fix = None, "--all-clips takes such clips too"
    if not all_clips and several > 100 * MAX_SEVERAL_FACES_SHARE:
        problem = f"several people: {several:.1f} % of its frames show more than one"
    elif not all_clips and seen.mean() < MIN_FACE_SHARE:
        problem = f"too few faces: the speaker's is in {100 * seen.mean():.1f} % of its frames"
    else:
        problem, fix = _why_lips_are_hidden(crops_path, seen), "look at it, and delete its video"
    return AsdtuneError(problem, where=crops_path, fix=fix) if problem else None


def _why_lips_are_hidden(crops_path: Path, seen: npt.NDArray[np.bool_]) -> str | None:
    for name, told in FLAWS.items():
        marks = read_marks(crops_path, name, len(seen))
        if marks is not None and (marks != 0).sum() > (1 - MIN_FACE_SHARE) * seen.sum():
            return f"{told} in {100 * (marks != 0).mean():.1f} % of its frames"
    boxes = read_npz(crops_path, "boxes").get("boxes")
    if boxes is None or boxes.shape != (len(seen), 4) or not seen.any():
        return None
    height = float(np.median(boxes[seen, 3] - boxes[seen, 1]))
    if height < MIN_FACE_PIXELS:
        return f"the face is too small: {height:.0f} pixels high, {MIN_FACE_PIXELS} are needed"
    return None


def shows_lips(crops_path: Path, n_frames: int) -> npt.NDArray[np.bool_]:
    """Tell in which frames the speaker's lips can be seen, (T,): in all, if nothing is marked.

    Raises:
        AsdtuneError: The file is missing or is no `.npz`.
    """
    shown = np.ones(n_frames, bool)
    detected = read_marks(crops_path, "detected", n_frames)
    if detected is not None:
        shown &= detected != 0
    for name in FLAWS:
        marks = read_marks(crops_path, name, n_frames)
        if marks is not None:
            shown &= marks == 0
    return shown


def has_speech(mfcc_path: Path) -> npt.NDArray[np.bool_] | None:
    """Tell in which video frames of an MFCC file somebody speaks, (T,); None where it is not known.

    Raises:
        AsdtuneError: The file is missing or is no `.npz`.
    """
    speech = read_marks(mfcc_path, "speech", data_shape(mfcc_path)[0] // MFCC_PER_FRAME)
    return None if speech is None else np.asarray(speech >= SPEECH_PROBABILITY)


def judge(
    boxes: Boxes,
    detected: npt.NDArray[np.bool_],
    n_faces: npt.NDArray[np.uint8],
    flaws: Mapping[str, npt.NDArray[np.bool_]],
    *,
    n_people: int,
    n_cuts: int,
) -> Quality:
    """Sum up a clip: boxes of the main speaker, (T, 4), where there is one, and all faces, (T,).

    `flaws` marks frames, (T,), by the names in `FLAWS`.
    """
    pairs = np.flatnonzero(detected[:-1] & detected[1:])
    overlaps = [iou(boxes[i], boxes[i + 1]) for i in pairs]
    heights = boxes[detected, 3] - boxes[detected, 1]
    return Quality(
        n_frames=len(detected),
        n_frames_without_face=int((n_faces == 0).sum()),
        n_frames_with_one_face=int((n_faces == 1).sum()),
        n_frames_with_several_faces=int((n_faces > 1).sum()),
        n_frames_of_speaker=int(detected.sum()),
        face_height_pixels=round(float(np.median(heights)), 1) if len(heights) else 0.0,
        steadiness=round(float(np.mean(overlaps)), 4) if overlaps else 0.0,
        n_frames_still=int(flaws["still"].sum()),
        n_frames_in_profile=int(flaws["profile"].sum()),
        n_frames_mouth_outside=int(flaws["mouth_outside"].sum()),
        n_people=n_people,
        n_cuts=n_cuts,
    )


def is_quality(details: Mapping[str, Any]) -> bool:
    """Tell whether what a record keeps is a `Quality` as it is now."""
    return details.keys() == {field.name for field in fields(Quality)}


def write_quality(path: Path, qualities: Mapping[str, Mapping[str, Any]]) -> None:
    """Write one row per clip, in the order of their names."""
    text = io.StringIO()
    names = ("clip", *(field.name for field in fields(Quality)))
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows({"clip": clip, **qualities[clip]} for clip in sorted(qualities))
    write_text(path, text.getvalue())
