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
import json
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdtune.core.corpus import Split
from asdtune.core.files import write_json, write_text
from asdtune.core.prepare.batch import (
    CHUNKS_CSV,
    ClipResult,
    Outcome,
    Status,
    Work,
    kept_outputs,
    left_over,
    run_batch,
)
from asdtune.core.prepare.records import RECORDS_DIR, size_and_time, stage_lock
from asdtune.core.prepare.sources import Source, assign_splits, check_apart, find_sources
from asdtune.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS, frames_of_seconds, seconds_of_frames
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    import av

    from asdtune.core.prepare.mp4 import SoundQueue


STAGE = "collect-chunk"
_PROBES = "probes.json"  # the lengths of the sources
_VERSION = 1  # raise it when the same settings begin to give other chunks
_CRF = 18  # H.264 quality: no difference that an eye sees
_COLUMNS = ("clip", "split", "speaker", "source", "start_seconds", "n_frames")


@dataclass(frozen=True)
class _Probe:
    """What is known of a source before it is decoded: its frames at 25 per second."""

    n_frames: int = 0
    error: AsdtuneError | None = None


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
    executor: Executor | None,
) -> Iterator[ClipResult]:
    records = video_dir / RECORDS_DIR / STAGE
    probes = _probe_all(sources, records / _PROBES, min_chunk_frames)
    for bad in sources:
        if (error := probes[bad.name].error) is not None:
            yield ClipResult(bad.name, Status.FAILED, error=error, n_total=len(sources))
    good = [item for item in sources if probes[item.name].error is None]
    if not good:
        return
    n_frames_of = {item.name: probes[item.name].n_frames for item in good}
    placed, works = _place_and_plan(
        good,
        n_frames_of,
        video_dir,
        chunk_frames=chunk_frames,
        min_chunk_frames=min_chunk_frames,
        split_ratio=split_ratio,
        seed=seed,
        prune=prune,
    )
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
        rows += result.details["chunks"]
        yield replace(result, n_total=len(sources))
    write_text(video_dir / CHUNKS_CSV, _csv_text(rows))


@dataclass(frozen=True)
class ChunkPlan:
    """What `collect_chunks` would do, as far as its records tell.

    Attributes:
        sources: All videos, with their speakers.
        n_frames_of: Lengths of the videos that it has looked at, by name.
        n_new: Videos that it has not looked at since they came or changed.
        n_refused: Videos that it has looked at, and cannot cut.
        works: One for each of the others; empty while any is new, because that changes the rest.
    """

    sources: list[Source]
    n_frames_of: dict[str, int]
    n_new: int
    n_refused: int
    works: list[Work]


def plan_chunks(
    source: Path,
    video_dir: Path,
    *,
    chunk_seconds: float,
    min_chunk_seconds: float,
    split_ratio: Sequence[float],
    seed: int,
) -> ChunkPlan:
    """Say what `collect_chunks` would do; nothing is changed, and no video is opened.

    Raises:
        AsdtuneError: As `collect_chunks`.
    """
    sources = find_sources(source)
    known = _read_probes(video_dir / RECORDS_DIR / STAGE / _PROBES)
    probed = {item: known.get(item.name) for item in sources}
    n_frames_of, n_new = {}, 0
    for item, entry in probed.items():
        if entry is None or entry[:2] != _size_and_time(item.path):
            n_new += 1
        elif entry[2] is not None:
            n_frames_of[item.name] = entry[2]
    min_frames = frames_of_seconds(min_chunk_seconds)
    good = [item for item in sources if n_frames_of.get(item.name, 0) >= min_frames]
    works: list[Work] = []
    if good and not n_new:
        _, works = _place_and_plan(
            good,
            n_frames_of,
            video_dir,
            chunk_frames=frames_of_seconds(chunk_seconds),
            min_chunk_frames=min_frames,
            split_ratio=split_ratio,
            seed=seed,
            prune=False,
        )
    return ChunkPlan(sources, n_frames_of, n_new, len(sources) - len(good) - n_new, works)


def chunk_video(work: Work) -> Outcome:
    """Cut one source video into its chunks (the batch engine's task)."""
    from asdtune.core.prepare.media import read_audio, read_frames
    from asdtune.core.prepare.mp4 import SoundQueue

    frames = read_frames(work.source)
    sound = SoundQueue(read_audio(work.source))
    written: list[Path] = []
    chunks: list[dict[str, Any]] = []
    for i_chunk, target in enumerate(work.targets):
        first = next(frames, None)
        if first is None:
            break
        rest = islice(frames, work.settings["chunk_frames"] - 1)
        n_frames = _write_chunk(target, chain([first], rest), first, sound)
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
    return Outcome(tuple(written), n_frames, {"chunks": chunks})


def _write_chunk(
    target: Path, frames: Iterator[av.VideoFrame], first: av.VideoFrame, sound: SoundQueue
) -> int:
    from asdtune.core.prepare.mp4 import write_chunk

    with write_chunk(target, first, crf=_CRF) as writer:
        for frame in frames:
            writer.write_frame(frame)
            if writer.n_frames % VIDEO_FPS == 0:  # a second of pictures, a second of sound
                writer.write_samples(sound.take(VIDEO_FPS * SAMPLES_PER_FRAME))
        n_left = writer.n_frames % VIDEO_FPS
        writer.write_samples(sound.take(n_left * SAMPLES_PER_FRAME))
        return writer.n_frames


def _place_and_plan(
    sources: Sequence[Source],
    n_frames_of: dict[str, int],
    video_dir: Path,
    *,
    chunk_frames: int,
    min_chunk_frames: int,
    split_ratio: Sequence[float],
    seed: int,
    prune: bool,
) -> tuple[list[Source], list[Work]]:
    """Put every speaker into a split, and give every video its chunks."""
    n_chunks_of = {
        item.name: _count_chunks(n_frames_of[item.name], chunk_frames, min_chunk_frames)
        for item in sources
    }
    placed = assign_splits(
        sources,
        n_frames_of,
        n_chunks_of,
        split_ratio=split_ratio,
        seed=seed,
        earlier=_earlier_assignment(video_dir / RECORDS_DIR / STAGE, split_ratio, seed),
    )
    paths = {item.name: item.path for item in sources}
    kept = set() if prune else kept_outputs(video_dir, STAGE, paths)
    return placed, _plan(placed, n_chunks_of, video_dir, chunk_frames=chunk_frames, kept=kept)


def _plan(
    sources: Sequence[Source],
    n_chunks_of: dict[str, int],
    video_dir: Path,
    *,
    chunk_frames: int,
    kept: Set[Path],
) -> list[Work]:
    """Number the chunks of every speaker through all their videos, in the order of names.

    The numbers of chunks that are kept, though their video is gone, are passed over.
    """
    works = []
    next_number = Counter[str]()
    for item in sources:
        start, n_chunks = next_number[item.speaker], n_chunks_of[item.name]
        folder = video_dir / str(item.split) / item.speaker
        targets = _targets(folder, item.speaker, start, n_chunks)
        while not kept.isdisjoint(targets):
            start += 1
            targets = _targets(folder, item.speaker, start, n_chunks)
        next_number[item.speaker] = start + n_chunks
        works.append(
            Work(
                item.name,
                item.path,
                targets,
                {
                    "version": _VERSION,
                    "speaker": item.speaker,
                    "split": str(item.split),
                    "first_chunk": start,
                    "n_chunks": n_chunks,
                    "chunk_frames": chunk_frames,
                },
            )
        )
    return works


def _targets(folder: Path, speaker: str, start: int, n_chunks: int) -> tuple[Path, ...]:
    return tuple(folder / f"{speaker}_{i:04d}.mp4" for i in range(start, start + n_chunks))


def _count_chunks(n_frames: int, chunk_frames: int, min_frames: int) -> int:
    n_full, n_left = divmod(n_frames, chunk_frames)
    return n_full + (n_left >= min_frames)


def _probe_all(sources: Sequence[Source], cache_path: Path, min_frames: int) -> dict[str, _Probe]:
    """Count the frames of all sources, reading again only files that changed."""
    cache = _read_probes(cache_path)
    probes: dict[str, _Probe] = {}
    known: dict[str, Any] = {}
    for item in sources:
        try:
            key = _size_and_time(item.path)
            entry = cache.get(item.name, [])
            is_known = entry[:2] == key and entry[2] is not None
            n_frames = entry[2] if is_known else _probe_frames(item.path)
        except AsdtuneError as error:
            probes[item.name] = _Probe(error=error)
            known[item.name] = [*key, None]  # looked at, in vain
            continue
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            probes[item.name] = _Probe(error=AsdtuneError(reason, where=item.path))
            continue
        known[item.name] = [*key, n_frames]
        if n_frames < min_frames:
            seconds, needed = seconds_of_frames(n_frames), seconds_of_frames(min_frames)
            short = AsdtuneError(
                f"only {seconds:.2f} s long; a chunk needs {needed:.2f} s",
                where=item.path,
                fix="delete it from the folder, or lower --min-chunk-seconds",
            )
            probes[item.name] = _Probe(error=short)
        else:
            probes[item.name] = _Probe(n_frames)
    if known != cache:
        write_json(cache_path, known)
    return probes


def _read_probes(path: Path) -> dict[str, Any]:
    """Read size, time and frames of videos by name, as they were counted; frames may be None."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _size_and_time(path: Path) -> list[int]:
    return list(size_and_time(path).values())


def _probe_frames(path: Path) -> int:
    from asdtune.core.prepare.media import count_frames, probe

    if not probe(path).has_audio:
        raise AsdtuneError(
            "no audio stream", where=path, fix="download it with sound, or delete it"
        )
    return count_frames(path)


def _earlier_assignment(records: Path, split_ratio: Sequence[float], seed: int) -> dict[str, Split]:
    """Read who was put where by an earlier run of the same ratio and seed."""
    try:
        earlier = json.loads((records / "assignment.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    if earlier["seed"] != seed or earlier["split_ratio"] != list(split_ratio):
        return {}
    return {speaker: Split(split) for speaker, split in earlier["speakers"].items()}


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
