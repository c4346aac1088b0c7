"""What is installed, what is missing, how far the project is, and what to run next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from asdtune.core.checkup.finding import Finding, Mark, found
from asdtune.core.checkup.machine import check_machine
from asdtune.core.checkup.provisions import (
    Footage,
    check_cache,
    check_detector,
    check_disk,
    check_memory,
    check_start,
    free_memory,
    measure_footage,
    needed_disk,
    needed_memory,
)
from asdtune.core.checkup.stages import StageState, State, first_open, skip_over
from asdtune.errors import UsageError
from asdtune.project import DEFAULT_NAME, Project, load_project
from asdtune.stages.states import ProjectStates
from asdtune.stages.tuning import training_settings
from asdtune.terminal import Summary

_HOW = {
    State.HALF: "run asdtune {stage} again: it goes on",
    State.OUT_OF_DATE: "asdtune {stage} does again what has changed",
    State.FAILED: "asdtune {stage} says why",
    State.FAILURES: "asdtune {stage} names what failed, and why",
}


def doctor(path: Path | None) -> Summary:
    """Look at the machine and the project, and change nothing.

    Args:
        path: The project file, or its folder; None for the one here, if there is one.
    """
    project, of_file = _read_project(path)
    findings = [of_file, *check_machine(project.train.device), *_check_files(project)]
    flag = "" if path is None else f" --project {shlex.quote(str(path))}"
    states: dict[str, StageState] = {}
    notes: list[str] = []
    if of_file.mark is Mark.PROBLEM:
        next_command = f"asdtune doctor{flag}"
        notes.append("mend the project file first: without it, nothing is known of the stages")
    elif of_file.mark is Mark.NOTE and not _has_begun(project):
        next_command = "asdtune init my-project --language LANGUAGE"
        notes.append("nothing is begun here; asdtune demo shows the whole way on drawn people")
    else:
        if of_file.mark is Mark.OK:
            findings += found("language", lambda: _check_language(project))
        of_stages, states = _check_stages(project)
        findings += of_stages
        next_command = _next_command(project, states, flag)
    n_of = {mark: sum(each.mark is mark for each in findings) for mark in Mark}
    line = f"{_counted(n_of[Mark.PROBLEM], 'problem')}, {_counted(n_of[Mark.NOTE], 'note')}"
    if n_of[Mark.PROBLEM]:
        line += "; mend what is marked as a problem, then go on"
    data = {
        "findings": [{**asdict(each), "mark": each.mark.value} for each in findings],
        "stages": {name: {**asdict(s), "progress": str(s.progress)} for name, s in states.items()},
    }
    return Summary("doctor", line, data, findings=findings, notes=notes, next_command=next_command)


def _read_project(path: Path | None) -> tuple[Project, Finding]:
    name = "project"
    try:
        project = load_project(path)
    except UsageError as error:
        where = path or Path(DEFAULT_NAME)
        where = where / DEFAULT_NAME if where.is_dir() else where
        mistakes = [line.removeprefix(f"{where}: ") for line in error.problem.splitlines()]
        text = f"{where} cannot be used: {'; '.join(mistakes)}"
        return Project(), Finding(name, Mark.PROBLEM, text, error.fix)
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
    """Look for what is downloaded: detector, weights, baseline."""
    from asdtune.core.networks.catalogue import STARTS

    crops, baseline = project.crops, project.evaluate.baseline
    network, start = project.model.network, project.recipe.checkpoint
    yield from found("detector", lambda: check_detector(crops.detector, crops.detector_model))
    yield from found("weights", lambda: check_start(start, network))
    if baseline is not None:
        yield from found("baseline", lambda: check_start(baseline, network, flag="--baseline"))
    yield from found("settings", lambda: _check_settings(project))
    yield from found("cache", lambda: iter([check_cache(STARTS["english"].file)]))


def _check_settings(project: Project) -> Iterator[Finding]:
    from asdtune.core.tune.settings import check_settings

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


def _check_stages(project: Project) -> tuple[list[Finding], dict[str, StageState]]:
    """Look at sources, disk, memory, and every stage."""
    of_project = ProjectStates(project)
    findings: list[Finding] = []
    footage: list[Footage] = []

    def sources() -> Iterator[Finding]:
        if (plan := of_project.plan()) is None:
            text = "the videos themselves are gone; what was made of them stays"
            yield Finding("sources", Mark.NOTE, f"{project.paths.source}: {text}")
            return
        paths = [item.path for item in plan.sources]
        known = {i.path: n for i in plan.sources if (n := plan.n_frames_of.get(i.name))}
        footage.append(measure_footage(paths, known))
        n_speakers = len({item.speaker for item in plan.sources})
        n_splits = sum(share > 0 for share in project.collect_chunk.split_ratio)
        text = _told(footage[0], n_speakers)
        if n_speakers < n_splits and any(item.split is None for item in plan.sources):
            text += f"; {n_splits} splits need at least {n_splits} speakers"
            fix = "collect more speakers, or set the share of a split to 0 in split_ratio"
            yield Finding("sources", Mark.PROBLEM, text, fix)
        else:
            yield Finding("sources", Mark.OK, text)

    findings += found("sources", sources)
    states: dict[str, StageState] = {}
    problems: dict[str, list[Finding]] = {}
    for stage, look in of_project.looks().items():
        held: list[StageState] = []
        problems[stage] = list(found(stage, partial(_look, look, held)))
        states[stage] = held[0] if held else StageState(State.UNKNOWN)
        before = first_open(skip_over(states))
        if not held and before not in (None, stage):  # which may be all that is wrong
            problems[stage] = []
            states[stage] = StageState(State.UNKNOWN, f"until {before} is done")
    states = skip_over(states)
    if footage:
        missing = [stage for stage, state in states.items() if not state.is_over]
        findings += found("disk", lambda: _check_room(project, footage[0], missing))
    for stage, state in states.items():
        findings += problems[stage] or [_finding(stage, state)]
    if states["train"].is_over:
        findings += _check_submission(project)
    return findings, states


def _look(look: Callable[[], StageState], held: list[StageState]) -> Iterator[Finding]:
    held.append(look())
    return iter(())


def _finding(stage: str, state: StageState) -> Finding:
    text = str(state.progress) + (f": {state.text}" if state.text else "")
    how = _HOW.get(state.progress)
    if stage == "train" and state.progress is State.HALF:
        how = "asdtune train --resume goes on where it stopped"
    fix = None if how is None else how.format(stage=stage)
    return Finding(stage, Mark.OK if fix is None else Mark.NOTE, text, fix)


def _told(footage: Footage, n_speakers: int) -> str:
    length = "of unknown length"
    if footage.seconds is not None:
        about = "" if footage.n_measured == footage.n_videos else "about "
        length = f"{about}{footage.seconds / 60:.1f} min"
        if about:
            length += f", by {footage.n_measured} of them"
    videos = _counted(footage.n_videos, "video")
    return f"{_counted(n_speakers, 'speaker')}, {videos}, {length}"


def _check_room(project: Project, footage: Footage, stages: list[str]) -> Iterator[Finding]:
    """Compare disk and memory with what the stages that are not over will take."""
    recipe, network = project.recipe, project.model.network
    size, seconds = project.project.window_size, footage.seconds or 0
    n_clips = seconds / project.collect_chunk.chunk_seconds
    n_windows = project.splits.n_samples or int(n_clips * (project.splits.windows_per_sample or 0))
    is_frozen = recipe.freeze != "none"
    needed = needed_disk(
        footage, stages, network=network, n_windows=n_windows,
        is_frozen=is_frozen or recipe.head_epochs > 0,
    )  # fmt: skip
    yield check_disk(project.paths.face_crops_dir, needed, what_for=", ".join(stages))
    if "train" not in stages:
        return
    memory = needed_memory(
        network, batch_size=recipe.batch_size, window_size=size, is_frozen=is_frozen
    )
    what_for = f"{network}, batches of {recipe.batch_size}, windows of {size} frames"
    yield check_memory(memory, _free_memory(recipe.device), what_for=what_for)


def _free_memory(device: str) -> int | None:
    """Count the free bytes where training will compute."""
    try:
        import torch
    except (ImportError, OSError):
        return free_memory()
    if device.startswith(("auto", "cuda")) and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return free_memory()


def _check_submission(project: Project) -> Iterator[Finding]:
    """Name what only a person knows and the project file does not say."""
    known = project.export_config.model_dump()
    missing = [name for name, value in known.items() if not value]
    if missing:
        text = f"the project file does not say: {', '.join(missing)}"
        fix = "write them into the table [export-config], or fill in what export-config leaves open"
        yield Finding("submission", Mark.NOTE, text, fix)


def _next_command(project: Project, states: Mapping[str, StageState], flag: str) -> str:
    stage = first_open(states)
    if stage is None:
        if project.export_config.checkpoint_url is None:
            return f"asdtune export-config --checkpoint-url URL{flag}"
        return f"follow {project.paths.export_dir / 'PULL_REQUEST.md'}"
    resume = " --resume" * (stage == "train" and states[stage].progress is State.HALF)
    return f"asdtune {stage}{resume}{flag}"


def _counted(number: int, unit: str) -> str:
    return f"{number or 'no'} {unit}{'' if number == 1 else 's'}"
