"""Long videos to chunks: the corpus is laid out by split and speaker.

In: a folder with one folder per speaker, or with `training/ validation/ test/` that hold such
folders, or a CSV `path,speaker[,split]` whose paths are relative to it. Out:
`videos/<split>/<speaker>/<speaker>_0000.mp4` ..., at most 20 s each, 25 frames per second, H.264,
16 kHz mono AAC; and `videos/chunks.csv` with what each chunk was cut from.

    for result in collect_chunks(Path("raw"), Path("videos"), chunk_seconds=20, ...):
        print(result.name, result.status)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdtune.core.files import write_json, write_text
from asdtune.core.prepare.batch import run_batch
from asdtune.core.prepare.chunk_plan import PROBES, STAGE, place_and_plan, probe_all
from asdtune.core.prepare.jobs import ClipResult, Outcome, Status, Work
from asdtune.core.prepare.leftovers import CHUNKS_CSV, left_over
from asdtune.core.prepare.records import RECORDS_DIR, stage_lock
from asdtune.core.prepare.sources import Source, check_apart, find_sources
from asdtune.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS, frames_of_seconds, seconds_of_frames
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import av

    from asdtune.core.prepare.mp4 import SoundQueue


_CRF = 18  # H.264 quality: no difference that an eye sees
_COLUMNS = ("clip", "split", "speaker", "source", "start_seconds", "n_frames")


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
) -> Iterator[ClipResult]:
    """Cut every source video into chunks, each speaker in one split.

    Args:
        source: A folder of videos or a CSV; see the module's docstring.
        video_dir: Where the chunks go.
        chunk_seconds: Longest chunk.
        min_chunk_seconds: A shorter remainder at the end of a video is dropped, and a shorter
            video refused.
        split_ratio: Shares of training, validation and test in the minutes of speech.
        seed: Decides which speaker goes where.
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
    with stage_lock(video_dir, STAGE):
        yield from _collect(
            sources,
            video_dir,
            chunk_frames=frames_of_seconds(chunk_seconds),
            min_chunk_frames=frames_of_seconds(min_chunk_seconds),
            split_ratio=split_ratio,
            seed=seed,
            workers=workers,
            overwrite=overwrite,
            prune=prune,
            audio_track=audio_track,
            executor=executor,
        )


def _collect(
    sources: Sequence[Source],
    video_dir: Path,
    *,
    chunk_frames: int,
    min_chunk_frames: int,
    split_ratio: Sequence[float],
    seed: int,
    workers: int,
    overwrite: bool,
    prune: bool,
    audio_track: int | None,
    executor: Executor | None,
) -> Iterator[ClipResult]:
    records = video_dir / RECORDS_DIR / STAGE
    probes = probe_all(sources, records / PROBES, min_chunk_frames)
    for bad in sources:
        if (error := probes[bad.name].error) is not None:
            yield ClipResult(bad.name, Status.FAILED, error=error, n_total=len(sources))
    good = [item for item in sources if probes[item.name].error is None]
    if not good:
        return
    track = {} if audio_track is None else {"audio_track": audio_track}
    n_frames_of = {item.name: probes[item.name].n_frames for item in good}
    placed, works = place_and_plan(
        good,
        n_frames_of,
        video_dir,
        chunk_frames=chunk_frames,
        min_chunk_frames=min_chunk_frames,
        split_ratio=split_ratio,
        seed=seed,
        prune=prune,
    )
    for work in works:
        work.settings.update(track)
    write_json(
        records / "assignment.json",
        {
            "seed": seed,
            "split_ratio": list(split_ratio),
            "speakers": {item.speaker: str(item.split) for item in placed},
        },
    )
    rows: list[dict[str, Any]] = []
    for result in run_batch(
        chunk_video,
        works,
        stage=STAGE,
        output_dir=video_dir,
        workers=workers,
        overwrite=overwrite,
        executor=executor,
    ):
        rows += result.details.get("chunks", [])
        of_all = _refused(result) if result.status is Status.FOREIGN else result
        yield replace(of_all, n_total=len(sources))
    for result in left_over(video_dir, STAGE, works, prune=prune):
        rows += result.details.get("chunks", [])
        yield replace(result, n_total=len(sources))
    write_text(video_dir / CHUNKS_CSV, _csv_text(rows))


def chunk_video(work: Work) -> Outcome:
    """Cut one source video into its chunks (the batch engine's task)."""
    from asdtune.core.prepare.media import largest_size, read_audio, read_frames
    from asdtune.core.prepare.mp4 import SoundQueue

    notes: list[str] = []
    frames = read_frames(work.source, notes=notes)
    track = work.settings.get("audio_track")
    sound = SoundQueue(read_audio(work.source, track=track, notes=notes))
    size = largest_size(work.source)
    written: list[Path] = []
    chunks: list[dict[str, Any]] = []
    for i_chunk, target in enumerate(work.targets):
        first = next(frames, None)
        if first is None:
            break
        rest = islice(frames, work.settings["chunk_frames"] - 1)
        n_frames = _write_chunk(target, chain([first], rest), first, sound, size)
        written.append(target)
        start = i_chunk * work.settings["chunk_frames"]
        chunks.append(
            {
                "clip": target.stem,
                "split": work.settings["split"],
                "speaker": work.settings["speaker"],
                "source": work.name,
                "start_seconds": seconds_of_frames(start),
                "n_frames": n_frames,
            }
        )
    for _ in frames:  # the remainder that is too short for a chunk: still read, to find damage
        pass
    n_frames = sum(chunk["n_frames"] for chunk in chunks)
    return Outcome(tuple(written), n_frames, {"chunks": chunks, "notes": notes})


def _write_chunk(
    target: Path,
    frames: Iterator[av.VideoFrame],
    first: av.VideoFrame,
    sound: SoundQueue,
    size: tuple[int, int] | None,
) -> int:
    from asdtune.core.prepare.mp4 import write_chunk

    with write_chunk(target, first, crf=_CRF, size=size) as writer:
        for frame in frames:
            writer.write_frame(frame)
            if writer.n_frames % VIDEO_FPS == 0:  # a second of pictures, a second of sound
                writer.write_samples(sound.take(VIDEO_FPS * SAMPLES_PER_FRAME))
        n_left = writer.n_frames % VIDEO_FPS
        writer.write_samples(sound.take(n_left * SAMPLES_PER_FRAME))
        return writer.n_frames


def _refused(result: ClipResult) -> ClipResult:
    error = AsdtuneError(
        "a chunk of this name is there already, and collect-chunk did not make it",
        where=result.outputs[0],
        fix="give another --video-dir, or --overwrite to replace it",
    )
    return ClipResult(result.name, Status.FAILED, error=error)


def _csv_text(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (row["split"], row["speaker"], row["clip"])))
    return text.getvalue()
