"""Every face is followed through a video, one picture at a time; which one matters is known last.

Crops go to a spool file as they are cut. Pictures are held only while a face is missing that may
come back: they are cut where it must have been, once it does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import cv2
import numpy as np

from asdtune.core.arrays import FaceCrops
from asdtune.core.prepare.boxes import ASIDE, MOUTH_OUTSIDE, interpolate, match_boxes
from asdtune.core.prepare.pictures import colour_region, grey_region
from asdtune.core.prepare.quality import FLAWS, MIN_FACE_SHARE, Quality, judge
from asdtune.core.prepare.reidentification import appearance_of, count_faces, reidentify
from asdtune.core.prepare.tracks import Track
from asdtune.core.rates import CROP_SIZE, VIDEO_FPS

if TYPE_CHECKING:
    import av
    import numpy.typing as npt

    from asdtune.core.prepare.boxes import Box, Boxes, Face
    from asdtune.core.prepare.detection import Detections

_FRAMES_BETWEEN_LOOKS = 50  # frames of a track from one description of its colours to the next
_MAX_ASIDE = 1.0  # in profile the nose is further aside than the eyes are apart
_STILL_SHARE = 0.9  # of a photograph's frames: a call may freeze for long
_AROUND = (1.0, 0.6, 1.2)  # which reaches so many face sizes aside, above and below


@dataclass(frozen=True)
class MainSpeaker:
    """The main speaker of a video of T frames."""

    boxes: Boxes  # (T, 4), 0 where the speaker's face is not
    rows: npt.NDArray[np.int64]  # (T,), which crop of the spool shows it; -1 where it is not
    n_faces: npt.NDArray[np.uint8]  # (T,), faces of anybody
    flaws: dict[str, npt.NDArray[np.bool_]]  # (T,) each, by the names in `quality.FLAWS`
    quality: Quality


class FaceTracker:
    """Carries tracks on from picture to picture."""

    def __init__(self, spool: IO[bytes], max_gap_frames: int) -> None:
        self._spool = spool
        self._n_spooled = 0
        self._max_gap = max_gap_frames
        self._held: deque[av.VideoFrame] = deque()  # up to the last picture seen
        self.n_frames = 0
        self._shot = 0
        self._live: list[Track] = []
        self._ended: list[Track] = []

    def update(self, detections: Detections) -> None:
        """Carry the tracks on with the faces of the next picture."""
        i_frame = self.n_frames
        self.n_frames += 1
        self._held.append(detections.frame)
        self._shot += detections.is_after_cut
        oldest_end = i_frame if detections.is_after_cut else i_frame - self._max_gap - 1
        self._ended += [track for track in self._live if track.end <= oldest_end]
        self._live = [track for track in self._live if track.end > oldest_end]
        last_faces = np.array([track.last_face for track in self._live]).reshape(-1, 6)
        continued = match_boxes(last_faces, detections.faces)
        for face, i_track in zip(detections.faces, continued, strict=True):
            if i_track is None:
                track = Track(self._shot, i_frame)
                self._live.append(track)
            else:
                track = self._live[i_track]
                missed = range(track.end, i_frame)
                between = interpolate(track.last_face, face, len(missed))
                for i_missed, missed_face in zip(missed, between, strict=True):
                    self._add(track, i_missed, missed_face)
            self._add(track, i_frame, face)
        oldest = min((track.end for track in self._live), default=self.n_frames)
        while len(self._held) > self.n_frames - oldest:
            self._held.popleft()

    def people(self) -> list[list[Track]]:
        """Give the tracks of everybody, the main speaker first."""
        return reidentify(self._ended + self._live)

    def finish(self) -> MainSpeaker:
        """Tell who the main speaker is: not a photograph, where there is somebody beside it."""
        boxes = np.zeros((self.n_frames, 4), np.float32)
        rows = np.full(self.n_frames, -1)
        flaws = {name: np.zeros(self.n_frames, bool) for name in FLAWS}
        people = _without_photographs(self.people())
        for track in people[0] if people else ():
            boxes[track.frames] = track.boxes
            rows[track.frames] = track.rows
            flaws["still"][track.frames] = track.still
            flaws["profile"][track.frames] = _running_median(track.faces[:, ASIDE]) > _MAX_ASIDE
            flaws["mouth_outside"][track.frames] = track.faces[:, MOUTH_OUTSIDE] > 0.5
        n_faces = count_faces(people, self.n_frames)
        quality = judge(boxes, rows >= 0, n_faces, flaws, n_people=len(people), n_cuts=self._shot)
        return MainSpeaker(boxes, rows, n_faces, flaws, quality)

    def _add(self, track: Track, i_frame: int, face: Face) -> None:
        frame, box = self._held[i_frame - self.n_frames], face[:4]
        if len(track.rows) % _FRAMES_BETWEEN_LOOKS == 0:
            track.appearances.append(appearance_of(_surroundings(frame, box)))
        crop = cut_crop(frame, box)
        self._spool.write(crop.tobytes())
        track.add(face, crop, self._n_spooled)
        self._n_spooled += 1


def _without_photographs(people: list[list[Track]]) -> list[list[Track]]:
    """Leave photographs out where somebody is there for about as long, or longer."""
    alive = [person for person in people if not _is_photograph(person)]
    if not alive or _n_frames(alive[0]) < MIN_FACE_SHARE * _n_frames(people[0]):
        return people
    return alive


def _n_frames(person: Sequence[Track]) -> int:
    return sum(len(track.rows) for track in person)


def _is_photograph(person: Sequence[Track]) -> bool:
    """Tell whether a person moves in none of the frames, but for a few."""
    return bool(np.concatenate([track.still for track in person]).mean() > _STILL_SHARE)


def _running_median(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give the median of a second around each value, (n,): landmarks of a face are often wrong."""
    padded = np.pad(values, VIDEO_FPS // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, VIDEO_FPS), axis=1)


def read_spool(spool: IO[bytes], rows: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the stored crops in the order of the frames, black where the row is -1."""
    size = CROP_SIZE * CROP_SIZE
    spool.flush()
    for row in rows:
        spool.seek(max(0, int(row)) * size)
        yield bytes(size) if row < 0 else spool.read(size)


def cut_crop(frame: av.VideoFrame, box: Box) -> FaceCrops:
    """Cut one face: clamp the box to the frame, resize to 112 x 112, grey."""
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


def _surroundings(frame: av.VideoFrame, box: Box) -> npt.NDArray[np.uint8]:
    """Cut head, shoulders and what is behind them."""
    x0, y0, x1, y1 = box
    aside, above, below = _AROUND
    width, height = x1 - x0, y1 - y0
    wider = np.array(
        [x0 - aside * width, y0 - above * height, x1 + aside * width, y1 + below * height]
    )
    return colour_region(frame, *clamp_box(wider, frame.width, frame.height))
