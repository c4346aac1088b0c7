"""Long videos to chunks: the corpus is laid out by split and speaker.

In: a folder with one folder per speaker, or with `training/ validation/ test/` that hold such
folders, or a CSV `path,speaker[,split][,audio_track]` whose paths are relative to it. Out:
`videos/<split>/<speaker>/<speaker>_0000.mp4` ..., at most 20 s each, 25 frames per second, H.264,
16 kHz mono AAC; `videos/chunks.csv` with what each chunk was cut from; and `videos/speakers.csv`
with the split of every speaker, in which they stay.

    for result in collect_chunks(Path("raw"), Path("videos"), chunk_seconds=20, ...):
        print(result.name, result.status)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from asdtune.core.files import content_hash, delete_empty_folders
from asdtune.core.locks import stage_lock
from asdtune.core.prepare.batch import run_batch
from asdtune.core.prepare.chunk_plan import (
    Cutting,
    count_frames_of,
    follow_renames,
    is_up_to_date,
    place_speakers,
    plan_jobs,
)
from asdtune.core.prepare.chunk_table import ChunkTable, Row, write_speakers
from asdtune.core.prepare.jobs import Job, JobResult, Status, failed
from asdtune.core.prepare.sources import Source, check_apart, find_sources
from asdtune.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS, seconds_of_frames
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import av

    from asdtune.core.prepare.chunk_writer import SoundQueue

STAGE = "collect-chunk"
_SECONDS_BETWEEN_TABLES = 1.0  # a killed run cuts again what is not yet in the table
_CRF = 18  # H.264 quality: no difference that an eye sees


def collect_chunks(
    source: Path,
    video_dir: Path,
    *,
    chunk_seconds: float,
    min_chunk_seconds: float,
    split_ratio: Sequence[float],
    seed: int,
    workers: int,
    overwrite: bool,
    prune: bool,
    audio_track: int | None = None,
    executor: Executor | None = None,
) -> Iterator[JobResult]:
    """Cut every source video into chunks, each speaker in one split.

    Args:
        source: A folder of videos or a CSV; see the module's docstring.
        video_dir: Where the chunks go.
        chunk_seconds: Longest chunk.
        min_chunk_seconds: A shorter remainder of a video is dropped, and a shorter video refused.
        split_ratio: Shares of training, validation and test in the minutes of speech.
        seed: Decides, with the ratio, in which split a new speaker is.
        workers: Processes; 0 for one per core.
        overwrite: Cut all chunks again.
        prune: Delete the chunks of videos that are no longer in the source.
        audio_track: Number of the audio track, from 1, of videos with several; None to choose.
        executor: Runs the work instead of local processes.

    Yields:
        One result per source video, as they come.

    Raises:
        AsdtuneError: There are no videos, or they cannot be divided among splits.
    """
    check_apart(source, video_dir)
    sources = find_sources(source)
    cutting = Cutting(chunk_seconds, min_chunk_seconds, audio_track)
    with stage_lock(video_dir, STAGE):
        table = ChunkTable(video_dir)
        paths = table.paths(*table.rows_of)
        follow_renames(table, sources)
        for name in sorted(table.rows_of.keys() - {item.name for item in sources}):
            yield _left_over(name, table, prune=prune)
        frames_of: dict[str, int] = {}
        for item in sources:
            result = _count(item, frames_of, table, cutting)
            if result is not None:
                yield replace(result, n_total=len(sources))
        good = [item for item in sources if item.name in frames_of]
        split_of = place_speakers(
            good, frames_of, table, cutting, split_ratio=split_ratio, seed=seed
        )
        write_speakers(video_dir, split_of)
        todo: list[Job] = []
        for job in plan_jobs(good, frames_of, split_of, table, cutting):
            result = None if overwrite else _earlier(job, table)
            if result is None:
                todo.append(job)
                table.rows_of[job.name] = _begun(job, table)
            else:
                yield replace(result, n_total=len(sources))
        paths += table.paths(*table.rows_of)
        table.write()  # before any is cut, so that all there are stand in it
        written_at = time.monotonic()
        try:
            for result in run_batch(
                chunk_video, todo, stage=STAGE, output_dir=video_dir, workers=workers,
                overwrite=True, executor=executor,
            ):  # fmt: skip
                table.replace(result.name, result.details.get("chunks", []))
                if time.monotonic() - written_at > _SECONDS_BETWEEN_TABLES:
                    table.write()
                    written_at = time.monotonic()
                yield replace(result, n_total=len(sources))
        finally:
            table.write()
        delete_empty_folders(paths, video_dir)


def chunk_video(job: Job) -> JobResult:
    """Cut one source video into its chunks (the batch engine's task)."""
    from asdtune.core.prepare.chunk_writer import SoundQueue
    from asdtune.core.prepare.media import largest_size, read_audio, read_frames

    notes: list[str] = []
    frames = read_frames(job.source, notes=notes)
    track = job.settings.get("audio_track")
    sound = SoundQueue(read_audio(job.source, track=track, notes=notes))
    size = largest_size(job.source)
    chunk_frames = job.settings["chunk_frames"]
    rows: list[Row] = []
    for i_chunk, target in enumerate(job.targets):
        first = next(frames, None)
        if first is None:
            break
        rest = islice(frames, chunk_frames - 1)
        n_frames = _write_chunk(target, chain([first], rest), first, sound, size)
        start = seconds_of_frames(i_chunk * chunk_frames)
        rows.append({**_row_of(job, target), "start_seconds": start, "n_frames": n_frames})
    for _ in frames:  # the remainder that is too short for a chunk: still read, to find damage
        pass
    made_of = {
        "settings": job.settings,
        "source_frames": job.resources["source_frames"],
        "source_bytes": job.source.stat().st_size,
        "source_blake2b": content_hash(job.source),
    }
    return JobResult(
        job.name,
        Status.WRITTEN,
        sum(row["n_frames"] for row in rows),
        job.targets[: len(rows)],
        {"chunks": [{**row, **made_of} for row in rows], "notes": notes},
    )


def _write_chunk(
    target: Path,
    frames: Iterator[av.VideoFrame],
    first: av.VideoFrame,
    sound: SoundQueue,
    size: tuple[int, int] | None,
) -> int:
    from asdtune.core.prepare.chunk_writer import write_chunk

    with write_chunk(target, first, crf=_CRF, size=size) as writer:
        for frame in frames:
            writer.write_frame(frame)
            if writer.n_frames % VIDEO_FPS == 0:  # a second of pictures, a second of sound
                writer.write_samples(sound.take(VIDEO_FPS * SAMPLES_PER_FRAME))
        n_left = writer.n_frames % VIDEO_FPS
        writer.write_samples(sound.take(n_left * SAMPLES_PER_FRAME))
        return writer.n_frames


def _left_over(name: str, table: ChunkTable, *, prune: bool) -> JobResult:
    """Tell of the chunks of a video that is no longer there, or delete them."""
    paths, details = tuple(table.paths(name)), {"chunks": table.rows_of[name]}
    if not prune:
        return JobResult(name, Status.LEFT_OVER, outputs=paths, details=details)
    table.replace(name)
    table.write()
    return JobResult(name, Status.PRUNED, outputs=paths)


def _count(
    item: Source, frames_of: dict[str, int], table: ChunkTable, cutting: Cutting
) -> JobResult | None:
    """Count the frames of a video into `frames_of`; give a result if it cannot be cut.

    What was cut of it before stays if it does not open this time.
    """
    try:
        n_frames = count_frames_of(item, table, cutting)
    except (AsdtuneError, OSError) as error:
        details = {"chunks": table.rows_of.get(item.name, [])}
        return replace(failed(item.name, item.path, error), details=details)
    if n_frames >= cutting.min_frames:
        frames_of[item.name] = n_frames
        return None
    table.replace(item.name)
    too_short = AsdtuneError(
        f"only {seconds_of_frames(n_frames):.2f} s long; a chunk needs "
        f"{seconds_of_frames(cutting.min_frames):.2f} s",
        fix="delete it from the folder, or lower --min-chunk-seconds",
    )
    return failed(item.name, item.path, too_short)


def _earlier(job: Job, table: ChunkTable) -> JobResult | None:
    """Say why a video is not to be cut: its chunks are up to date, or others are in their place."""
    ours = table.paths(job.name)
    if is_up_to_date(job, table):
        details = {"chunks": table.rows_of[job.name]}
        return JobResult(job.name, Status.FRESH, outputs=tuple(ours), details=details)
    for target in job.targets:
        if target not in ours and target.exists():
            error = AsdtuneError(
                "a chunk of this name is there already, and collect-chunk did not make it",
                where=target,
                fix="give another --video-dir, or --overwrite to replace it",
            )
            return failed(job.name, target, error)
    return None


def _begun(job: Job, table: ChunkTable) -> list[Row]:
    """Give the rows of a video that is being cut: of what is there now, and of what is to be."""
    paths = dict.fromkeys([*table.paths(job.name), *job.targets])
    return [{**_row_of(job, path), "settings": None} for path in paths]


def _row_of(job: Job, path: Path) -> Row:
    split, speaker, _ = path.parts[-3:]
    return {"clip": path.stem, "split": split, "speaker": speaker, "source": job.name}
