"""All stages in a row."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from asdtune import console
from asdtune.commands.command import AsJson
from asdtune.commands.evaluate import evaluate
from asdtune.commands.export import export_config
from asdtune.commands.prepare import collect_chunk, crops, mfcc, splits
from asdtune.commands.requirements import requirements
from asdtune.commands.train import train
from asdtune.console import Summary
from asdtune.core.prepare.cluster import open_cluster
from asdtune.project import Project

Done = list[tuple[Summary, float]]  # stages, with their seconds


def run(project: Project, *, as_json: AsJson = False) -> Summary:
    """Do all of it in order, from the videos to the folder you submit, skipping what is done."""
    done = follow(all_stages(project), as_json=as_json)
    failures = {
        f"{summary.stage}: {name}": error
        for summary, _ in done
        for name, error in summary.failures.items()
    }
    line = f"all done in {seconds_of(done):.0f} s -> {project.paths.export_dir}"
    return Summary("run", line, data_of(done), failures=failures)


def all_stages(project: Project, *, overwrite: bool = False) -> Iterator[Summary]:
    """Do everything in order, each stage skipping what is done, unless it is to be overwritten."""
    for look in requirements(project).values():  # before hours of work, what would stop the end
        look()
    with open_cluster(project.project.scheduler, project.paths.source):
        pass
    yield collect_chunk(project, overwrite=overwrite)
    yield crops(project, overwrite=overwrite)
    yield mfcc(project, overwrite=overwrite)
    yield splits(project, overwrite=overwrite)
    yield train(project, resume=None, overwrite=overwrite)
    yield evaluate(project, overwrite=overwrite)
    yield export_config(project, overwrite=overwrite)


def follow(summaries: Iterable[Summary], *, as_json: bool) -> Done:
    """Show every stage as it ends; give each with its seconds."""
    done: Done = []
    begun = time.monotonic()
    for summary in summaries:
        done.append((summary, time.monotonic() - begun))
        if not as_json:
            console.show_stage(*done[-1])
        begun = time.monotonic()
    return done


def seconds_of(done: Sequence[tuple[Summary, float]]) -> float:
    """Add up what the stages took."""
    return sum(seconds for _, seconds in done)


def data_of(done: Sequence[tuple[Summary, float]]) -> dict[str, Any]:
    """Give what the stages tell, for `--json`."""
    return {
        "stages": {
            summary.stage: {"seconds": round(seconds, 1), **summary.data}
            for summary, seconds in done
        }
    }
