"""The command that looks at the machine and the project."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdtune.commands.command import AsJson, Assignments, ProjectFile
from asdtune.console import Summary, finish
from asdtune.core.checkup import (
    Finding,
    Mark,
    attempt,
    check_disk,
    check_download,
    check_gpu,
    check_packages,
    explain,
)
from asdtune.project import DEFAULT_NAME, Project, load_project, parse_assignments

if TYPE_CHECKING:  # any package may be broken: what needs one is imported when it is used
    from asdtune.commands.status import StageStatus

_BEGIN = "asdtune init my-project --language LANGUAGE"
_GROWTH = 3  # the stages write about so many times what the videos take


def doctor(
    project: ProjectFile = None, assignments: Assignments = None, as_json: AsJson = False
) -> None:
    """Say what is installed and what is missing, the status of each stage, and what to run next.

    Every line begins with ok, note (good to know, nothing stops) or problem (a command will stop
    on it), and says how to mend it. Nothing is downloaded or changed. It exits with 1 where there
    is a problem, a mistake in the project file among them.
    """
    settings = parse_assignments(assignments)
    flag = "" if project is None else f" --project {shlex.quote(str(project))}"
    findings: list[Finding] = []
    with redirect_stdout(sys.stderr):  # of what broken packages print
        try:
            findings += check_packages()
            if any(each.mark is Mark.PROBLEM for each in findings):
                note = "mend the first problem first: others may come of it"
                summary = _summary(findings, f"asdtune doctor{flag}", note)
            else:
                summary = _look_at_project(project, settings, flag, findings)
        except Exception as error:
            findings.append(Finding("project", Mark.PROBLEM, *explain(error)))
            summary = _summary(findings, f"asdtune doctor{flag}")
    finish(summary, as_json=as_json)


def _look_at_project(
    path: Path | None, settings: Mapping[str, Any], flag: str, findings: list[Finding]
) -> Summary:
    """Look for what the stages need, and how far each is."""
    from asdtune.commands.status import State, next_stage, status_of_stages

    project = load_project(path).override(settings, by_key=True)
    has_file = path is not None or Path(DEFAULT_NAME).is_file()
    text = str(path or DEFAULT_NAME) if has_file else f"no {DEFAULT_NAME} here: the defaults hold"
    findings.append(Finding("project", Mark.OK if has_file else Mark.NOTE, text))
    findings += _check_requirements(project)
    statuses = status_of_stages(project)
    is_begun = {each.state for each in statuses.values()} - {State.NOT_BEGUN, State.BLOCKED}
    if not (has_file or is_begun or project.paths.source.exists()):
        note = "nothing is begun here; asdtune demo shows the whole way on drawn people"
        return _summary(findings, _BEGIN, note)
    is_prepared = statuses["splits"].state is State.DONE
    n_bytes = 0 if is_prepared else _GROWTH * _bytes_in(project.paths.source)
    findings.append(check_disk(project.paths.face_crops_dir.absolute(), n_bytes))
    findings += map(_finding, statuses, statuses.values())
    stage = next_stage(statuses)
    if stage is None:
        command = f"follow {project.paths.export_dir / 'PULL_REQUEST.md'}"
    else:
        resume = " --resume" * (stage == "train" and statuses[stage].state is State.HALF)
        command = f"asdtune {stage}{resume}{flag}"
    return _summary(findings, command, statuses=statuses)


def _check_requirements(project: Project) -> Iterator[Finding]:
    """Look for what the stages need, but download nothing."""
    from asdtune.commands.requirements import downloads, requirements

    def look(name: str) -> Finding:
        missing = check_download(name, files[name]) if name in files else None
        return missing or Finding(name, Mark.OK, looks[name]())

    files, looks = downloads(project), requirements(project)
    if project.project.language is None:
        del looks["language"]
        text, fix = "not given; export-config needs it", "write it into the table [project]"
        yield Finding("language", Mark.NOTE, text, fix)
    for name in looks:
        yield attempt(name, partial(look, name))
    yield from check_gpu()


def _bytes_in(source: Path) -> int:
    """Add up what the videos take; 0 where a CSV lists them."""
    return sum(path.stat().st_size for path in source.rglob("*") if path.is_file())


def _finding(stage: str, status: StageStatus) -> Finding:
    from asdtune.commands.status import State

    is_well = status.state in (State.NOT_BEGUN, State.DONE) and status.fix is None
    mark = Mark.OK if is_well else Mark.NOTE
    mark = Mark.PROBLEM if status.state is State.BLOCKED else mark
    return Finding(stage, mark, ": ".join(filter(None, [status.state, status.text])), status.fix)


def _summary(
    findings: Sequence[Finding],
    next_command: str,
    note: str | None = None,
    statuses: Mapping[str, StageStatus] | None = None,
) -> Summary:
    n_problems, n_notes = (
        sum(each.mark is mark for each in findings) for mark in (Mark.PROBLEM, Mark.NOTE)
    )
    line = f"problems: {n_problems}, notes: {n_notes}"
    data = {
        "findings": [asdict(each) for each in findings],
        "stages": {stage: asdict(each) for stage, each in (statuses or {}).items()},
    }
    return Summary(
        "doctor", line, data, findings=findings, notes=[note] if note else [],
        next_command=next_command,
    )  # fmt: skip
