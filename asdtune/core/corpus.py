"""The words for a corpus: split, speaker, clip; and how they lie in folders.

A clip is `<split>/<speaker>/<clip>.<suffix>` below the folder of a stage; its face crops and its
MFCC lie at the same place below theirs. No speaker is in two splits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from asdtune.errors import AsdtuneError

# fmt: off
VIDEO_SUFFIXES = frozenset([
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".ts", ".vob", ".webm", ".wmv",
])
# fmt: on


class Split(str, Enum):
    """The part of the corpus a speaker belongs to."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, order=True)
class Clip:
    """One item of the corpus: a chunk, its face crops, or its MFCC."""

    split: Split
    speaker: str
    name: str

    def path(self, root: Path, suffix: str = ".npz") -> Path:
        """Give where this clip lies below the folder of a stage."""
        return root / self.split.value / self.speaker / f"{self.name}{suffix}"

    def __str__(self) -> str:
        return f"{self.split.value}/{self.speaker}/{self.name}"


def find_files(
    root: Path, suffixes: Iterable[str], *, what: str, made_by: str | None = None
) -> list[PurePosixPath]:
    """List the files below a folder that have one of the suffixes, relative to it, sorted.

    Names that begin with a dot (resource forks, partial files) are passed over; links are followed.
    `made_by` is the command that writes such files, for the error.

    Raises:
        AsdtuneError: The folder is missing, not a folder, holds no such file, or a link to nothing.
    """
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise AsdtuneError(problem, where=root, fix=_how_to_get(what, made_by))
    wanted = frozenset(suffixes)
    found = []
    for path in _walk(root):
        if path.suffix.lower() in wanted:
            found.append(path)
        elif not (root / path).exists():  # as a folder on a disk that is not there
            raise AsdtuneError(
                "a link that leads nowhere", where=root / path,
                fix="bring back what it leads to (a disk?), or delete the link",
            )  # fmt: skip
    if not found:
        raise AsdtuneError(
            f"no {what} in this folder",
            where=root,
            fix=_how_to_get(what, made_by),
        )
    return sorted(found)


def find_clips(root: Path, *, suffix: str = ".npz", what: str, made_by: str) -> list[Clip]:
    """List the clips laid out as `<split>/<speaker>/<clip>` below a folder, sorted.

    Raises:
        AsdtuneError: The folder is missing or empty, a file lies elsewhere than
            `<split>/<speaker>/`, or a speaker is in two splits.
    """
    clips = sorted(
        _clip_at(path, root) for path in find_files(root, (suffix,), what=what, made_by=made_by)
    )
    check_speakers_disjoint(((clip.split, clip.speaker) for clip in clips), where=root)
    return clips


def check_speakers_disjoint(members: Iterable[tuple[Split, str]], *, where: Path) -> None:
    """Refuse a corpus in which a speaker is in two splits, naming every such speaker."""
    splits_of: dict[str, set[Split]] = {}
    for split, speaker in members:
        splits_of.setdefault(speaker, set()).add(split)
    torn = {speaker: splits for speaker, splits in splits_of.items() if len(splits) > 1}
    if torn:
        names = "; ".join(
            f"{speaker} in {' and '.join(s.value for s in Split if s in splits)}"
            for speaker, splits in sorted(torn.items())
        )
        raise AsdtuneError(
            f"a speaker must be in one split only: {names}",
            where=where,
            fix="keep each speaker's folder in one split, or rename it if it is another person",
        )


def _walk(root: Path) -> Iterator[PurePosixPath]:
    seen = set()
    for folder, dirs, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back into the tree
            dirs.clear()
            continue
        seen.add(real)
        dirs[:] = sorted(name for name in dirs if not name.startswith("."))
        below = Path(folder).relative_to(root)
        for name in files:
            if not name.startswith("."):
                yield PurePosixPath(*below.parts, name)


def _how_to_get(what: str, made_by: str | None) -> str:
    if made_by is None:
        return f"put {what} there, or name the folder that holds them"
    return f"run asdtune {made_by} first, in the project's folder, or name the folder of the {what}"


def _refuse(error: OSError) -> None:
    reason = (error.strerror or str(error)).lower()
    raise AsdtuneError(
        f"the folder cannot be read: {reason}", where=error.filename, fix="mend its permissions"
    ) from error


def _clip_at(path: PurePosixPath, root: Path) -> Clip:
    split_names = [split.value for split in Split]
    if len(path.parts) != 3 or path.parts[0] not in split_names:
        raise AsdtuneError(
            "a clip must lie at <split>/<speaker>/<clip>, the split training, validation or test",
            where=root / path,
            fix="move it there; or run asdtune collect-chunk and what follows it again, which lay "
            "out the corpus and take away what belongs to no chunk",
        )
    return Clip(Split(path.parts[0]), path.parts[1], path.stem)
