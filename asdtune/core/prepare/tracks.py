"""Faces over time: the boxes of single pictures become tracks."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from asdtune.core.prepare.boxes import areas
from asdtune.core.prepare.stillness import STEP_FRAMES, motion, shrink_crop, still_frames

if TYPE_CHECKING:
    from asdtune.core.arrays import FaceCrops
    from asdtune.core.prepare.boxes import Boxes, Face, Faces

Appearance = npt.NDArray[np.float32]  # (n,), the colours around a face


@dataclass(eq=False)
class Track:
    """One face over time, within one shot. Its frames are consecutive: gaps are bridged."""

    shot: int = 0
    start: int = 0  # first frame
    rows: array[int] = field(default_factory=lambda: array("q"))  # where each crop is stored
    appearances: list[Appearance] = field(default_factory=list)  # at some of the frames
    motions: array[float] = field(default_factory=lambda: array("f"))  # from crop to crop
    _numbers: array[float] = field(default_factory=lambda: array("f"))  # six for each frame
    _small: FaceCrops | None = None  # the last crop that motion was measured on

    def add(self, face: Face, crop: FaceCrops, row: int) -> None:
        """Append the next frame's face and its crop, stored at a row."""
        if len(self.rows) % STEP_FRAMES == 0:
            small = shrink_crop(crop)
            if self._small is not None:
                self.motions.append(motion(self._small, small))
            self._small = small
        self._numbers.extend(face.tolist())
        self.rows.append(row)

    @property
    def end(self) -> int:
        """The frame behind the last."""
        return self.start + len(self.rows)

    @property
    def frames(self) -> slice:
        """Its frames, as an index."""
        return slice(self.start, self.end)

    @property
    def faces(self) -> Faces:
        """Shape (n, 6), one for each frame."""
        return np.array(self._numbers, np.float32).reshape(-1, 6)

    @property
    def boxes(self) -> Boxes:
        """Shape (n, 4), one for each frame."""
        return self.faces[:, :4]

    @property
    def last_face(self) -> Face:
        """Shape (6,)."""
        return np.array(self._numbers[-6:], np.float32)

    @property
    def still(self) -> npt.NDArray[np.bool_]:
        """In which frames the face does not move, (n,)."""
        return still_frames(self.motions, len(self.rows))

    @property
    def weight(self) -> float:
        """Sum of the face's area over time: the main speaker is large and stays."""
        return float(areas(self.boxes).sum())

    def distance(self, other: Track) -> int:
        """Give the frames from the end of one track to the start of the other; below 0, shared."""
        return max(self.start - other.end, other.start - self.end)
