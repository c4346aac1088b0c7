"""Which chunks are to be cut of which video, into which split; no picture is decoded for it.

plan = plan_chunks(Path("raw"), Path("videos"), chunk_seconds=20, ...)
print(len(plan.works), "videos to cut,", plan.n_new, "to look at first")
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdtune.core.corpus import Split
from asdtune.core.files import write_json
from asdtune.core.prepare.jobs import Work
from asdtune.core.prepare.leftovers import kept_outputs
from asdtune.core.prepare.records import RECORDS_DIR, size_and_time
from asdtune.core.prepare.sources import Source, assign_splits, find_sources
from asdtune.core.rates import frames_of_seconds, seconds_of_frames
from asdtune.errors import AsdtuneError

STAGE = "collect-chunk"
PROBES = "probes.json"  # the lengths of the sources
_VERSION = 1  # raise it when the same settings begin to give other chunks


@dataclass(frozen=True)
class ChunkPlan:
    """What `collect_chunks` would do, as far as its records tell.

    Attributes:
        n_total: How many videos there are.
        n_new: Videos that it has not looked at since they came or changed.
        n_refused: Videos that it has looked at, and cannot cut.
        works: One for each of the others; empty while any is new, because that changes the rest.
    """

    n_total: int
    n_new: int
    n_refused: int
    works: list[Work]


@dataclass(frozen=True)
class Probe:
    """What is known of a source before it is decoded: its frames at 25 per second."""

    n_frames: int = 0
    error: AsdtuneError | None = None


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
    known = _read_probes(video_dir / RECORDS_DIR / STAGE / PROBES)
    probed = {item: known.get(item.name) for item in sources}
    n_frames_of: dict[str, int] = {}
    n_new = 0
    for item, entry in probed.items():
        if entry is None or entry[:2] != _size_and_time(item.path):
            n_new += 1
        elif entry[2] is not None:
            n_frames_of[item.name] = entry[2]
    min_frames = frames_of_seconds(min_chunk_seconds)
    good = [item for item in sources if n_frames_of.get(item.name, 0) >= min_frames]
    works: list[Work] = []
    if good and not n_new:
        _, works = place_and_plan(
            good,
            n_frames_of,
            video_dir,
            chunk_frames=frames_of_seconds(chunk_seconds),
            min_chunk_frames=min_frames,
            split_ratio=split_ratio,
            seed=seed,
            prune=False,
        )
    n_total = len(sources)
    return ChunkPlan(n_total, n_new, n_total - len(good) - n_new, works)


def place_and_plan(
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


def probe_all(sources: Sequence[Source], cache_path: Path, min_frames: int) -> dict[str, Probe]:
    """Count the frames of all sources, reading again only files that changed."""
    cache = _read_probes(cache_path)
    probes: dict[str, Probe] = {}
    known: dict[str, Any] = {}
    for item in sources:
        try:
            key = _size_and_time(item.path)
            entry = cache.get(item.name, [])
            is_known = entry[:2] == key and entry[2] is not None
            n_frames = entry[2] if is_known else _probe_frames(item.path)
        except AsdtuneError as error:
            probes[item.name] = Probe(error=error)
            known[item.name] = [*key, None]  # looked at, in vain
            continue
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            probes[item.name] = Probe(error=AsdtuneError(reason, where=item.path))
            continue
        known[item.name] = [*key, n_frames]
        if n_frames < min_frames:
            seconds, needed = seconds_of_frames(n_frames), seconds_of_frames(min_frames)
            short = AsdtuneError(
                f"only {seconds:.2f} s long; a chunk needs {needed:.2f} s",
                where=item.path,
                fix="delete it from the folder, or lower --min-chunk-seconds",
            )
            probes[item.name] = Probe(error=short)
        else:
            probes[item.name] = Probe(n_frames)
    if known != cache:
        write_json(cache_path, known)
    return probes


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
