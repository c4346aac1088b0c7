"""The submission folder on the disk: written anew each time, and nobody's work in it is lost.

A file that is not as `SHA256SUMS` says (`sha256sum -c` reads it, too) is somebody's work.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from asdtune.core.files import sha256, whole_file, write_text
from asdtune.core.locks import stage_lock
from asdtune.errors import AsdtuneError

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_OF_EXPORTS = re.compile(  # what one export has and another has not
    r"configs/\w+\.yaml|modules/[\w/]+\.(pth|safetensors|py)|register_\w+\.patch|UPSTREAM_NOTE\.md"
)


def read_sums(folder: Path) -> dict[str, str]:
    """Read the checksums of a folder, by file; empty where there are none, or it is damaged."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
    matches = [_LINE.fullmatch(line) for line in lines]
    return {match[2]: match[1] for match in matches if match} if all(matches) else {}


def sums_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Compute the checksums of what files hold."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def sums_text(sums: Mapping[str, str]) -> str:
    """Write checksums as `sha256sum` does."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def write_folder(files: Mapping[str, bytes], folder: Path, *, overwrite: bool) -> list[str]:
    """Write files and, last, their `SHA256SUMS` into a folder; other files stay as they are.

    With `overwrite` somebody's work is moved to `<name>.before`, and these names are returned.

    Raises:
        AsdtuneError: A file is somebody's work, and nothing is written; or another export is at
            work in the folder.
    """
    with stage_lock(folder, "export-config"):
        if not overwrite:
            refuse_edited(files, folder)
        edited = _edited_files(files, folder)
        old = {} if SUMS in edited else read_sums(folder)
        moved = [_move_aside(folder / name) for name in edited]
        for name, content in files.items():
            with whole_file(folder / name) as beside:
                beside.write_bytes(content)
        for name in old.keys() - files.keys():
            if _OF_EXPORTS.fullmatch(name) and _has_sum(folder / name, old[name]):
                (folder / name).unlink()
        write_text(folder / SUMS, sums_text(sums_of(files)))
    return moved


def refuse_edited(files: Mapping[str, bytes], folder: Path) -> None:
    """Raise an `AsdtuneError` that names the files of somebody's that would be written over."""
    edited = _edited_files(files, folder)
    if edited:
        raise AsdtuneError(
            f"not as an export wrote them: {', '.join(edited)}",
            where=folder,
            fix="write what only you know into the table [export-config] of the project file; then "
            "asdtune export-config --overwrite moves each to NAME.before and writes it anew",
        )


def _edited_files(files: Mapping[str, bytes], folder: Path) -> list[str]:
    """Name the files of a folder that no export has written, and that would be written over."""
    told, new = read_sums(folder), sums_of(files)
    edited = [
        name
        for name in sorted(files)
        if (folder / name).exists() and not _has_sum(folder / name, told.get(name), new[name])
    ]
    if (folder / SUMS).exists() and not told.keys() & files.keys():
        edited.append(SUMS)  # of other files, or damaged
    return edited


def _has_sum(path: Path, *sums: str | None) -> bool:
    return path.is_file() and sha256(path) in sums


def _move_aside(path: Path) -> str:
    """Move somebody's work to `<name>.before`, or `.before-2` where that is taken; name it."""
    names = (f"{path.name}.before{'' if i == 1 else f'-{i}'}" for i in count(1))
    free = next(name for name in names if not path.with_name(name).exists())
    return path.rename(path.with_name(free)).name
