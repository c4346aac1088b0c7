"""The whole way on drawn people: their videos, a project file, and every stage run on them.

In: nothing. Out: a folder with `raw/<split>/<speaker>/*.mp4`, three of which are bad on purpose,
the project file `asdtune.toml`, and all that the stages make of them. `.asdtune/demo.json` marks
the folder as the demo's.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from asdtune.commands.command import AsJson
from asdtune.commands.evaluate import preview
from asdtune.commands.run import all_stages, data_of, follow, seconds_of
from asdtune.console import Summary, display, duration, finish
from asdtune.core.corpus import Split
from asdtune.core.files import whole_file, write_json, write_text
from asdtune.core.locks import HIDDEN_DIR, stage_lock
from asdtune.core.prepare.chunk_table import CHUNKS_CSV
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import DEFAULT_NAME, Project, load_project

TARGET_AUC = 90.0  # of each ability on the test speakers, in percent; chance gives 50

_VERSION = 2  # raise it when the demo begins to draw other videos, or to write another project file
_N_SPEAKERS = {Split.TRAINING: 12, Split.VALIDATION: 2, Split.TEST: 6}  # intervals need six
_SECONDS = 12.0  # two chunks: the sound of a speaker's other clip is a kind of negative
_ON_PURPOSE = "_on_purpose"  # what the bad videos' names end in
_PROJECT = """\
# Written by asdtune demo; asdtune init writes a file with all settings there are.

[project]
language = "latin"        # the folder to submit needs one
window_size = 25
seed = {seed}

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


@dataclass(frozen=True)
class _Video:
    """A video that is to be drawn.

    Attributes:
        name: Its path below `raw`.
        people: The numbers of those whom it shows.
        seconds: Its length.
        is_silent: It has digital silence for sound.
        is_broken: The second half of the file is missing.
    """

    name: str
    people: tuple[int, ...]
    seconds: float = _SECONDS
    is_silent: bool = False
    is_broken: bool = False


Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A new folder, an empty one, or that of an earlier demo."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew, in a folder that demo has made.")
]


def demo_command(
    folder: Folder = Path("asdtune-demo"), overwrite: Overwrite = False, as_json: AsJson = False
) -> None:
    """Go the whole way on drawn people who talk: no videos, no network, no GPU needed.

    Draws 23 videos of 20 speakers, three of them bad on purpose, and takes them through all stages
    to a network that tells who speaks on faces it never saw, its report, a preview, and a folder to
    submit. Takes minutes on two cores. Exits with 0 if it has learned and only the bad ones failed.
    """
    done = follow(demo(folder, overwrite=overwrite), as_json=as_json)
    closing = close_demo(folder, [summary for summary, _ in done], seconds_of(done))
    finish(replace(closing, data={**closing.data, **data_of(done)}), as_json=as_json)


def demo(folder: Path, *, overwrite: bool, seed: int = 0) -> Iterator[Summary]:
    """Draw people, and do everything with them, skipping what is done.

    Args:
        folder: Where it all goes: an empty folder, a new one, or that of an earlier demo.
        overwrite: Do again what is done. Files that the demo did not write stay.
        seed: Decides who is drawn and what they say, and everything else.

    Yields:
        How each stage ended.

    Raises:
        AsdtuneError: The folder holds other things, or an older demo.
    """
    _claim(folder, overwrite=overwrite)
    with stage_lock(folder, "demo"):
        project_path = folder / DEFAULT_NAME
        if overwrite or not project_path.is_file():
            write_text(project_path, _PROJECT.format(seed=seed))
        yield _draw(folder, overwrite=overwrite, seed=seed)
        project = load_project(project_path)
        for summary in all_stages(project, overwrite=overwrite):
            yield _explained(summary, folder)
        yield _preview(project, overwrite=overwrite)


def close_demo(folder: Path, stages: Sequence[Summary], seconds: float) -> Summary:
    """Say how a demo went: what was learned, whether the bad videos were found, where to look.

    Args:
        folder: That of the demo.
        stages: All that `demo` has yielded.
        seconds: It took.
    """
    found, failures = _judge(folder, stages)
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
    notes = [f"{how[0]} found out {video}: {how[1]}" for video, how in found.items()]
    notes += [
        *([] if failures else ["all works on this machine"]),
        "a score on drawn faces says nothing about real ones, which are far harder",
        f"look at how good it is: {look['report']}",
        f"look at who is speaking: {look['preview']}",
        f"look at what you would submit, of real people: {look['export']}",
    ]
    line = (
        f"silent faces {report['who_is_speaking']:.1f}, sync {report['sync']:.1f} (AUC, chance 50) "
        f"on {report['n_speakers']} drawn people it never saw, in {duration(seconds)} -> {folder}"
    )
    known = {video: {"stage": how[0], "problem": how[1]} for video, how in found.items()}
    figures = {key: report[key] for key in ("who_is_speaking", "sync")}
    return Summary(
        "demo", line, {**figures, "bad_on_purpose": known, **look},
        failures=failures, notes=notes, next_command="asdtune init my-project --language LANGUAGE",
    )  # fmt: skip


def is_demo(folder: Path) -> bool:
    """Tell whether a folder is that of a demo."""
    return _mark(folder).is_file()


def _mark(folder: Path) -> Path:
    return folder / HIDDEN_DIR / "demo.json"


def _judge(
    folder: Path, stages: Sequence[Summary]
) -> tuple[dict[str, tuple[str, str]], dict[str, AsdtuneError]]:
    """Tell the bad videos that were found out, each with stage and problem, from real failures."""
    bad = _bad_clips(folder)
    found: dict[str, tuple[str, str]] = {}
    failures: dict[str, AsdtuneError] = {}
    for summary in stages:
        for name, error in {**summary.left_out, **summary.failures}.items():
            if (video := bad.get(_stem(name))) is not None:
                found.setdefault(video, (summary.stage, error.problem))
            elif name in summary.failures:
                failures[f"{summary.stage}: {name}"] = error
    for video in sorted(set(bad.values()) - found.keys()):
        failures[video] = AsdtuneError("bad on purpose, and no stage has found that out")
    return found, failures


def _claim(folder: Path, *, overwrite: bool) -> None:
    """Mark a folder as the demo's, or refuse it before anything is written.

    Raises:
        UsageError: It holds other things.
        AsdtuneError: Another version of the demo has made it.
    """
    mark = _mark(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError("this is a file, not a folder", where=folder, fix="name a new folder")
    if mark.is_file():
        try:
            known = json.loads(mark.read_bytes())
        except ValueError:
            known = None
        if known != {"version": _VERSION} and not overwrite:
            raise AsdtuneError(
                "another version of asdtune has made this demo", where=folder,
                fix="add --overwrite to begin it anew, or name a new folder",
            )  # fmt: skip
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            "the demo goes into a folder of its own, and this one holds other things",
            where=folder,
            fix="name a new folder: asdtune demo DIR",
        )
    write_json(mark, {"version": _VERSION})


def _draw(folder: Path, *, overwrite: bool, seed: int) -> Summary:
    """Draw the videos that are not there yet."""
    import numpy as np

    from asdtune.core.synthetic.people import invent_person, write_talk

    videos = _plan()
    missing = [
        (i, video)
        for i, video in enumerate(videos)
        if overwrite or not (folder / "raw" / video.name).is_file()
    ]
    with display() as drawn:
        if missing:
            drawn.say("no network is needed, nor a GPU; this takes a few minutes")
        for n_done, (i, video) in enumerate(missing, start=1):
            people = [invent_person(np.random.default_rng([seed, 0, n])) for n in video.people]
            with whole_file(folder / "raw" / video.name) as beside:
                write_talk(
                    beside,
                    people,
                    seconds=video.seconds,
                    rng=np.random.default_rng([seed, 1, i]),
                    silent=video.is_silent,
                )
                if video.is_broken:
                    beside.write_bytes(beside.read_bytes()[: beside.stat().st_size // 2])
            drawn.show("drawing", n_done, len(missing))
    bad = [video.name for video in videos if _ON_PURPOSE in video.name]
    minutes = sum(video.seconds for video in videos) / 60
    line = (
        f"{len(missing)} of {len(videos)} videos drawn, {minutes:.1f} minutes of "
        f"{sum(_N_SPEAKERS.values())} speakers -> {folder / 'raw'}"
    )
    notes = [f"bad on purpose, to see what happens: {', '.join(bad)}"]
    return Summary("drawing", line, {"n_videos": len(videos), "written": len(missing)}, notes=notes)


def _plan() -> list[_Video]:
    """List the videos: one good one of every speaker, and the bad ones."""
    splits = [split for split, n in _N_SPEAKERS.items() for _ in range(n)]
    good = [_Video(f"{split}/{_speaker(i)}/talk.mp4", (i,)) for i, split in enumerate(splits)]
    broken = _Video(_bad_name(0, "broken"), (0,), is_broken=True)
    silent = _Video(_bad_name(1, "silent"), (1,), seconds=6.0, is_silent=True)
    return [*good, broken, silent, _two_people()]


def _two_people() -> _Video:
    return _Video(_bad_name(2, "two_people"), (2, sum(_N_SPEAKERS.values())))  # one is a guest


def _bad_name(speaker: int, what: str) -> str:
    return f"{Split.TRAINING}/{_speaker(speaker)}/{what}{_ON_PURPOSE}.mp4"


def _speaker(number: int) -> str:
    return f"speaker{number + 1:02d}"


def _preview(project: Project, *, overwrite: bool) -> Summary:
    """Show who is speaking in the video of two people, unless that is done."""
    from asdtune.core.evaluation.reports import REPORT_JSON
    from asdtune.core.training.run_state import BEST

    paths, video = project.paths, project.paths.source / _two_people().name
    made = paths.preview_dir / f"{video.stem}_preview.csv"  # which is written last
    of = (video, paths.exps_dir / BEST, paths.report_dir / REPORT_JSON)
    is_fresh = made.is_file() and all(
        made.stat().st_mtime_ns >= path.stat().st_mtime_ns for path in of
    )
    target = made.with_suffix(".mp4")
    if is_fresh and target.is_file() and not overwrite:
        summary = Summary("preview", f"nothing to do -> {paths.preview_dir}", {"written": 0})
    else:
        summary = preview(project, [video])
    return replace(summary, data={**summary.data, "path": target.as_posix()})


def _explained(summary: Summary, folder: Path) -> Summary:
    """Say of what failed, or was left out, that it is bad on purpose; one table is enough."""
    bad = _bad_clips(folder)
    names = [name for name in (*summary.left_out, *summary.failures) if _stem(name) in bad]
    notes = [
        f"on purpose: {name}"
        + (f", which is {video}" if (video := bad[_stem(name)]) != name else "")
        for name in names
    ]
    return replace(summary, notes=[*summary.notes, *notes], tables=summary.tables[:1])


def _bad_clips(folder: Path) -> dict[str, str]:
    """Give the bad videos by the stems of their own names and of their chunks."""
    bad = {video.name for video in _plan() if _ON_PURPOSE in video.name}
    known = {_stem(name): name for name in bad}
    try:
        with (folder / "videos" / CHUNKS_CSV).open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    except FileNotFoundError:
        rows = []
    for row in rows:
        if Path(row["source"]).as_posix() in bad:
            known[f"{row['split']}/{row['speaker']}/{row['clip']}"] = Path(row["source"]).as_posix()
    return known


def _stem(name: str) -> str:
    """Take the suffix from a path below a folder."""
    return Path(name).with_suffix("").as_posix()
