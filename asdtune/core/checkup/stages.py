"""How far the stages that prepare data are, told by what lies in their folders.

Nothing is changed: folders are listed and records read, no video is. A file that was copied, so
that its time is another and its size the same, counts as unchanged: the stage itself looks into it.

    state = state_of_batch("crops", works, Path("face_crops"))
    print(state.progress, state.text)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from asdtune.core.files import settings_hash
from asdtune.core.prepare.records import (
    FAILED,
    begun_or_done,
    outputs_are_there,
    read_record,
    record_file,
    record_files,
)
from asdtune.core.prepare.works import Work

_HALF_WRITTEN = ".*.part"  # as `whole_file` names them


class State(str, Enum):
    """How far a stage is."""

    NOT_BEGUN = "not begun"
    HALF = "half finished"
    OUT_OF_DATE = "out of date"
    FAILED = "failed"
    FAILURES = "done, with failures"
    DONE = "done"
    SKIPPED = "not needed"
    UNKNOWN = "cannot be told"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class StageState:
    """How far one stage is.

    Attributes:
        progress: In a word.
        text: In a line, without that word.
        n_done: Pieces of work that are done, of a batch stage.
        n_total: Of how many.
        n_changed: Pieces that are there, but of other input or settings: they are written over.
    """

    progress: State
    text: str = ""
    n_done: int = 0
    n_total: int = 0
    n_changed: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the next stage can follow."""
        return self.progress in (State.DONE, State.FAILURES, State.SKIPPED)

    @property
    def share_left(self) -> float:
        """How much of its output is not there yet, 0 to 1: all or none where nothing counts it."""
        if self.n_total:
            return 1 - (self.n_done + self.n_changed) / self.n_total
        return float(not self.is_over)


def state_of_batch(
    stage: str,
    works: Sequence[Work],
    output_dir: Path,
    *,
    unit: str = "clip",
    n_refused: int = 0,
    knows_settings: bool = True,
) -> StageState:
    """Say how many pieces of work are done, changed, failed, or interrupted.

    Args:
        stage: As its records are named.
        works: All its pieces of work.
        output_dir: Where its outputs and records are.
        unit: What one piece is called.
        n_refused: Pieces that failed before they were begun.
        knows_settings: Whether the works tell the settings, so that changed ones show.
    """
    counts = Counter(_state_of_work(stage, work, output_dir, knows_settings) for work in works)
    n_total = len(works) + n_refused
    n_failed, n_done = counts["failed"] + n_refused, counts["done"] + counts["foreign"]
    told = [f"{n_done} of {n_total} {unit}s"]
    told += [f"{counts[name]} {what}" for name, what in _TOLD.items() if counts[name]]
    if n_failed:
        told.append(f"{n_failed} failed")
    n_parts = count_half_written(output_dir)
    if n_parts:
        told.append(f"{n_parts} file{'s' * (n_parts > 1)} half written")
    if counts["changed"]:
        progress = State.OUT_OF_DATE
    elif counts["missing"] + counts["interrupted"]:
        has_begun = n_done + n_failed + counts["interrupted"]
        progress = State.HALF if has_begun else State.NOT_BEGUN
    else:
        of_failed = State.FAILURES if n_done else State.FAILED
        progress = of_failed if n_failed else State.DONE
    return StageState(progress, ", ".join(told), n_done, n_total, counts["changed"])


_TOLD = {
    "changed": "made of other input or settings",
    "interrupted": "interrupted",
    "foreign": "not made by asdtune",
}


def _state_of_work(stage: str, work: Work, output_dir: Path, knows_settings: bool) -> str:
    path = record_file(output_dir, stage, work.name)
    record = read_record(path)
    if record is None:
        if (begun := begun_or_done(path)) is not None:
            return "failed" if begun.get("state") == FAILED else "interrupted"
        is_there = work.targets and all(target.exists() for target in work.targets)
        return "foreign" if is_there else "missing"
    if not outputs_are_there(record, output_dir):
        return "missing"
    if work.source.stat().st_size != record["input"]["size"]:
        return "changed"
    is_same = record["settings"] == settings_hash(work.settings)
    return "done" if is_same or not knows_settings else "changed"


def state_of_outputs(stage: str, output_dir: Path, *, unit: str = "clip") -> StageState:
    """Say what is there of a stage whose inputs are gone."""
    records = [read_record(path) for path in record_files(output_dir, stage)]
    n_done = sum(record is not None and outputs_are_there(record, output_dir) for record in records)
    n_clips = 0 if n_done else sum(1 for _ in output_dir.glob("[!.]*/**/*.npz"))
    if not n_done + n_clips:
        return StageState(State.NOT_BEGUN)
    kept = f"{n_done or n_clips} {unit}s, of videos that are no longer there"
    return StageState(State.DONE, kept, n_done or n_clips, n_done or n_clips)


def count_half_written(folder: Path) -> int:
    """Count the files that a killed process left; the next run writes over them."""
    return sum(1 for _ in folder.rglob(_HALF_WRITTEN)) if folder.is_dir() else 0


def skip_over(states: Mapping[str, StageState]) -> dict[str, StageState]:
    """Let a stage that nobody began count as over where a later one has begun without it."""
    skipped: dict[str, StageState] = {}
    has_later = False
    for stage, state in reversed(list(states.items())):
        is_begun = state.progress is not State.NOT_BEGUN
        if not is_begun and has_later:
            state = replace(state, progress=State.SKIPPED, text="later stages began without it")
        has_later = has_later or is_begun
        skipped[stage] = state
    return dict(reversed(list(skipped.items())))


def first_open(states: Mapping[str, StageState]) -> str | None:
    """Name the first stage that is not over; None where all are."""
    return next((stage for stage, state in states.items() if not state.is_over), None)
