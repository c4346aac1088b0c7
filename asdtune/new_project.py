"""A new project: its file with a comment on every line, its folders, a template for consent."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

from asdtune.core.files import write_text
from asdtune.errors import AsdtuneError
from asdtune.project import DEFAULT_NAME, ExportConfigTable, PathsTable

CONSENT_NAME = "CONSENT.md"


def check_new(folder: Path) -> Path:
    """Give where the project file of a new project goes.

    Raises:
        AsdtuneError: A project file is there already, or the folder is a file.
    """
    path = folder / DEFAULT_NAME
    if path.exists() or path.is_symlink():
        raise AsdtuneError(
            "a project file is there already", where=path, fix="edit it, or name another folder"
        )
    if folder.exists() and not folder.is_dir():
        raise AsdtuneError("not a folder", where=folder, fix="name another folder")
    return path


def write_project(folder: Path, language: str, about: ExportConfigTable | None = None) -> Path:
    """Write a commented project file, the empty folders and a template of a consent note.

    Args:
        folder: The project's; it and what is in it may be there already.
        language: As the user calls it.
        about: What is known already of what only a person knows.

    Raises:
        AsdtuneError: A project file is there already.
    """
    path = check_new(folder)
    text = (files("asdtune") / "example.toml").read_text(encoding="utf-8")
    known = {} if about is None else about.model_dump(exclude_defaults=True)
    for key, value in {"language": language, **known}.items():
        text = _with_value(text, key, value)
    for name in PathsTable.model_fields.values():
        (folder / name.default).mkdir(parents=True, exist_ok=True)
    if not (folder / CONSENT_NAME).exists():
        write_text(folder / CONSENT_NAME, (files("asdtune") / CONSENT_NAME).read_text("utf-8"))
    write_text(path, text)
    return path


def _with_value(text: str, key: str, value: str | list[str]) -> str:
    """Put a value in the place of the example's; its comment stays."""
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}"  # which TOML reads alike
    return re.sub(rf"^(# )?{key} = \S.*?(?=  +#|$)", lambda _: line, text, count=1, flags=re.M)
