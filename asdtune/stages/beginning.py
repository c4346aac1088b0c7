"""The beginning of a project: what only a person knows is asked for, or left open."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asdtune.core.share.languages import find_language
from asdtune.errors import UsageError
from asdtune.new_project import CONSENT_NAME, check_new, write_project
from asdtune.project import Project
from asdtune.terminal import Summary

Ask = Callable[[str], str]

_QUESTIONS = {
    "authors": "Authors of the checkpoint (Family, Given; more after a semicolon)",
    "license": "Licence of the checkpoint (such as cc-by-4.0)",
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
    check_new(folder)  # before anybody answers in vain
    language = given["language"]
    if language is None:
        if ask is None:
            raise UsageError("which language is it?", where="--language", fix="give --language")
        language = ask("Language (English name, own name or ISO code)")
    found = find_language(language)
    known = {key: given[key] for key in _QUESTIONS}
    if ask is not None:
        for key, question in _QUESTIONS.items():
            if known[key] is None:
                answer = ask(f"{question}; Enter leaves it open")
                known[key] = answer.split(";") if key == "authors" else answer
    about = Project().override({f"export-config.{key}": known[key] for key in known}).export_config
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
