"""Pieces of work, and how they end: what stages, the batch engine and a cluster hand each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

from asdtune.core.corpus import VIDEO_SUFFIXES, find_files
from asdtune.errors import AsdtuneError


@dataclass(frozen=True)
class Work:
    """One piece of work: one input file and the outputs that are made of it.

    Attributes:
        name: How tables name it: the input's path below its folder.
        source: The input file.
        targets: The outputs it is expected to write.
        settings: Everything else that decides what is in the outputs; JSON can express it.
        resources: What the task needs and the settings stand for, such as a model's path.
    """

    name: str
    source: Path
    targets: tuple[Path, ...]
    settings: dict[str, Any]
    resources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a task gives back: the outputs it wrote and how many video frames are in them."""

    outputs: tuple[Path, ...]
    n_frames: int
    details: dict[str, Any] = field(default_factory=dict)


class Status(str, Enum):
    """How a piece of work ended."""

    WRITTEN = "written"
    FRESH = "fresh"  # done by an earlier run
    FOREIGN = "foreign"  # made by somebody else, left as it is
    LEFT_OVER = "left_over"  # its input is gone
    PRUNED = "pruned"  # its input is gone, and so is now what was made of it
    FAILED = "failed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class ClipResult:
    """How one piece of work ended, for the progress bar and the closing table.

    `n_total` is the number of all pieces of the batch.
    """

    name: str
    status: Status
    n_frames: int = 0
    outputs: tuple[Path, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    error: AsdtuneError | None = None
    n_total: int = 0


Task = Callable[[Work], Outcome]


def find_videos(video_dir: Path) -> tuple[list[PurePosixPath], list[ClipResult]]:
    """List the videos below a folder that each get an output of their own.

    Returns:
        The videos, relative to the folder; and failures for those that differ only in their
        suffix, which would otherwise write the same output.

    Raises:
        AsdtuneError: There are no videos.
    """
    videos = find_files(video_dir, VIDEO_SUFFIXES, what="videos", made_by="collect-chunk")
    n_same = Counter(video.with_suffix("") for video in videos)
    alone, clashes = [], []
    for video in videos:
        if n_same[video.with_suffix("")] == 1:
            alone.append(video)
            continue
        error = AsdtuneError(
            "another video here has the same name but for its suffix",
            where=video_dir / video,
            fix="rename one of them, so that each gets an output of its own",
        )
        clashes.append(ClipResult(str(video), Status.FAILED, error=error, n_total=len(videos)))
    return alone, clashes


def npz_of(video: PurePosixPath) -> Path:
    """Give the output of a video, at the same place below another folder."""
    return Path(video.with_suffix(".npz"))


def wanted_by(works: Sequence[Work]) -> set[Path]:
    """Give all outputs that works are expected to write."""
    return {target for work in works for target in work.targets}
