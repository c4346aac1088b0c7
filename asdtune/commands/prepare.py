"""Commands from videos to windows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asdtune.commands.command import Overwrite
from asdtune.console import Summary, display
from asdtune.core.corpus import Split
from asdtune.core.files import write_text
from asdtune.core.prepare.cluster import open_cluster
from asdtune.core.prepare.failures import keep_failures, read_failures
from asdtune.core.prepare.jobs import JobResult, Status
from asdtune.core.rates import seconds_of_frames
from asdtune.project import Project
from asdtune.settings import PathsTable, ProjectTable

if TYPE_CHECKING:
    from asdtune.core.prepare.splits import SplitResult

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="Folder with a folder per speaker, or with training/ validation/ test/; or a CSV "
        "path,speaker[,split][,audio_track].",
    ),
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Delete chunks of videos that are no longer in the source.")
]


def collect_chunk(
    project: Project, *, source: Source = None, overwrite: Overwrite = False, prune: Prune = False
) -> Summary:
    """Cut long videos into chunks, each speaker in one split.

    Out: videos/<split>/<speaker>/<speaker>_0000.mp4 at 25 frames per second with 16 kHz mono
    sound, and videos/chunks.csv.
    """
    from asdtune.core.prepare.chunks import collect_chunks

    project = project.override({"paths.source": source})
    paths, shared = project.paths, project.project
    with open_cluster(shared.scheduler, paths.source, paths.video_dir) as executor:
        results = collect_chunks(
            paths.source,
            paths.video_dir,
            **project.collect_chunk.model_dump(),
            seed=shared.seed,
            workers=shared.workers,
            overwrite=overwrite,
            prune=prune,
            audio_track=shared.audio_track,
            executor=executor,
        )
        summary, done = _batch("collect-chunk", results, "video", paths.video_dir, "crops")
    chunks = [chunk for result in done for chunk in result.details.get("chunks", [])]
    return replace(summary, tables=_speakers_tables(chunks))


def crops(project: Project, *, overwrite: Overwrite = False) -> Summary:
    """Cut the speaker's face out of every frame.

    In: videos at any frame rate, chunked or not. Out: at the same place below the other folder
    <clip>.npz with data (T, 112, 112) uint8 grey, 25 per second, boxes and detected.
    """
    from asdtune.core.prepare.crops import extract_crops

    paths, shared = project.paths, project.project
    with open_cluster(shared.scheduler, paths.video_dir, paths.face_crops_dir) as executor:
        results = extract_crops(
            paths.video_dir,
            paths.face_crops_dir,
            **project.crops.model_dump(),
            workers=shared.workers,
            overwrite=overwrite,
            executor=executor,
        )
        summary, _ = _batch("crops", results, "clip", paths.face_crops_dir, "mfcc")
    _forget_faces(paths.exps_dir)
    return summary


def mfcc(project: Project, *, overwrite: Overwrite = False) -> Summary:
    """Compute the MFCC of every video's sound.

    Out: at the same place below the other folder <clip>.npz with data (4T, 13) float32, 100 per
    second, and padded.
    """
    from asdtune.core.prepare.extract_mfccs import extract_mfccs

    paths, shared = project.paths, project.project
    with open_cluster(shared.scheduler, paths.video_dir, paths.mfccs_dir) as executor:
        results = extract_mfccs(
            paths.video_dir,
            paths.face_crops_dir,
            paths.mfccs_dir,
            workers=shared.workers,
            overwrite=overwrite,
            audio_track=shared.audio_track,
            executor=executor,
        )
        return _batch("mfcc", results, "clip", paths.mfccs_dir, "splits")[0]


def splits(project: Project, *, overwrite: Overwrite = False) -> Summary:
    """Draw positive and negative windows: one CSV per split, one row per window.

    Clips with several people or too few faces are left out, and named. report.json tells counts,
    silence, padding and motion per kind of window, and how well these alone tell it from positives.
    data.html shows every clip, its crops and its sound, and how many minutes are left out and why.
    """
    from asdtune.core.prepare.splits import make_splits

    paths, size = project.paths, project.project.window_size
    results: list[SplitResult] = []
    with display() as drawn:
        for result in make_splits(
            paths.face_crops_dir,
            paths.mfccs_dir,
            paths.splits_dir,
            window_size=size,
            seed=project.project.seed,
            overwrite=overwrite,
            **project.splits.of_windows,
        ):
            results.append(result)
            drawn.show("splits", len(results), len(Split), f"{result.report['n_windows']} windows")
    _write_data_page(paths, results)
    _forget_faces(paths.exps_dir)
    left_out = {name: error for result in results for name, error in result.left_out.items()}
    failures = {name: error for result in results for name, error in result.failed.items()}
    notes = [f"{result.split}: {note}" for result in results for note in result.notes]
    missing = {split.value for split in Split} - {result.split.value for result in results}
    if missing:
        notes.append(f"no clips in {' and '.join(sorted(missing))}: no CSV was written for it")
    counted = [f"{result.report['n_windows']} windows for {result.split}" for result in results]
    line = ", ".join(counted)
    if left_out:
        line += f"; {_counted(len(left_out), 'clip')} left out"
    if all(result.is_fresh for result in results):
        line += " (up to date)"
    is_other_size = size != ProjectTable().window_size
    return Summary(
        "splits",
        f"{line} -> {paths.splits_dir}",
        {str(each.split): {"path": each.path.as_posix(), **each.report} for each in results},
        tables=_splits_tables(results),
        failures=failures,
        left_out=left_out,
        notes=notes,
        next_command="asdtune train" + f" --window-size {size}" * is_other_size,
    )


def _write_data_page(paths: PathsTable, results: Sequence[SplitResult]) -> None:
    """Write the page of the data, unless that of these splits is there."""
    from asdtune.core.windows import DATA_HTML

    page = paths.splits_dir / DATA_HTML
    if page.is_file() and all(result.is_fresh for result in results):
        return
    from asdtune.core.evaluation.data_page import render_page

    stages = {
        "collect-chunk": paths.video_dir, "crops": paths.face_crops_dir, "mfcc": paths.mfccs_dir
    }  # fmt: skip
    text = render_page(
        {str(result.split): result.report for result in results},
        paths.face_crops_dir,
        paths.mfccs_dir,
        failed={stage: read_failures(folder) for stage, folder in stages.items()},
    )
    write_text(page, text)


def _forget_faces(exps_dir: Path) -> None:
    """Delete what an unfinished `train` keeps of faces if some of them are gone."""
    if any((exps_dir / name).is_dir() for name in ("features", "store")):  # else torch is not read
        from asdtune.core.training.feature_cache import remove_stale_features

        remove_stale_features(exps_dir)


def _splits_tables(results: Sequence[SplitResult]) -> list[list[list[str]]]:
    """Tell the windows of every kind and of every speaker."""
    kinds = [["split", "kind", "windows", "silence", "padding", "motion", "told by these"]]
    speakers = [["split", "speaker", "clips", "minutes", "windows"]]
    for result in results:
        split = str(result.split)
        for name, kind in result.report["kinds"].items():
            shares = (kind["silence_percent"], kind["padding_percent"])
            kinds.append([
                split, name, str(kind["n_windows"]),
                *("" if share is None else f"{share:.1f} %" for share in shares),
                "" if kind["motion"] is None else f"{kind['motion']:.1f}",
                "" if kind["shortcut_AUC"] is None else f"AUC {kind['shortcut_AUC']:.0f}",
            ])  # fmt: skip
        for name, speaker in result.report["speakers"].items():
            minutes, n_windows = f"{speaker['minutes']:.1f}", str(speaker["n_windows"])
            speakers.append([split, name, str(speaker["n_clips"]), minutes, n_windows])
    return [kinds, speakers]


def _speakers_tables(chunks: list[dict[str, Any]]) -> list[list[list[str]]]:
    """Tell how many speakers, chunks and minutes each split has."""
    total = sum(chunk["n_frames"] for chunk in chunks)
    table = [["split", "speakers", "chunks", "minutes", "share"]]
    for split in Split:
        of_split = [chunk for chunk in chunks if chunk["split"] == split.value]
        n_frames = sum(chunk["n_frames"] for chunk in of_split)
        n_speakers = len({chunk["speaker"] for chunk in of_split})
        minutes, share = f"{seconds_of_frames(n_frames) / 60:.1f}", n_frames / max(total, 1)
        table.append([split.value, str(n_speakers), str(len(of_split)), minutes, f"{share:.0%}"])
    return [table] if chunks else []


_NOT_WRITTEN = {  # in the closing line, in this order
    Status.FRESH: "up to date",
    Status.FOREIGN: "not made by asdtune and kept",
    Status.FAILED: "failed",
}


def _batch(
    stage: str, results: Iterable[JobResult], unit: str, output_dir: Path, next_stage: str
) -> tuple[Summary, list[JobResult]]:
    """Draw a batch as it goes and sum it up; give the results with it."""
    counts: Counter[Status] = Counter()
    done: list[JobResult] = []
    started = time.monotonic()
    n_frames = n_seen = 0
    with display() as drawn:
        for result in keep_failures(results, output_dir):
            done.append(result)
            counts[result.status] += 1
            n_seen += result.status not in (Status.LEFT_OVER, Status.PRUNED)
            n_frames += result.n_frames if result.status is Status.WRITTEN else 0
            speed = f"{n_frames / (time.monotonic() - started):.0f} frames/s"
            if counts[Status.FAILED]:
                speed += f", {counts[Status.FAILED]} failed"
            drawn.show(stage, n_seen, result.n_total, speed)
    seconds = time.monotonic() - started
    parts = [f"{_counted(counts[Status.WRITTEN], unit)} written"]
    parts += [f"{counts[each]} {what}" for each, what in _NOT_WRITTEN.items() if counts[each]]
    data = {
        **{status.value: counts[status] for status in Status if status is not Status.FAILED},
        "n_failed": counts[Status.FAILED],
        "n_frames": n_frames,
        "seconds": round(seconds, 2),
        "output_dir": output_dir.as_posix(),
    }
    summary = Summary(
        stage,
        f"{', '.join(parts)} -> {output_dir}",
        data,
        failures={each.name: each.error for each in _by_name(done) if each.error is not None},
        notes=_notes(done),
        next_command=f"asdtune {next_stage}" if n_seen > counts[Status.FAILED] else None,
    )
    return summary, done


def _notes(done: Iterable[JobResult]) -> list[str]:
    """Say what is odd about videos, and what becomes of chunks whose videos are gone."""
    notes = [
        f"{each.name}: {note}" for each in _by_name(done) for note in each.details.get("notes", [])
    ]
    left_over = [each.name for each in done if each.status is Status.LEFT_OVER]
    if left_over:
        notes.append(
            f"no longer in the source, but their chunks are still used: {', '.join(left_over)}; "
            "--prune deletes these chunks"
        )
    pruned = [
        f"{each.name} ({_counted(len(each.outputs), 'chunk')})"
        for each in _by_name(done)
        if each.status is Status.PRUNED
    ]
    if pruned:
        notes.append(
            f"deleted, for their videos are no longer in the source: {', '.join(pruned)}; "
            "crops, mfcc and splits will delete what they made of them"
        )
    return notes


def _by_name(results: Iterable[JobResult]) -> list[JobResult]:
    return sorted(results, key=lambda result: result.name)


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
