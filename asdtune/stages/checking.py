"""What is installed, what is missing, how far the project is, and what to run next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asdtune.core.checkup.finding import Finding, Mark, attempt, found
from asdtune.core.checkup.machine import check_device, check_machine
from asdtune.errors import UsageError
from asdtune.terminal import Summary

if TYPE_CHECKING:  # what needs a package is imported when it is used: any may be broken
    from asdtune.core.checkup.stages import StageState
    from asdtune.project import Project


_BEGIN = "asdtune init my-project --language LANGUAGE"


@dataclass(frozen=True)
class _Outlook:
    """What is to be done next, and what tells it.

    Attributes:
        next_command: What to run next.
        note: What else to know of it.
        states: How far each stage is.
        findings: What was found on the way.
    """

    next_command: str
    note: str | None = None
    states: Mapping[str, StageState] = field(default_factory=dict)
    findings: Sequence[Finding] = ()


def doctor(path: Path | None) -> Summary:
    """Look at the machine and the project, and change nothing.

    Args:
        path: The project file, or its folder; None for the one here, if there is one.
    """
    of_machine = list(check_machine())  # first: of a broken package anything may come
    read = attempt("project", lambda: _read_project(path))
    project, of_file = (None, read) if isinstance(read, Finding) else read
    findings = [of_file, *of_machine]
    if project is not None:
        findings += found("files", lambda: _check_files(project))
    flag = "" if path is None else f" --project {shlex.quote(str(path))}"
    ahead = _Outlook(f"asdtune doctor{flag}")
    if project is None:
        ahead = replace(
            ahead, note="mend the project file first: without it, nothing is known of the stages"
        )
    elif of_file.mark is Mark.NOTE and not _has_begun(project):
        note = "nothing is begun here; asdtune demo shows the whole way on drawn people"
        ahead = _Outlook(_BEGIN, note)
    else:
        if of_file.mark is Mark.OK:
            findings += found("language", lambda: _check_language(project))
        seen = attempt("stages", lambda: _look_ahead(project, path, flag))
        ahead = replace(ahead, findings=[seen]) if isinstance(seen, Finding) else seen
    findings += ahead.findings
    n_of = {mark: sum(each.mark is mark for each in findings) for mark in Mark}
    line = f"{_counted(n_of[Mark.PROBLEM], 'problem')}, {_counted(n_of[Mark.NOTE], 'note')}"
    if n_of[Mark.PROBLEM]:
        line += "; mend what is marked as a problem, then go on"
    data = {
        "findings": [{**asdict(each), "mark": each.mark.value} for each in findings],
        "stages": {
            name: {**asdict(s), "progress": str(s.progress)} for name, s in ahead.states.items()
        },
    }
    return Summary(
        "doctor", line, data, findings=findings, notes=[ahead.note] if ahead.note else [],
        next_command=ahead.next_command,
    )  # fmt: skip


def _read_project(path: Path | None) -> tuple[Project | None, Finding]:
    """Read the project file; give no project where it cannot be used."""
    from asdtune.project import DEFAULT_NAME, load_project

    name = "project"
    try:
        project = load_project(path)
    except UsageError as error:
        where = path or Path(DEFAULT_NAME)
        where = where / DEFAULT_NAME if where.is_dir() else where
        mistakes = [line.removeprefix(f"{where}: ") for line in error.problem.splitlines()]
        text = f"{where} cannot be used: {'; '.join(mistakes)}"
        return None, Finding(name, Mark.PROBLEM, text, error.fix)
    if path is None and not Path(DEFAULT_NAME).is_file():
        return project, Finding(name, Mark.NOTE, f"no {DEFAULT_NAME} here: the defaults hold")
    return project, Finding(name, Mark.OK, str(path or DEFAULT_NAME))


def _has_begun(project: Project) -> bool:
    """Tell whether a folder of the project is there that is hardly anything else's."""
    common = {"report_dir", "preview_dir", "export_dir"}
    return any(
        Path(folder).exists() for folder in project.paths.model_dump(exclude=common).values()
    )


def _check_files(project: Project) -> Iterator[Finding]:
    """Look at what settings name: detector, weights, baseline, device."""
    from asdtune.core.checkup.provisions import check_cache, check_detector, check_start
    from asdtune.core.networks.catalogue import ITS_START, NOTHING, STARTS

    crops, baseline = project.crops, project.evaluate.baseline
    network, start = project.model.network, project.recipe.checkpoint
    yield from found("detector", lambda: check_detector(crops.detector, crops.detector_model))
    yield from found("weights", lambda: check_start(start, network))
    if baseline not in (ITS_START, NOTHING):
        yield from found("baseline", lambda: check_start(baseline, network, flag="--baseline"))
    yield from found("device", lambda: check_device(project.train.device))
    yield from found("settings", lambda: _check_settings(project))
    yield from found("cache", lambda: [check_cache(STARTS["english"].file)])


def _check_settings(project: Project) -> Iterator[Finding]:
    from asdtune.core.tune.settings import check_settings
    from asdtune.stages.tuning import training_settings

    check_settings(training_settings(project))
    text = f"{project.model.network}, windows of {project.project.window_size} frames"
    yield Finding("settings", Mark.OK, text)


def _check_language(project: Project) -> Iterator[Finding]:
    from asdtune.core.share.languages import find_language

    name = project.project.language
    if name is None:
        fix = "write it into the table [project], or give --language"
        yield Finding("language", Mark.NOTE, "not given; export-config needs it", fix)
        return
    language = find_language(name)
    yield Finding("language", Mark.OK, f"{language.title} ({language.code})")


def _look_ahead(project: Project, path: Path | None, flag: str) -> _Outlook:
    """Look at every stage; say which comes next."""
    from asdtune.core.checkup.stages import first_open
    from asdtune.stages.demonstrating import is_demo
    from asdtune.stages.examining import check_stages, check_submission

    findings, states = check_stages(project)
    folder = path or Path()
    folder = folder.parent if folder.is_file() else folder
    if is_demo(folder):  # nobody submits it: after it comes a project of one's own
        rest = f"asdtune demo {shlex.quote(str(folder))}"
        note = "asdtune demo has made this project: drawn people, and three videos bad on purpose"
        return _Outlook(_BEGIN if first_open(states) is None else rest, note, states, findings)
    if states["train"].is_over:
        findings += check_submission(project)
    return _Outlook(_next_command(project, states, flag), None, states, findings)


def _next_command(project: Project, states: Mapping[str, StageState], flag: str) -> str:
    from asdtune.core.checkup.results import link_in_export
    from asdtune.core.checkup.stages import State, first_open

    stage = first_open(states)
    if stage is None:
        folder, in_file = project.paths.export_dir, project.export_config.checkpoint_url
        link = link_in_export(folder)
        if in_file not in (None, link):  # which export-config will fill in
            return f"asdtune export-config{flag}"
        if link is None:
            return f"asdtune export-config --checkpoint-url URL{flag}"
        return f"follow {folder / 'PULL_REQUEST.md'}"
    resume = " --resume" * (stage == "train" and states[stage].progress is State.HALF)
    return f"asdtune {stage}{resume}{flag}"


def _counted(number: int, unit: str) -> str:
    return f"{number or 'no'} {unit}{'' if number == 1 else 's'}"
