"""Commands that go the whole way: on your videos, and on drawn people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from asdtune import terminal
from asdtune.commands.options import (
    AsJson,
    Device,
    ProjectFile,
    Scheduler,
    Workers,
    finish,
    load_settings,
    one_of,
)
from asdtune.terminal import Summary


def run(
    project: ProjectFile = None,
    source: Annotated[
        Path | None, typer.Option(help="Your videos, instead of the project file's source.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Language, as for init.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="As for crops.", autocompletion=one_of("crops.detector"))
    ] = None,
    detector_model: Annotated[Path | None, typer.Option(help="As for crops.")] = None,
    network: Annotated[
        str | None, typer.Option(help="As for train.", autocompletion=one_of("model.network"))
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="As for train.", autocompletion=one_of("train.checkpoint"))
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Do all of it in order, from the videos to the folder you submit, skipping what is done."""
    from asdtune import stages

    settings = load_settings(
        project,
        {
            "paths.source": source,
            "project.language": language,
            "project.workers": workers,
            "project.scheduler": scheduler,
            "crops.detector": detector,
            "crops.detector_model": detector_model,
            "model.network": network,
            "train.checkpoint": checkpoint,
            "train.device": device,
        },
    )
    stages_done = _follow(stages.run(settings), as_json)
    failures = {
        f"{summary.stage}: {name}": error
        for summary, _ in stages_done
        for name, error in summary.failures.items()
    }
    line = f"all done in {_seconds(stages_done):.0f} s -> {settings.paths.export_dir}"
    finish(Summary("run", line, _data_of(stages_done), failures=failures), as_json)


def demo(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A new folder, an empty one, or that of an earlier demo."
        ),
    ] = Path("asdtune-demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, in a folder that demo has made.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go the whole way on drawn people who talk: no videos, no network, no GPU needed.

    Draws 23 videos of 20 speakers, three of them bad on purpose, and takes them through all stages
    to a network that tells who speaks on faces it never saw, its report, a preview, and a folder to
    submit. Takes minutes on two cores. Exits with 0 if it has learned and only the bad ones failed.
    """
    from asdtune import stages

    stages_done = _follow(stages.demo(folder, overwrite=overwrite), as_json)
    summaries = [summary for summary, _ in stages_done]
    closing = stages.close_demo(folder, summaries, _seconds(stages_done))
    finish(replace(closing, data={**closing.data, **_data_of(stages_done)}), as_json)


def _follow(summaries: Iterable[Summary], as_json: bool) -> list[tuple[Summary, float]]:
    """Show every stage as it ends; give each with its seconds."""
    done: list[tuple[Summary, float]] = []
    begun = time.monotonic()
    for summary in summaries:
        seconds, begun = time.monotonic() - begun, time.monotonic()
        done.append((summary, seconds))
        if not as_json:
            terminal.show_stage(summary, seconds)
    return done


def _seconds(stages_done: Sequence[tuple[Summary, float]]) -> float:
    return sum(seconds for _, seconds in stages_done)


def _data_of(stages_done: Sequence[tuple[Summary, float]]) -> dict[str, Any]:
    return {
        "stages": {
            summary.stage: {"seconds": round(seconds, 1), **summary.data}
            for summary, seconds in stages_done
        }
    }
