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

from asdtune.core.arrays import data_shape, read_marks
from asdtune.core.files import write_text
from asdtune.core.prepare.tracks import iou
from asdtune.core.rates import MFCC_PER_FRAME

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.detectors import Boxes

QUALITY_CSV = "quality.csv"
MAX_SEVERAL_FACES_SHARE = 0.1  # of the frames of a clip may show more than one face
SPEECH_PROBABILITY = 0.5  # from here on silero-vad calls it speech
MIN_FACE_SHARE = 0.5  # of the frames must show the speaker's


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
        n_people: Faces told apart over the whole clip.
        n_cuts: Cuts.
    """

    n_frames: int
    n_frames_without_face: int
    n_frames_with_one_face: int
    n_frames_with_several_faces: int
    n_frames_of_speaker: int
    face_height_pixels: float
    steadiness: float
    n_people: int
    n_cuts: int


def why_unfit(*, n_frames: int, n_several: int, n_speaker: int) -> str | None:
    """Say what speaks against a clip, by its frames with several faces, and with the speaker's.

    Examples:
        >>> why_unfit(n_frames=100, n_several=30, n_speaker=100)
        'several people: 30.0 % of its frames show more than one'
    """
    several, speaker = n_several / n_frames, n_speaker / n_frames
    if several > MAX_SEVERAL_FACES_SHARE:
        return f"several people: {100 * several:.1f} % of its frames show more than one"
    if speaker < MIN_FACE_SHARE:
        return f"too few faces: the speaker's is in {100 * speaker:.1f} % of its frames"
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
    *,
    n_people: int,
    n_cuts: int,
) -> Quality:
    """Sum up a clip: boxes of the main speaker, (T, 4), where there is one, and all faces, (T,)."""
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
