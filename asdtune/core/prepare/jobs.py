"""Jobs and their results: what stages, the batch engine and a cluster hand each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

from asdtune.core.corpus import VIDEO_SUFFIXES, find_files
from asdtune.errors import AsdtuneError, error_of_system


@dataclass(frozen=True)
class Job:
    """One input file and the outputs that are made of it.

    Attributes:
        name: How tables name it: the input's path below its folder.
        source: The input file.
        targets: The outputs.
        settings: Everything else that decides what is in the outputs; JSON can express it.
        resources: What the task needs besides, such as the path of a model.
    """

    name: str
    source: Path
    targets: tuple[Path, ...]
    settings: dict[str, Any]
    resources: dict[str, Any] = field(default_factory=dict)


class Status(str, Enum):
    """How a job ended."""

    WRITTEN = "written"
    FRESH = "fresh"  # up to date since an earlier run
    FOREIGN = "foreign"  # made by somebody else, left as it is
    LEFT_OVER = "left_over"  # its input is gone
    PRUNED = "pruned"  # its input is gone, and so is now what was made of it
    FAILED = "failed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class JobResult:
    """How a job ended, for the progress bar and the closing table.

    `n_frames` are the video frames in its outputs, `n_total` is the number of jobs of the batch.
    """

    name: str
    status: Status
    n_frames: int = 0
    outputs: tuple[Path, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    error: AsdtuneError | None = None
    n_total: int = 0


Task = Callable[[Job], JobResult]


def failed(name: str, source: Path, error: AsdtuneError | OSError) -> JobResult:
    """Give the result of a job that could not be done; what the system refuses is told alike."""
    if isinstance(error, OSError):
        told = error_of_system(error, source)
    else:
        told = AsdtuneError(error.problem, where=error.where or source, fix=error.fix)
    return JobResult(name, Status.FAILED, error=told)


def find_videos(video_dir: Path) -> tuple[list[PurePosixPath], list[JobResult]]:
    """List the videos below a folder that each get an output of their own.

    Returns:
        The videos, relative to the folder; and failures for those that differ only in their
        suffix, which would otherwise write the same output.

    Raises:
        AsdtuneError: There are no videos.
    """
    videos = find_files(video_dir, VIDEO_SUFFIXES, what="videos", made_by="collect-chunk")
    n_same = Counter(video.with_suffix("") for video in videos)
    error = AsdtuneError(
        "another video here has the same name but for its suffix",
        fix="rename one of them, so that each gets an output of its own",
    )
    alone = [video for video in videos if n_same[video.with_suffix("")] == 1]
    same = sorted({*videos} - {*alone})
    clashes = [failed(str(video), video_dir / video, error) for video in same]
    return alone, [replace(clash, n_total=len(videos)) for clash in clashes]


def npz_of(video: PurePosixPath) -> Path:
    """Give the output of a video, at the same place below another folder."""
    return Path(video.with_suffix(".npz"))
