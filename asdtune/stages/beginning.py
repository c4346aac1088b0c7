"""The beginning of a project: what only a person knows is asked for, or left open."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from asdtune.core.export.languages import find_language
from asdtune.errors import UsageError
from asdtune.new_project import CONSENT_NAME, check_new, write_project
from asdtune.project import ExportConfigTable, Project
from asdtune.terminal import Summary

Ask = Callable[[str], str]
_Taken = TypeVar("_Taken")

_QUESTIONS = {
    "authors": "Authors of the checkpoint (Family, Given; more after a semicolon)",
    "license": "Licence of the checkpoint (such as CC-BY-4.0)",
    "recordings": "Who recorded the videos, where and when",
    "consent": "Who agreed to what, and how",
}


def init(folder: Path, given: Mapping[str, Any], *, ask: Ask | None) -> Summary:
    """Begin a project.

    Args:
        folder: Where.
        given: What flags gave, None where they did not: `language`, and the keys of the table
            `[export-config]`.
        ask: Asks the user; None where nobody is there to answer.
    """
    check_new(folder)  # what is wrong from the start is told before anybody answers in vain
    about = _about({key: given[key] for key in _QUESTIONS})
    language = given["language"]
    if language is None:
        if ask is None:
            raise UsageError("which language is it?", where="--language", fix="give --language")
        question = "Language (English name, own name or ISO code)"
        language = _ask_until_right(ask, question, _right_language)
    found = find_language(language)
    if ask is not None:
        for key, question in _QUESTIONS.items():
            if given[key] is None:
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
