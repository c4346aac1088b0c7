"""The command line: every command with its name and examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from asdtune import __version__, terminal
from asdtune.commands import beginning, preparing, sharing, tuning, whole
from asdtune.usage import Command, Commands, examples

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"asdtune {__version__}")
        raise typer.Exit


@app.callback(
    epilog=examples(
        "asdtune init my-project --language swahili",
        "asdtune run --project my-project",
        "asdtune doctor",
    )
)
def main(
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no warnings.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more of what is done.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Teach active speaker detection a new language: from vlogs to an AnnoTheia language folder.

    All settings have defaults; a project file changes them (asdtune init writes one), and a flag
    wins over both. A command that is run again does only what is missing or has changed.
    """
    terminal.set_up(quiet=quiet, verbose=verbose)


_COMMANDS: tuple[tuple[str, Callable[..., None], list[str]], ...] = (
    (
        "init",
        beginning.init,
        [
            "asdtune init my-project --language swahili",
            'asdtune init my-project --language sw --author "Family, Given" --license CC-BY-4.0',
        ],
    ),
    (
        "collect-chunk",
        preparing.collect_chunk,
        ["asdtune collect-chunk", "asdtune collect-chunk raw --split-ratio 0.8,0.1,0.1"],
    ),
    ("crops", preparing.crops, ["asdtune crops", "asdtune crops --detector haar --workers 2"]),
    (
        "mfcc",
        preparing.mfcc,
        ["asdtune mfcc", "asdtune mfcc --video-dir videos --mfccs-output-dir mfccs"],
    ),
    (
        "splits",
        preparing.splits,
        ["asdtune splits", "asdtune splits --windows-per-sample 20 --window-size 25"],
    ),
    (
        "train",
        tuning.train,
        [
            "asdtune train",
            "asdtune train --network lr-asd",
            "asdtune train --freeze visual-frontend --batch-size 16",
            "asdtune train --resume",
        ],
    ),
    (
        "evaluate",
        tuning.evaluate,
        ["asdtune evaluate --baseline english", "asdtune evaluate --labels labels.csv"],
    ),
    (
        "export-config",
        sharing.export_config,
        [
            "asdtune export-config",
            "asdtune export-config --checkpoint-url https://zenodo.org/records/1234567",
        ],
    ),
    (
        "preview",
        sharing.preview,
        ["asdtune preview raw/anna/talk.mp4", "asdtune preview raw/*/*.mp4 --threshold 0.5"],
    ),
    (
        "run",
        whole.run,
        ["asdtune run", "asdtune run --source VIDEOS --language swahili --network lr-asd"],
    ),
    ("demo", whole.demo, ["asdtune demo"]),
    ("doctor", beginning.doctor, ["asdtune doctor", "asdtune doctor --project my-project"]),
)


def _unwrap(docstring: str | None) -> str:
    """Join the lines of each paragraph, so that the terminal breaks them where it must."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _name, _command, _lines in _COMMANDS:
    app.command(_name, cls=Command, help=_unwrap(_command.__doc__), epilog=examples(*_lines))(
        _command
    )
if app.registered_callback is not None:
    app.registered_callback.help = _unwrap(main.__doc__)
