"""What the doctor finds of a project: its sources, what the work ahead needs, every stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from asdtune.core.checkup.finding import Finding, Mark, attempt, found
from asdtune.core.checkup.provisions import (
    Footage,
    check_disk,
    check_memory,
    free_memory,
    measure_footage,
    needed_disk,
    needed_memory,
)
from asdtune.core.checkup.stages import StageState, State, first_open, skip_over
from asdtune.core.prepare.chunk_plan import ChunkPlan
from asdtune.project import Project
from asdtune.stages.states import ProjectStates

_HOW = {
    State.HALF: "run asdtune {stage} again: it goes on",
    State.OUT_OF_DATE: "asdtune {stage} does again what has changed",
    State.FAILED: "asdtune {stage} says why",
    State.FAILURES: "asdtune {stage} names what failed, and why",
}


def check_stages(project: Project) -> tuple[list[Finding], dict[str, StageState]]:
    """Look at sources, disk, memory, and every stage."""
    of_project = ProjectStates(project)
    seen = attempt("sources", lambda: _look_at_sources(project, of_project.plan()))
    of_sources, footage = (seen, None) if isinstance(seen, Finding) else seen
    findings = [of_sources]
    states: dict[str, StageState] = {}
    problems: dict[str, Finding] = {}
    for stage, look in of_project.looks().items():
        state = attempt(stage, look)
        if isinstance(state, StageState):
            states[stage] = state
            continue
        states[stage] = StageState(State.UNKNOWN)
        before = first_open(skip_over(states))
        if before in (None, stage):
            problems[stage] = state
        else:  # that it comes too early may be all that is wrong
            states[stage] = StageState(State.UNKNOWN, f"until {before} is done ({state.text})")
    states = skip_over(states)
    if footage is not None:
        shares = {name: state.share_left for name, state in states.items() if not state.is_over}
        findings += found("disk", lambda: _check_room(project, footage, shares))
    for stage, state in states.items():
        findings.append(problems.get(stage) or _finding(stage, state))
    return findings, states


def check_submission(project: Project) -> Iterator[Finding]:
    """Name what only a person knows and the project file does not say."""
    known = project.export_config.model_dump()
    missing = [name for name, value in known.items() if not value]
    if missing:
        text = f"the project file does not say: {', '.join(missing)}"
        fix = "write them into the table [export-config], or fill in what export-config leaves open"
        yield Finding("submission", Mark.NOTE, text, fix)


def _look_at_sources(project: Project, plan: ChunkPlan | None) -> tuple[Finding, Footage | None]:
    """Say what videos there are, and how long; nothing of those that are gone."""
    name = "sources"
    if plan is None:
        text = "the videos themselves are gone; what was made of them stays"
        return Finding(name, Mark.NOTE, f"{project.paths.source}: {text}"), None
    paths = [item.path for item in plan.sources]
    known = {i.path: n for i in plan.sources if (n := plan.n_frames_of.get(i.name))}
    footage = measure_footage(paths, known)
    n_speakers = len({item.speaker for item in plan.sources})
    n_splits = sum(share > 0 for share in project.collect_chunk.split_ratio)
    text = _told(footage, n_speakers)
    if n_speakers < n_splits and any(item.split is None for item in plan.sources):
        text += f"; {n_splits} splits need at least {n_splits} speakers"
        fix = "collect more speakers, or set the share of a split to 0 in split_ratio"
        return Finding(name, Mark.PROBLEM, text, fix), footage
    return Finding(name, Mark.OK, text), footage


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
            length += f" (estimated from {footage.n_measured} of them)"
    videos = _counted(footage.n_videos, "video")
    return f"{_counted(n_speakers, 'speaker')}, {videos}, {length}"


def _check_room(
    project: Project, footage: Footage, shares: Mapping[str, float]
) -> Iterator[Finding]:
    """Compare disk and memory with what the stages that are not over will take."""
    recipe, network = project.recipe, project.model.network
    size, seconds = project.project.window_size, footage.seconds or 0
    n_clips = seconds / project.collect_chunk.chunk_seconds
    n_windows = project.splits.n_samples or int(n_clips * (project.splits.windows_per_sample or 0))
    is_frozen = recipe.freeze != "none"
    needed = needed_disk(
        footage, shares, network=network, n_windows=n_windows,
        is_frozen=is_frozen or recipe.head_epochs > 0,
    )  # fmt: skip
    yield check_disk(project.paths.face_crops_dir, needed, what_for=", ".join(shares))
    if "train" not in shares:
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
    except Exception:  # it is broken, and has a finding of its own
        return free_memory()
    if device.startswith(("auto", "cuda")) and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return free_memory()


def _counted(number: int, unit: str) -> str:
    return f"{number or 'no'} {unit}{'' if number == 1 else 's'}"
