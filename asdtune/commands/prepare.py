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
from asdtune.core.prepare.cluster import open_cluster
from asdtune.core.prepare.failures import keep_failures
from asdtune.core.prepare.jobs import JobResult, Status
from asdtune.core.rates import seconds_of_frames
from asdtune.errors import AsdtuneError
from asdtune.project import Project

if TYPE_CHECKING:
    from asdtune.core.prepare.windows import SplitResult

_DEFAULT_SIZE = Project().project.window_size
_PARTS_OF_A_CLIP = 3  # <split>/<speaker>/<clip>


Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="Folder with a folder per speaker, or with training/ validation/ test/; or a CSV "
        "path,speaker[,split].",
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
    paths, settings = project.paths, project.collect_chunk
    with open_cluster(project.project.scheduler, paths.source, paths.video_dir) as executor:
        results = collect_chunks(
            paths.source,
            paths.video_dir,
            chunk_seconds=settings.chunk_seconds,
            min_chunk_seconds=settings.min_chunk_seconds,
            split_ratio=settings.split_ratio,
            seed=project.project.seed,
            workers=project.project.workers,
            overwrite=overwrite,
            prune=prune,
            audio_track=project.project.audio_track,
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

    paths, settings = project.paths, project.crops
    with open_cluster(project.project.scheduler, paths.video_dir, paths.face_crops_dir) as executor:
        results = extract_crops(
            paths.video_dir,
            paths.face_crops_dir,
            detector=settings.detector,
            detector_model=settings.detector_model,
            detection_size=settings.detection_size,
            min_score=settings.min_score,
            detect_every=settings.detect_every,
            max_gap_frames=settings.max_gap_frames,
            workers=project.project.workers,
            overwrite=overwrite,
            executor=executor,
        )
        summary, done = _batch("crops", results, "clip", paths.face_crops_dir, "mfcc")
    if project.splits.all_clips:
        return summary
    return replace(summary, notes=[*summary.notes, *_unfit_notes(done)])


def mfcc(project: Project, *, overwrite: Overwrite = False) -> Summary:
    """Compute the MFCC of every video's sound.

    Out: at the same place below the other folder <clip>.npz with data (4T, 13) float32, 100 per
    second, and padded.
    """
    from asdtune.core.prepare.mfcc import extract_mfccs

    paths = project.paths
    with open_cluster(project.project.scheduler, paths.video_dir, paths.mfccs_dir) as executor:
        results = extract_mfccs(
            paths.video_dir,
            paths.face_crops_dir,
            paths.mfccs_dir,
            workers=project.project.workers,
            overwrite=overwrite,
            audio_track=project.project.audio_track,
            executor=executor,
        )
        summary, done = _batch("mfcc", results, "clip", paths.mfccs_dir, "splits")
    is_laid_out = all(len(Path(result.name).parts) == _PARTS_OF_A_CLIP for result in done)
    if is_laid_out or summary.next_command is None:  # or nothing was done
        return summary
    note = (
        "these are not laid out as <split>/<speaker>/<clip>, as splits wants them; "
        "collect-chunk lays videos out so"
    )
    return replace(summary, notes=[*summary.notes, note], next_command=None)


def splits(project: Project, *, overwrite: Overwrite = False) -> Summary:
    """Draw positive and negative windows: one CSV per split, one row per window.

    Clips with several people or too few faces are left out, and named. report.json tells counts,
    silence, padding and motion per kind of window, and how well these alone tell it from positives.
    """
    from asdtune.core.prepare.windows import make_splits

    paths = project.paths
    results: list[SplitResult] = []
    with display() as drawn:
        for result in make_splits(
            paths.face_crops_dir,
            paths.mfccs_dir,
            paths.splits_dir,
            window_size=project.project.window_size,
            seed=project.project.seed,
            overwrite=overwrite,
            **project.splits.of_windows,
        ):
            results.append(result)
            drawn.show("splits", len(results), len(Split), f"{result.report['n_windows']} windows")
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
        line += " (nothing to do)"
    size = project.project.window_size
    return Summary(
        "splits",
        f"{line} -> {paths.splits_dir}",
        {
            str(result.split): {"path": result.path.as_posix(), **result.report}
            for result in results
        },
        tables=_splits_tables(results),
        failures=failures,
        left_out=left_out,
        notes=notes,
        next_command="asdtune train" + f" --window-size {size}" * (size != _DEFAULT_SIZE),
    )


def _splits_tables(results: Sequence[SplitResult]) -> list[list[list[str]]]:
    """Tell the windows of every kind and of every speaker."""
    kinds = [["split", "kind", "windows", "silence", "padding", "motion", "told by these"]]
    speakers = [["split", "speaker", "clips", "minutes", "windows"]]
    for result in results:
        for name, kind in result.report["kinds"].items():
            kinds.append(
                [
                    str(result.split),
                    name,
                    str(kind["n_windows"]),
                    _percent(kind["silence_percent"]),
                    _percent(kind["padding_percent"]),
                    "" if kind["motion"] is None else f"{kind['motion']:.1f}",
                    "" if kind["shortcut_AUC"] is None else f"AUC {kind['shortcut_AUC']:.0f}",
                ]
            )
        for name, speaker in result.report["speakers"].items():
            speakers.append(
                [
                    str(result.split),
                    name,
                    str(speaker["n_clips"]),
                    f"{speaker['minutes']:.1f}",
                    str(speaker["n_windows"]),
                ]
            )
    return [kinds, speakers]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"


def _unfit_notes(results: Iterable[JobResult]) -> list[str]:
    """Name the clips that splits will leave out, with the reason."""
    from asdtune.core.prepare.quality import why_unfit

    notes = []
    for result in results:
        if "n_frames_of_speaker" in result.details:
            problem = why_unfit(
                n_frames=result.details["n_frames"],
                n_several=result.details["n_frames_with_several_faces"],
                n_speaker=result.details["n_frames_of_speaker"],
            )
            if problem is not None:
                notes.append(f"{result.name} has {problem}; splits leaves it out")
    return sorted(notes)


def _speakers_tables(chunks: list[dict[str, Any]]) -> list[list[list[str]]]:
    """Tell how many speakers, chunks and minutes each split has."""
    total = sum(chunk["n_frames"] for chunk in chunks)
    table = [["split", "speakers", "chunks", "minutes", "share"]]
    for split in Split:
        of_split = [chunk for chunk in chunks if chunk["split"] == split.value]
        n_frames = sum(chunk["n_frames"] for chunk in of_split)
        table.append(
            [
                split.value,
                str(len({chunk["speaker"] for chunk in of_split})),
                str(len(of_split)),
                f"{seconds_of_frames(n_frames) / 60:.1f}",
                f"{n_frames / max(total, 1):.0%}",
            ]
        )
    return [table] if chunks else []


def _batch(
    stage: str, results: Iterable[JobResult], unit: str, output_dir: Path, next_stage: str
) -> tuple[Summary, list[JobResult]]:
    """Draw a batch as it goes and sum it up; give the results with it."""
    counts: Counter[Status] = Counter()
    failures: dict[str, AsdtuneError] = {}
    left_over: list[str] = []
    pruned: list[str] = []
    done: list[JobResult] = []
    started = time.monotonic()
    n_frames = n_seen = 0
    with display() as drawn:
        for result in keep_failures(results, output_dir):
            done.append(result)
            counts[result.status] += 1
            n_seen += result.status not in (Status.LEFT_OVER, Status.PRUNED)
            if result.status is Status.WRITTEN:
                n_frames += result.n_frames
            elif result.status is Status.LEFT_OVER:
                left_over.append(result.name)
            elif result.status is Status.PRUNED:
                pruned.append(f"{result.name} ({_counted(len(result.outputs), 'chunk')})")
            if result.error is not None:
                failures[result.name] = result.error
            speed = f"{n_frames / (time.monotonic() - started):.0f} frames/s"
            if failures:
                speed += f", {len(failures)} failed"
            drawn.show(stage, n_seen, result.n_total, speed)
    seconds = time.monotonic() - started
    parts = [f"{_counted(counts[Status.WRITTEN], unit)} written"]
    if counts[Status.FRESH]:
        parts.append(f"{counts[Status.FRESH]} done before")
    if counts[Status.FOREIGN]:
        parts.append(f"{counts[Status.FOREIGN]} not made by asdtune and kept")
    if counts[Status.FAILED]:
        parts.append(f"{counts[Status.FAILED]} failed")
    notes = [
        f"{result.name}: {note}"
        for result in sorted(done, key=lambda result: result.name)
        for note in result.details.get("notes", [])
    ]
    if left_over:
        notes.append(
            f"no longer in the source, but their chunks are still used: {', '.join(left_over)}; "
            "--prune deletes these chunks"
        )
    if pruned:
        notes.append(
            f"deleted, for their videos are no longer in the source: {', '.join(sorted(pruned))}; "
            "the commands that follow take away what they made of them"
        )
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
        failures=dict(sorted(failures.items())),
        notes=notes,
        next_command=f"asdtune {next_stage}" if n_seen > counts[Status.FAILED] else None,
    )
    return summary, done


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
