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

from asdtune.core.arrays import data_shape, marks_in, read_marks, read_npz
from asdtune.core.files import write_text
from asdtune.core.prepare.boxes import iou
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.boxes import Boxes

QUALITY_CSV = "quality.csv"
MAX_SEVERAL_FACES_SHARE = 0.1  # of the frames of a clip may show more than one face
SPEECH_PROBABILITY = 0.5  # from here on silero-vad calls it speech
MIN_FACE_SHARE = 0.5  # of the frames must show the speaker's
MIN_FACE_PIXELS = 24  # of height: of a smaller one, lips are a few pixels
_ALL_CLIPS = "splits --all-clips takes such clips too"
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
        n_frames_without_face: Frames without any face; photographs beside somebody do not count.
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
    told = read_npz(crops_path, "detected", "n_faces", "boxes", "provenance", *FLAWS)
    detected, n_faces = (marks_in(told, name, n_frames) for name in ("detected", "n_faces"))
    seen = np.ones(n_frames, bool) if detected is None else detected != 0
    several = 0.0 if n_faces is None else (n_faces > 1).mean()
    if several > MAX_SEVERAL_FACES_SHARE and not all_clips:
        problem = f"several people: {100 * several:.1f} % of its frames show more than one"
        return AsdtuneError(problem, where=crops_path, fix=_ALL_CLIPS)
    if seen.mean() < MIN_FACE_SHARE and not all_clips:
        problem = f"too few faces: the speaker's is in {100 * seen.mean():.1f} % of its frames"
        fix = f"crops --detection-size 640 finds smaller ones; {_ALL_CLIPS}"
        return AsdtuneError(problem, where=crops_path, fix=fix)
    hidden = _why_lips_are_hidden(told, seen)
    if hidden is not None:
        fix = "nothing to do: it gives no windows"
        return AsdtuneError(hidden, where=crops_path, fix=fix)
    return None


def lips_in_sight(crops_path: Path, n_frames: int) -> npt.NDArray[np.bool_]:
    """Tell in which frames the speaker's lips can be read, (T,): in all, if nothing is marked.

    Raises:
        AsdtuneError: The file is missing or is no `.npz`.
    """
    told = read_npz(crops_path, "detected", *FLAWS)
    in_sight = np.ones(n_frames, bool)
    for name in told:
        marks = marks_in(told, name, n_frames)
        if marks is not None:
            in_sight &= (marks != 0) == (name == "detected")
    return in_sight


def _why_lips_are_hidden(
    told: Mapping[str, npt.NDArray[Any]], seen: npt.NDArray[np.bool_]
) -> str | None:
    for name, flaw in FLAWS.items():
        marks = marks_in(told, name, len(seen))
        share = 0.0 if marks is None else (marks != 0).sum() / max(1, seen.sum())
        if share > 1 - MIN_FACE_SHARE:
            return f"{flaw} in {100 * share:.1f} % of the frames with the face"
    boxes = told.get("boxes")
    is_ours = "provenance" in told and boxes is not None and boxes.shape == (len(seen), 4)
    if boxes is None or not is_ours or not seen.any():  # boxes of others may be of another kind
        return None
    height = float(np.median(boxes[seen, 3] - boxes[seen, 1]))
    if height < MIN_FACE_PIXELS:
        return f"the face is too small: {height:.0f} pixels high, {MIN_FACE_PIXELS} are needed"
    return None


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
    """Tell whether what a record keeps is a `Quality`, of now or of before there was more."""
    return bool(details) and details.keys() <= {field.name for field in fields(Quality)}


def write_quality(path: Path, qualities: Mapping[str, Mapping[str, Any]]) -> None:
    """Write one row per clip, in the order of their names."""
    text = io.StringIO()
    names = ("clip", *(field.name for field in fields(Quality)))
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows({"clip": clip, **qualities[clip]} for clip in sorted(qualities))
    write_text(path, text.getvalue())
