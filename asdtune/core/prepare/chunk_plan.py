"""Which chunks are to be cut of which video, into which split; no picture is decoded for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from asdtune.core.corpus import Split
from asdtune.core.files import content_hash
from asdtune.core.prepare.chunk_table import ChunkTable, Row, read_speakers
from asdtune.core.prepare.failures import read_failures
from asdtune.core.prepare.jobs import Job
from asdtune.core.prepare.provenance import is_unchanged
from asdtune.core.prepare.sources import Source, assign_splits, find_sources
from asdtune.core.rates import frames_of_seconds
from asdtune.errors import AsdtuneError

_VERSION = 1  # raise it when the same settings begin to give other chunks


@dataclass(frozen=True)
class Cutting:
    """How videos are cut; see `collect_chunks`."""

    chunk_seconds: float
    min_chunk_seconds: float
    audio_track: int | None = None

    @property
    def min_frames(self) -> int:
        """The fewest frames of a chunk."""
        return frames_of_seconds(self.min_chunk_seconds)

    def settings(self, item: Source, n_frames: int) -> dict[str, Any]:
        """Give what decides the chunks of a video of so many frames; its own track comes first."""
        chunk_frames = frames_of_seconds(self.chunk_seconds)
        n_full, n_left = divmod(n_frames, chunk_frames)
        n_chunks = n_full + (n_left >= self.min_frames)
        settings = {"version": _VERSION, "chunk_frames": chunk_frames, "n_chunks": n_chunks}
        track = self.audio_track if item.audio_track is None else item.audio_track
        return settings if track is None else {**settings, "audio_track": track}


def follow_renames(table: ChunkTable, sources: Iterable[Source]) -> None:
    """Give the chunks of a video that has another name now to that name."""
    names, rows_of = {item.name for item in sources}, table.rows_of
    gone = {rows[0]["source_bytes"]: name for name, rows in rows_of.items() if name not in names}
    for item in sources:
        if item.name in rows_of:
            continue
        with suppress(OSError):
            old = gone.get(item.path.stat().st_size)
            if old in rows_of and content_hash(item.path) == rows_of[old][0]["source_blake2b"]:
                rows_of[item.name] = [{**row, "source": item.name} for row in rows_of.pop(old)]


def count_frames_of(item: Source, table: ChunkTable, cutting: Cutting) -> int:
    """Count the frames of a video at 25 per second: as before, unless it has changed.

    The rows of a video that has changed lose their settings, so that it is cut again.

    Raises:
        AsdtuneError: It cannot be opened, has no sound, or not the track that its row names.
        OSError: It cannot be read.
    """
    from asdtune.core.prepare.media import count_frames, probe

    rows, chunks = table.rows_of.get(item.name, []), table.paths(item.name)
    is_cut_so = table.is_cut(item.name) and (
        item.audio_track in (None, rows[0]["settings"].get("audio_track"))
    )
    if is_cut_so and is_unchanged(
        item.path, rows[0]["source_bytes"], rows[0]["source_blake2b"], chunks
    ):
        return int(rows[0]["source_frames"])
    n_tracks = probe(item.path).n_audio_tracks
    if not n_tracks:
        raise AsdtuneError(
            "no audio stream", where=item.path, fix="download it with sound, or delete it"
        )
    if item.audio_track is not None and item.audio_track > n_tracks:
        raise AsdtuneError(
            f"no audio track {item.audio_track}: it has {n_tracks}",
            where=item.path, fix="mend audio_track in the CSV of the sources",
        )  # fmt: skip
    n_frames = count_frames(item.path)
    made_of = _made_of_before(item, rows, chunks, n_frames, cutting)
    for row in rows:
        row |= made_of
    return n_frames


def _made_of_before(
    item: Source, rows: Sequence[Row], chunks: Sequence[Path], n_frames: int, cutting: Cutting
) -> Row:
    """Say what chunks were made of when `chunks.csv` did not say it; nothing if they do not fit."""
    settings, now = cutting.settings(item, n_frames), item.path.stat()
    lengths = [row["n_frames"] for row in rows]
    fits = (
        0 < len(rows) == settings["n_chunks"]
        and {settings["chunk_frames"]}.issuperset(lengths[:-1])
        and 0 < lengths[-1] <= settings["chunk_frames"]
        and not any(row["source_blake2b"] for row in rows)
        and all(path.is_file() and path.stat().st_mtime_ns >= now.st_mtime_ns for path in chunks)
        and "audio_track" not in settings
    )
    return {
        "settings": settings if fits else None,
        "source_frames": n_frames,
        "source_bytes": now.st_size,
        "source_blake2b": content_hash(item.path) if fits else None,
    }


def place_speakers(
    sources: Sequence[Source],
    frames_of: Mapping[str, int],
    table: ChunkTable,
    cutting: Cutting,
    *,
    split_ratio: Sequence[float],
    seed: int,
) -> dict[str, Split]:
    """Give the split of every speaker, whoever was there before included.

    Raises:
        AsdtuneError: There are too few speakers.
    """
    frames, chunks = Counter[str](), Counter[str]()
    known: dict[str, Split] = {}
    for item in sources:
        if item.name in frames_of:
            frames[item.speaker] += frames_of[item.name]
            chunks[item.speaker] += cutting.settings(item, frames_of[item.name])["n_chunks"]
        if item.name in table.rows_of:  # a speaker who has another name now stays where they were
            known[item.speaker] = Split(table.rows_of[item.name][0]["split"])
    for name, rows in table.rows_of.items():
        if name not in frames_of:  # the video is gone, or cannot be opened
            frames[rows[0]["speaker"]] += sum(row["n_frames"] for row in rows)
            chunks[rows[0]["speaker"]] += len(rows)
    known |= read_speakers(table)
    known |= {item.speaker: item.split for item in sources if item.split is not None}
    return known | assign_splits(frames, chunks, known, split_ratio=split_ratio, seed=seed)


def plan_jobs(
    sources: Sequence[Source],
    frames_of: Mapping[str, int],
    split_of: Mapping[str, Split],
    table: ChunkTable,
    cutting: Cutting,
) -> list[Job]:
    """Plan the chunks of every video. One keeps its numbers; more, and new ones, are free ones."""
    taken = {*table.paths(*table.rows_of)}
    jobs = []
    for item in sources:
        folder = table.video_dir / str(split_of[item.speaker]) / item.speaker
        settings = cutting.settings(item, frames_of[item.name])
        own = [path for path in table.paths(item.name) if path.parent == folder]
        free = (
            path for i in count() if (path := folder / f"{item.speaker}_{i:04d}.mp4") not in taken
        )
        own += islice(free, max(0, settings["n_chunks"] - len(own)))
        targets = tuple(sorted(own)[: settings["n_chunks"]])
        taken.update(targets)
        n_frames = {"source_frames": frames_of[item.name]}
        jobs.append(Job(item.name, item.path, targets, settings, n_frames))
    return jobs


def is_up_to_date(job: Job, table: ChunkTable) -> bool:
    """Tell whether the chunks of a video that has not changed are as they would be cut."""
    return (
        table.is_cut(job.name)
        and all(row["settings"] == job.settings for row in table.rows_of[job.name])
        and all(path.parent == job.targets[0].parent for path in table.paths(job.name))
    )


def states_of_sources(source: Path, video_dir: Path, cutting: Cutting) -> list[str]:
    """Tell quickly, of every video, whether it is `done`, `out of date`, `failed` or `to do`.

    Raises:
        AsdtuneError: As `find_sources`.
    """
    table, failures = ChunkTable(video_dir), read_failures(video_dir)
    split_of = read_speakers(table)

    def state(item: Source) -> str:
        if item.name in failures:
            return "failed"
        if not table.is_cut(item.name):
            return "to do"
        rows = table.rows_of[item.name]
        split = item.split or split_of.get(item.speaker)
        is_same = item.path.stat().st_size == rows[0]["source_bytes"] and all(
            row["settings"] == cutting.settings(item, row["source_frames"])
            and (row["split"], row["speaker"]) == (str(split), item.speaker)
            for row in rows
        )
        return "done" if is_same else "out of date"

    return [state(item) for item in find_sources(source)]
