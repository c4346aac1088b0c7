"""The command that begins a project."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from asdtune import console
from asdtune.commands.command import AsJson
from asdtune.console import Summary
from asdtune.core.export.languages import find_language
from asdtune.core.files import write_text
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import DEFAULT_NAME, Project, render
from asdtune.settings import ExportConfigTable, PathsTable

if TYPE_CHECKING:  # any package may be broken: what needs one is imported when it is used
    pass

CONSENT_NAME = "CONSENT.md"
_QUESTIONS = {
    "authors": "Authors of the checkpoint (Family, Given; more after a semicolon)",
    "license": "Licence of the checkpoint (such as CC-BY-4.0)",
    "recordings": "Who recorded the videos, where and when",
    "consent": "Who agreed to what, and how",
}
_Taken = TypeVar("_Taken")
Ask = Callable[[str], str]

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.")]
Language = Annotated[
    str | None, typer.Option(help="Its English name, its own name, or its ISO 639 code.")
]
Authors = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Of the checkpoint, as Family, Given; again for each further one."
    ),
]
License = Annotated[
    str | None, typer.Option("--license", help="Of the checkpoint, such as CC-BY-4.0.")
]
Recordings = Annotated[
    str | None, typer.Option(help="Who recorded the videos, where and when: one sentence.")
]
Consent = Annotated[str | None, typer.Option(help="Who agreed to what, and how: one sentence.")]


def init(
    folder: Folder = Path(),
    language: Language = None,
    author: Authors = None,
    license_id: License = None,
    recordings: Recordings = None,
    consent: Consent = None,
    as_json: AsJson = False,
) -> None:
    """Begin a project: a commented project file, empty folders, a template of a consent note.

    In a terminal it asks for what no flag gives. Only the language must be known now. What else
    only you can know is asked for again by export-config.
    """
    given = {
        "language": language, "authors": author or None, "license": license_id,
        "recordings": recordings, "consent": consent,
    }  # fmt: skip
    ask = console.ask if sys.stdin.isatty() else None
    console.finish(begin_project(folder, given, ask=ask), as_json=as_json)


def begin_project(folder: Path, given: Mapping[str, Any], *, ask: Ask | None) -> Summary:
    """Begin a project.

    Args:
        folder: Where.
        given: What flags gave, None where they did not: `language`, and keys of [export-config].
        ask: Asks the user; None where nobody is there to answer.
    """
    check_new(folder)  # what is wrong from the start is told before anybody answers in vain
    about = _about({key: given.get(key) for key in _QUESTIONS})
    language = given["language"]
    if language is None:
        if ask is None:
            raise UsageError("which language is it?", where="--language", fix="give --language")
        question = "Language (English name, own name or ISO code)"
        language = _ask_until_right(ask, question, _right_language)
    found = find_language(language)
    for key, question in _QUESTIONS.items():
        if ask is not None and given[key] is None:
            take = partial(_with_answer, about, key)
            about = _ask_until_right(ask, f"{question}; Enter leaves it open", take)
    path = write_project(folder, language, about)
    raw = path.parent / "raw"
    notes = [
        f"put your videos into {raw}, one folder per speaker: {raw}/<speaker>/*.mp4",
        f"{path.parent / CONSENT_NAME} is a template: adapt it, and ask everybody you record",
    ]
    still_open = [key for key in _QUESTIONS if not getattr(about, key)]
    if still_open:
        notes.append(f"left open for the submission, in [export-config]: {', '.join(still_open)}")
    flag = "" if folder == Path() else f" --project {shlex.quote(str(path))}"
    data = {"project": path.as_posix(), "language": found.title, "lang": found.code}
    return Summary(
        "init",
        f"project for {found.title} ({found.code}) -> {path}",
        {**data, "open": still_open},
        notes=notes,
        next_command=f"asdtune run{flag}",
    )


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
    known = {} if about is None else about.model_dump(exclude_defaults=True)
    known = {f"export-config.{key}": value for key, value in known.items()}
    for name in PathsTable.model_fields.values():
        (folder / name.default).mkdir(parents=True, exist_ok=True)
    if not (folder / CONSENT_NAME).exists():
        write_text(folder / CONSENT_NAME, (files("asdtune") / CONSENT_NAME).read_text("utf-8"))
    write_text(path, render({"project.language": language, **known}))
    return path


def _about(known: Mapping[str, Any]) -> ExportConfigTable:
    values = {f"export-config.{key}": value for key, value in known.items()}
    return Project().override(values).export_config


def _with_answer(about: ExportConfigTable, key: str, answer: str) -> ExportConfigTable:
    """Add an answer to what is known."""
    value = answer.split(";") if key == "authors" else answer
    return _about({**about.model_dump(exclude_unset=True), key: value})


def _right_language(answer: str) -> str:
    find_language(answer)
    return answer


def _ask_until_right(ask: Ask, question: str, take: Callable[[str], _Taken]) -> _Taken:
    """Ask for a line until it can be taken, saying each time what is wrong with it."""
    again = question
    while True:
        try:
            return take(ask(again))
        except UsageError as error:
            wrong = re.sub(r"^--\S+: ", "", error.problem)  # there is no flag here
            again = f"{wrong}; once more.\n{question}"
