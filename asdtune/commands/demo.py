"""The whole way on drawn people: their videos, a project file, and every stage run on them.

In: nothing. Out: a folder with `raw/<split>/<speaker>/*.mp4`, three of which are bad on purpose,
the project file `asdtune.toml`, and all that the stages make of them. `.asdtune/demo.json` marks
the folder as the demo's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from asdtune.commands.command import AsJson, Assignments
from asdtune.commands.evaluate import preview
from asdtune.commands.run import all_stages, follow
from asdtune.console import Summary, display, duration, finish
from asdtune.core.corpus import Split
from asdtune.core.files import whole_file, write_text
from asdtune.core.locks import HIDDEN_DIR, stage_lock
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import DEFAULT_NAME, Project, load_project, parse_assignments

TARGET_AUC = 90.0  # of each ability on the test speakers, in percent; chance gives 50

_VERSION = 3  # raise it when the demo begins to draw other videos, or to write another project file
_N_SPEAKERS = {Split.TRAINING: 12, Split.VALIDATION: 2, Split.TEST: 6}  # intervals need six
_SECONDS = 12.0  # two chunks: the sound of a speaker's other clip is a kind of negative
_PROJECT = """\
# Written by asdtune demo; asdtune init writes a file with all settings there are.

[project]
language = "latin"        # the folder to submit needs one
window_size = 25

[collect-chunk]
chunk_seconds = 6.0

[crops]
detector = "haar"         # it comes with OpenCV: nothing to download

[splits]
windows_per_sample = 40

[train]                   # for drawn people, from nothing; for real ones leave all of it away
checkpoint = "scratch"
freeze = "visual-frontend"  # even drawn weights tell an open mouth from a closed one
contrast = 0.5            # without it, the network takes ten times as long to find out about sync
temporal_epochs = 0
learning_rate = 5e-4
total_epochs = 5

[evaluate]
toolkit_clips = 2         # a threshold of so few is a rough one
"""


class _Video(NamedTuple):
    """A video that is to be drawn: its path below `raw`, and the numbers of those it shows."""

    name: str
    people: tuple[int, ...]
    seconds: float = _SECONDS
    is_silent: bool = False  # its sound is digital silence
    is_broken: bool = False  # the second half of the file is missing


_TWO_PEOPLE = "two_people_on_purpose"
_BAD = {  # by what their speakers are called
    name: _Video(f"{Split.TRAINING}/{name}/{name}.mp4", *rest)
    for name, *rest in (
        ("broken_on_purpose", (0,), _SECONDS, False, True),
        ("silent_on_purpose", (1,), 6.0, True),
        (_TWO_PEOPLE, (2, sum(_N_SPEAKERS.values()))),  # one is a guest
    )
}

Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A new folder, an empty one, or that of an earlier demo."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew, in a folder that demo has made.")
]


def demo(
    folder: Folder = Path("asdtune-demo"),
    overwrite: Overwrite = False,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Go the whole way on drawn people who talk: no videos, no network, no GPU needed.

    Draws 23 videos of 20 people, three of them bad on purpose, and takes them through all stages
    to a network that tells who speaks on faces it never saw, its report, a preview, and a folder to
    submit. Takes minutes on two cores. Exits with 0 if it has learned and only the bad ones failed.
    """
    settings = parse_assignments(assignments)
    stages, seconds = follow(_stages(folder, settings, overwrite=overwrite), as_json=as_json)
    finish(close_demo(folder, stages, seconds), as_json=as_json)


def _stages(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> Iterator[Summary]:
    """Draw people, and do everything with them, skipping what is done; files of others stay."""
    _claim(folder, overwrite=overwrite)
    with stage_lock(folder, "demo"):
        if overwrite or not (folder / DEFAULT_NAME).is_file():
            write_text(folder / DEFAULT_NAME, _PROJECT)
        yield _draw(folder, overwrite=overwrite)
        project = load_project(folder).override(settings, by_key=True)
        yield from all_stages(project, overwrite=overwrite)
        yield _preview(project, overwrite=overwrite)


def close_demo(folder: Path, stages: Sequence[Summary], seconds: float) -> Summary:
    """Say how a demo went: what was learned, whether the bad videos were found, where to look.

    Args:
        folder: That of the demo.
        stages: How its stages ended.
        seconds: It took.
    """
    found, failures = _judge(stages)
    by_stage = {summary.stage: summary.data for summary in stages}
    report = by_stage["evaluate"]
    abilities = {"silent faces": report["who_is_speaking"], "sync": report["sync"]}
    for name, area in abilities.items():
        if area is None or area < TARGET_AUC:
            failures[name] = AsdtuneError(
                f"an AUC of {area}, where the demo should reach {TARGET_AUC:.0f}",
                where=report["page"],
                fix=f"if {DEFAULT_NAME} is as the demo wrote it, this is a bug: please report it",
            )
    look = {
        "report": report["page"],
        "preview": by_stage["preview"]["path"],
        "export": by_stage["export-config"]["output_dir"],
    }
    notes = [
        *(f"{how['stage']} rejected {video}: {how['problem']}" for video, how in found.items()),
        *([] if failures else ["everything works on this machine"]),
        "a score on drawn faces says nothing about real ones, which are far harder",
        f"look at how good it is: {look['report']}",
        f"look at who is speaking: {look['preview']}",
        f"look at what you would submit, of real people: {look['export']}",
    ]
    line = (
        f"silent faces {report['who_is_speaking']:.1f}, sync {report['sync']:.1f} (AUC, chance 50) "
        f"on {report['n_speakers']} drawn people it never saw, in {duration(seconds)} -> {folder}"
    )
    figures = {key: report[key] for key in ("who_is_speaking", "sync")}
    return Summary(
        "demo", line, {**figures, "bad_on_purpose": found, **look, "stages": by_stage},
        failures=failures, notes=notes, next_command="asdtune init my-project --language LANGUAGE",
    )  # fmt: skip


def _judge(
    stages: Sequence[Summary],
) -> tuple[dict[str, dict[str, str]], dict[str, AsdtuneError]]:
    """Tell the bad videos that were rejected, each with stage and problem, from real failures."""
    found: dict[str, dict[str, str]] = {}
    failures: dict[str, AsdtuneError] = {}
    for summary in stages:
        for name, error in {**summary.left_out, **summary.failures}.items():
            how = {"stage": summary.stage, "problem": error.problem}
            bad = [video.name for speaker, video in _BAD.items() if speaker in name]
            found |= {video: how for video in bad if video not in found}
            if name in summary.failures and not bad:
                failures[f"{summary.stage}: {name}"] = error
    for video in (each.name for each in _BAD.values()):
        if video not in found:
            failures[video] = AsdtuneError("bad on purpose, and no stage has rejected it")
    return found, failures


def _claim(folder: Path, *, overwrite: bool) -> None:
    """Mark a folder as the demo's, or refuse it before anything is written.

    Raises:
        UsageError: It holds other things.
        AsdtuneError: Another version of the demo has made it.
    """
    mark, ours = folder / HIDDEN_DIR / "demo.json", json.dumps({"version": _VERSION})
    if folder.exists() and not folder.is_dir():
        raise UsageError("this is a file, not a folder", where=folder, fix="name a new folder")
    if not mark.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            "the demo goes into a folder of its own, and this one holds other things",
            where=folder,
            fix="name a new folder: asdtune demo DIR",
        )
    if mark.is_file() and not overwrite and mark.read_text() != ours:
        raise AsdtuneError(
            "another version of asdtune has made this demo", where=folder,
            fix="add --overwrite to begin it anew, or name a new folder",
        )  # fmt: skip
    write_text(mark, ours)


def _draw(folder: Path, *, overwrite: bool) -> Summary:
    """Draw the videos that are not there yet."""
    import numpy as np

    from asdtune.core.synthetic.people import invent_person, write_talk

    videos, raw = _plan(), folder / "raw"
    missing = [i for i, each in enumerate(videos) if overwrite or not (raw / each.name).is_file()]
    with display() as drawn:
        if missing:
            drawn.say("no network is needed, nor a GPU; this takes a few minutes")
        for n_done, i in enumerate(missing, start=1):
            video, rng = videos[i], np.random.default_rng([0, 1, i])
            people = [invent_person(np.random.default_rng([0, 0, n])) for n in video.people]
            with whole_file(raw / video.name) as beside:
                write_talk(beside, people, seconds=video.seconds, rng=rng, silent=video.is_silent)
                if video.is_broken:
                    beside.write_bytes(beside.read_bytes()[: beside.stat().st_size // 2])
            drawn.show("drawing", n_done, len(missing))
    minutes = sum(video.seconds for video in videos) / 60
    line = (
        f"{len(missing)} of {len(videos)} videos drawn, {minutes:.1f} minutes of "
        f"{sum(_N_SPEAKERS.values())} people -> {raw}"
    )
    notes = [f"bad on purpose, to see what happens: {', '.join(_BAD)}"]
    return Summary("drawing", line, {"n_videos": len(videos), "written": len(missing)}, notes=notes)


def _plan() -> list[_Video]:
    """List the videos: one good one of every speaker, and the bad ones."""
    splits = [split for split, n in _N_SPEAKERS.items() for _ in range(n)]
    good = (_Video(f"{split}/speaker{i + 1:02d}/talk.mp4", (i,)) for i, split in enumerate(splits))
    return [*good, *_BAD.values()]


def _preview(project: Project, *, overwrite: bool) -> Summary:
    """Show who is speaking in the video of two people, unless that is done."""
    from asdtune.core.training.run_state import BEST

    paths, video = project.paths, project.paths.source / _BAD[_TWO_PEOPLE].name
    target = paths.preview_dir / f"{video.stem}_preview.mp4"
    made, best = target.with_suffix(".csv"), paths.exps_dir / BEST  # the CSV is written last
    is_done = made.is_file() and made.stat().st_mtime_ns >= best.stat().st_mtime_ns
    if is_done and target.is_file() and not overwrite:
        summary = Summary("preview", f"up to date -> {paths.preview_dir}", {"written": 0})
    else:
        summary = preview(project, [video])
    return replace(summary, data={**summary.data, "path": target.as_posix()})
