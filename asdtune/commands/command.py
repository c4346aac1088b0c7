"""How a function becomes a command: its settings are flags, and its summary is printed."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from asdtune import console
from asdtune.console import Summary
from asdtune.project import choices, flag_type, help_of, load_project, parse_assignments
from asdtune.settings import PathsTable

ProjectFile = Annotated[
    Path | None,
    typer.Option("--project", "-p", help="Project file; default: ./asdtune.toml if it is there."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set any key of the project file for this run."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Do again what is done.")]
Checkpoint = Annotated[
    str | None, typer.Option(help="Checkpoint; default: the best of the last run.")
]
WindowSize = Annotated[
    int | None, typer.Option(help="Only for a bare checkpoint that no run describes.")
]
# What the stages after one must know of it.
_GOES_ON = (
    "paths.video_dir", "paths.face_crops_dir", "paths.mfccs_dir", "paths.splits_dir",
    "paths.exps_dir", "paths.report_dir",
)  # fmt: skip
_SHARED = {"project": ProjectFile, "assignments": Assignments, "as_json": AsJson}


def with_settings(
    function: Callable[..., Summary], *keys: str, **renamed: str
) -> Callable[..., None]:
    """Give the command of a function.

    Args:
        function: Takes the `Project`, then its own options, and gives how it ended.
        keys: Settings of the project file that have a flag: `crops.min_score` has --min-score.
        renamed: The same, by the names of flags that are called otherwise.
    """
    key_of = {key.split(".")[1]: key for key in keys} | renamed
    own = [*inspect.signature(function, eval_str=True).parameters.values()][1:]
    shared = {name: kind for name, kind in _SHARED.items() if name not in {p.name for p in own}}

    def command(**given: Any) -> None:
        settings = parse_assignments(given["assignments"])
        flags = {key: given[name] for name, key in key_of.items()}
        project = load_project(given["project"]).override(settings, by_key=True).override(flags)
        summary = function(project, **{each.name: given[each.name] for each in own})
        console.finish(_going_on(summary, given["project"], flags), as_json=given["as_json"])

    options = [
        *own,
        *(_parameter(name, _option(name, key), None) for name, key in key_of.items()),
        *(_parameter(name, kind, False if kind is AsJson else None)
          for name, kind in shared.items()),
    ]  # fmt: skip
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined] # Typer reads it
    command.__annotations__ = {each.name: each.annotation for each in options}
    command.__doc__ = function.__doc__
    return command


def _going_on(summary: Summary, path: Path | None, flags: dict[str, Any]) -> Summary:
    """Let the next command work on the same project, in the folders that were named."""
    if summary.next_command is None:
        return summary
    words = [] if path is None else ["--project", str(path)]
    defaults = {f"paths.{name}": value for name, value in PathsTable()}
    for key, value in flags.items():
        if value is not None and key in _GOES_ON and value != defaults[key]:
            words += ["--set", f"{key}={value}"]
    command = " ".join([summary.next_command, *map(shlex.quote, words)])
    return replace(summary, next_command=command)


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _option(name: str, key: str) -> Any:
    """Give the type of a flag, with its help: both stand in the project's tables."""
    kind, known = flag_type(key), choices(key)

    def complete(incomplete: str) -> list[str]:
        return [value for value in known if value.startswith(incomplete)]

    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(flag, help=help_of(key), autocompletion=complete if known else None)
    return Annotated[kind | None, option]
