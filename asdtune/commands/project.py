"""The command that begins a project."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from asdtune.commands.command import AsJson, Assignments
from asdtune.commands.requirements import project_language
from asdtune.console import Summary, finish
from asdtune.core.export.languages import find_language
from asdtune.core.files import write_text
from asdtune.errors import AsdtuneError
from asdtune.project import DEFAULT_NAME, Project, parse_assignments, render

CONSENT_NAME = "CONSENT.md"
_ASKED_FOR = ("authors", "license", "recordings", "consent")  # when it is submitted

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.")]
Language = Annotated[
    str | None, typer.Option(help="Its English name, its own name, or its ISO 639 code.")
]


def init(
    folder: Folder = Path(),
    language: Language = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Begin a project: a commented project file, empty folders, a template of a consent note.

    Only the language must be known now. Who the authors are, the licence, and what else only you
    can know stands in the table [export-config]; export-config names what is missing.
    """
    project = Project().override(parse_assignments(assignments), by_key=True)
    project = project.override({"project.language": language})
    found = find_language(project_language(project))
    path = write_project(folder, project)
    raw = path.parent / project.paths.source
    about = project.export_config
    is_open = [key for key in _ASKED_FOR if not getattr(about, key)]
    notes = [
        f"put your videos into {raw}, one folder per speaker: {raw}/<speaker>/*.mp4",
        f"{path.parent / CONSENT_NAME} is a template: adapt it, and ask everybody you record",
    ]
    if is_open:
        notes.append(f"for the submission, write into [export-config]: {', '.join(is_open)}")
    data = {"project": path.as_posix(), "language": found.title, "lang": found.code}
    flag = "" if folder == Path() else f" --project {shlex.quote(str(path))}"
    summary = Summary(
        "init", f"project for {found.title} ({found.code}) -> {path}", {**data, "open": is_open},
        notes=notes, next_command=f"asdtune run{flag}",
    )  # fmt: skip
    finish(summary, as_json=as_json)


def write_project(folder: Path, project: Project) -> Path:
    """Write a commented project file, the empty folders and a template of a consent note.

    Args:
        folder: Where; it and what is in it may be there already.
        project: What differs from the defaults.

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
    for _, place in project.paths:
        if not place.suffix:  # the source may be a CSV
            (folder / place).mkdir(parents=True, exist_ok=True)
    if not (folder / CONSENT_NAME).exists():
        write_text(folder / CONSENT_NAME, (files("asdtune") / CONSENT_NAME).read_text("utf-8"))
    write_text(path, render(project))
    return path
