"""Commands that begin a project, and look at it."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from asdtune import terminal
from asdtune.commands.options import AsJson, ProjectFile, finish


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.")] = Path(),
    language: Annotated[
        str | None, typer.Option(help="Its English name, its own name, or its ISO 639 code.")
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Of the checkpoint, as Family, Given; again for each further one."
        ),
    ] = None,
    license_id: Annotated[
        str | None, typer.Option("--license", help="Of the checkpoint, such as CC-BY-4.0.")
    ] = None,
    recordings: Annotated[
        str | None, typer.Option(help="Who recorded the videos, where and when: one sentence.")
    ] = None,
    consent: Annotated[
        str | None, typer.Option(help="Who agreed to what, and how: one sentence.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a project: a commented project file, empty folders, a template of a consent note.

    In a terminal it asks for what no flag gives. Only the language must be known now. What else
    only you can know is asked for again by export-config.
    """
    from asdtune import stages

    given = {
        "language": language,
        "authors": author or None,
        "license": license_id,
        "recordings": recordings,
        "consent": consent,
    }
    ask = terminal.ask if sys.stdin.isatty() else None
    finish(stages.init(folder, given, ask=ask), as_json)


def doctor(project: ProjectFile = None, as_json: AsJson = False) -> None:
    """Say what is installed and what is missing, the status of each stage, and what to run next.

    Every line begins with ok, note (good to know, nothing stops) or problem (a command will stop
    on it), and says how to mend it. Nothing is downloaded or changed. It exits with 1 where there
    is a problem, a mistake in the project file among them.
    """
    from asdtune import stages

    with redirect_stdout(sys.stderr):  # of what broken packages print
        summary = stages.doctor(project)
    finish(summary, as_json)
