"""The options that commands share, and how a command begins and ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asdtune import terminal
from asdtune.terminal import Summary

if TYPE_CHECKING:
    from asdtune.project import Project


def one_of(key: str) -> Callable[[str], list[str]]:
    """Complete a flag by the values that its setting may have."""

    def values(incomplete: str) -> list[str]:
        from asdtune.project import choices

        return [value for value in choices(key) if value.startswith(incomplete)]

    return values


def _device(incomplete: str) -> list[str]:
    names = ("auto", "cpu", "cuda", "mps")
    return [name for name in names if name.startswith(incomplete)]


ProjectFile = Annotated[
    Path | None,
    typer.Option("--project", "-p", help="Project file; default: ./asdtune.toml if it is there."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
Workers = Annotated[int | None, typer.Option(help="Processes; 0 is one per core.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT",
        help="Dask cluster that does the work instead; its workers must see the same files.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Do again what is done.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same result.")]
AudioTrack = Annotated[
    int | None, typer.Option(help="Which audio track, from 1, of videos that have several.")
]
WindowSize = Annotated[
    int | None, typer.Option(help="W, video frames the network sees at once; odd.")
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", autocompletion=_device)
]
VideoDir = Annotated[Path | None, typer.Option(help="Folder of the videos.")]
FaceCropsDir = Annotated[Path | None, typer.Option(help="Folder of the face crops.")]
MfccsDir = Annotated[Path | None, typer.Option(help="Folder of the MFCC.")]


def load_settings(path: Path | None, flags: dict[str, Any]) -> Project:
    """Read the project file; what flags give wins."""
    from asdtune.project import load_project

    return load_project(path).override(flags)


def finish(summary: Summary, as_json: bool) -> None:
    """Print what came of it, and leave with its exit code."""
    terminal.finish(summary, as_json=as_json)
