"""All stages in a row."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

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


def run(project: Project, *, as_json: AsJson = False) -> Summary:
    """Do all of it in order, from the videos to the folder you submit, skipping what is done."""
    stages, seconds = follow(all_stages(project), as_json=as_json)
    failures = {
        f"{stage.stage}: {name}": error
        for stage in stages
        for name, error in stage.failures.items()
    }
    line = f"all done in {seconds:.0f} s -> {project.paths.export_dir}"
    data = {"stages": {stage.stage: stage.data for stage in stages}}
    return Summary("run", line, data, failures=failures)


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


def follow(summaries: Iterable[Summary], *, as_json: bool) -> tuple[list[Summary], float]:
    """Show every stage as it ends; give them, with their seconds among the data, and the sum."""
    stages: list[Summary] = []
    first = begun = time.monotonic()
    for summary in summaries:
        seconds, begun = time.monotonic() - begun, time.monotonic()
        stages.append(replace(summary, data={"seconds": round(seconds, 1), **summary.data}))
        if not as_json:
            console.show_stage(summary, seconds)
    return stages, begun - first
