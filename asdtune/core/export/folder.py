"""The submission folder on the disk: written anew each time, and nobody's work in it is lost.

`SHA256SUMS`, which `sha256sum -c` reads, tells whose a file is: one that is as it says was written
by an export. While files are written it has the sums of both, old and new, so that what a killed
export left is not taken for somebody's work.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from asdtune.core.files import sha256, whole_file, write_text
from asdtune.core.prepare.records import stage_lock
from asdtune.errors import AsdtuneError

SUMS = "SHA256SUMS"
Sums = dict[str, set[str]]  # by the name of the file; several where an export was killed
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_OF_EXPORTS = re.compile(  # what one export has and another has not
    r"configs/\w+\.yaml|modules/[\w/]+\.(pth|safetensors|py)|register_\w+\.patch|UPSTREAM_NOTE\.md"
)


def read_sums(folder: Path) -> Sums | None:
    """Read the checksums of a folder; None where there is no such file, or it has other lines."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    found = [_LINE.fullmatch(line) for line in lines]
    sums: Sums = {}
    for match in found:
        if match is None:
            return None
        sums.setdefault(match[2], set()).add(match[1])
    return sums


def sums_of(files: Mapping[str, bytes]) -> Sums:
    """Compute the checksums of what files hold."""
    return {name: {hashlib.sha256(content).hexdigest()} for name, content in files.items()}


def sums_text(*several: Sums) -> str:
    """Write checksums as `sha256sum` does."""
    lines = {f"{each}  {name}\n" for sums in several for name in sums for each in sums[name]}
    return "".join(sorted(lines, key=lambda line: (line[66:], line)))


def write_folder(files: Mapping[str, bytes], folder: Path, *, overwrite: bool) -> list[str]:
    """Write files and their `SHA256SUMS` into a folder; other files stay as they are.

    Args:
        files: What they hold, by name.
        folder: Where.
        overwrite: Whether somebody's work is moved to `<name>.before`, or refused.

    Returns:
        The names under which somebody's work lies now.

    Raises:
        AsdtuneError: A file is somebody's work, and nothing is written; or another export is at
            work in the folder.
    """
    with stage_lock(folder, "export-config"):
        if not overwrite:
            refuse_edited(files, folder)
        edited, new = edited_files(files, folder), sums_of(files)
        old = {} if SUMS in edited else read_sums(folder) or {}
        moved = [_move_aside(folder / name) for name in edited]
        write_text(folder / SUMS, sums_text(old, new))
        for name, content in files.items():
            with whole_file(folder / name) as beside:
                beside.write_bytes(content)
        for name in old.keys() - new.keys():
            if _OF_EXPORTS.fullmatch(name) and _is_as_told(folder / name, old[name]):
                (folder / name).unlink()
        write_text(folder / SUMS, sums_text(new))
    return moved


def edited_files(files: Mapping[str, bytes], folder: Path) -> list[str]:
    """Name the files of a folder that no export has written, and that would be written over."""
    told = read_sums(folder) or {}
    new = sums_of(files)
    edited = [
        name
        for name in sorted(files)
        if (folder / name).exists()
        and not _is_as_told(folder / name, told.get(name, set()) | new[name])
    ]
    if (folder / SUMS).exists() and not told.keys() & files.keys():
        edited.append(SUMS)  # of other files, or damaged
    return edited


def refuse_edited(files: Mapping[str, bytes], folder: Path) -> None:
    """See that nobody's work would be written over.

    Raises:
        AsdtuneError: Somebody's would; it is named.
    """
    edited = edited_files(files, folder)
    if edited:
        raise AsdtuneError(
            f"not as an export wrote them: {', '.join(edited)}",
            where=folder,
            fix="write what only you know into the table [export-config] of the project file; then "
            "asdtune export-config --overwrite moves each to NAME.before and writes it anew",
        )


def _is_as_told(path: Path, sums: set[str]) -> bool:
    return path.is_file() and sha256(path) in sums


def _move_aside(path: Path) -> str:
    """Move somebody's work to `<name>.before`, or `.before-2` where that is taken; name it."""
    names = (f"{path.name}.before{'' if i == 1 else f'-{i}'}" for i in count(1))
    free = next(name for name in names if not path.with_name(name).exists())
    return path.rename(path.with_name(free)).name
