"""The long videos: whose they are, and which speaker goes into which split."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asdtune.core.corpus import VIDEO_SUFFIXES, Split, check_speakers_disjoint, find_files
from asdtune.core.csv_files import find_written, read_csv, spelled
from asdtune.core.files import relative
from asdtune.errors import AsdtuneError, UsageError

_MIN_SPEAKERS_HELD_OUT = 2  # so that validation and test can mismatch one speaker with another
_SPEAKERS_FOR_THAT = 6
_MAX_OVER_SHARE = 1.5  # a speaker held out alone takes at most so much of the split's share
# A speaker's name becomes a folder, on any system.
_SPEAKER_NAME = re.compile(
    r'[^\x00-\x1f<>:"/\\|?*.]([^\x00-\x1f<>:"/\\|?*]*[^\x00-\x1f<>:"/\\|?*. ])?'
)
_MAX_SPEAKER_BYTES = 200  # a chunk's file is named after its speaker; 255 is the limit
_DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{i}" for port in ("COM", "LPT") for i in range(10)),
}


@dataclass(frozen=True)
class Source:
    """A long video, whose it is, and what is decided already.

    Attributes:
        path: The file.
        name: As its folder or CSV names it.
        speaker: Whose it is.
        split: In which the speaker is.
        audio_track: Number of the track, from 1, that holds the speaker's sound.
    """

    path: Path
    name: str
    speaker: str
    split: Split | None = None
    audio_track: int | None = None


def check_apart(source: Path, video_dir: Path) -> None:
    """Refuse to cut chunks into the folder they are cut from, or into one above or below it.

    Raises:
        UsageError: One folder is, or holds, the other.
    """
    is_csv = source.suffix.lower() == ".csv"
    folder, target = (source.parent if is_csv else source).resolve(), video_dir.resolve()
    holds = target in (folder, *folder.parents)
    if holds or (not is_csv and folder in target.parents):
        raise UsageError(
            f"the chunks must not go into the folder of the sources, or around it: {video_dir}",
            where=source,
            fix="give another --video-dir, or move the source videos into a folder of their own",
        )


def find_sources(source: Path) -> list[Source]:
    """List the source videos with their speakers, and their splits where these are given.

    Raises:
        AsdtuneError: Nothing is there, a video belongs to no speaker, a row of the CSV is wrong,
            or a speaker is in two splits.
    """
    if source.suffix.lower() == ".csv":
        sources = _sources_of_csv(source)
    else:
        sources = _sources_of_folder(source)
    names_of: dict[str, set[str]] = {}
    for item in sources:
        names_of.setdefault(spelled(item.speaker), set()).add(item.speaker)
    twice = [sorted(names)[0] for names in names_of.values() if len(names) > 1]
    if twice:
        raise AsdtuneError(
            f"a speaker's name is written with two sets of letters that look alike: {twice[0]}",
            where=source, fix="move the videos of both into one folder",
        )  # fmt: skip
    given = [(item.split, item.speaker) for item in sources if item.split is not None]
    check_speakers_disjoint(given, where=source)
    return sources


def assign_splits(
    frames_of: Mapping[str, int],
    chunks_of: Mapping[str, int],
    known: Mapping[str, Split],
    *,
    split_ratio: Sequence[float],
    seed: int,
) -> dict[str, Split]:
    """Give every speaker one split, so that the shares of time come near the ratio.

    Speakers whose split is known stay there. The others come in an order drawn from the seed: two
    for validation and two for test first (one each where there are few speakers; one with several
    chunks among them if there is, because the sound of a speaker's other chunk makes a kind of
    window), then each to the split furthest behind its share.

    Args:
        frames_of: Video frames of every speaker.
        chunks_of: Chunks of every speaker.
        known: The splits of speakers who have one.
        split_ratio: Shares of training, validation and test.
        seed: Decides the order.

    Raises:
        AsdtuneError: There are too few speakers for the splits that should not be empty.
    """
    share = dict(zip(Split, np.array(split_ratio) / sum(split_ratio), strict=True))
    wanted = [split for split in Split if share[split] > 0]
    split_of = {speaker: known[speaker] for speaker in frames_of if speaker in known}
    undecided = sorted(set(frames_of) - set(split_of), key=lambda name: _drawn(seed, name))
    if undecided and len(frames_of) < len(wanted):
        raise AsdtuneError(
            f"{len(wanted)} splits need at least {len(wanted)} speakers, found {len(frames_of)}: "
            f"{', '.join(sorted(frames_of))}",
            fix="collect more speakers, or set the share of a split to 0 in split_ratio",
        )
    n_held_out = _MIN_SPEAKERS_HELD_OUT if len(frames_of) >= _SPEAKERS_FOR_THAT else 1
    total = sum(frames_of.values())
    while undecided:
        members = list(split_of.values())
        short = [
            split
            for split in reversed(wanted)
            if members.count(split) < (1 if split is Split.TRAINING else n_held_out)
        ]
        time_in = {
            split: sum(n for name, n in frames_of.items() if split_of.get(name) is split)
            for split in wanted
        }
        behind = max(wanted, key=lambda split: share[split] - time_in[split] / total)
        split = short[0] if short else behind
        speaker = undecided[0]
        if short:
            several = [name for name in undecided if chunks_of[name] > 1]
            pool = [undecided] if split in members else [several, undecided]
            room = _MAX_OVER_SHARE * share[split] * total
            fitting = [name for names in pool for name in names if frames_of[name] <= room]
            speaker = fitting[0] if fitting else min(undecided, key=lambda name: frames_of[name])
        undecided.remove(speaker)
        split_of[speaker] = split
    return split_of


def _sources_of_folder(folder: Path) -> list[Source]:
    videos = find_files(folder, VIDEO_SUFFIXES, what="videos")
    split_names = [split.value for split in Split]
    is_split_already = all(video.parts[0] in split_names for video in videos)
    depth = 2 if is_split_already else 1  # folders above a video: [split/] speaker/
    if not is_split_already and (mixed := {video.parts[0] for video in videos} & {*split_names}):
        others = {video.parts[0] for video in videos} - {*split_names}
        raise AsdtuneError(
            f"beside {' and '.join(sorted(mixed))} there is {', '.join(sorted(others))}",
            where=folder,
            fix="name the folders training, validation and test, or have none of these: then "
            "every folder is a speaker",
        )
    sources = []
    for video in videos:
        if len(video.parts) <= depth:
            raise AsdtuneError(
                "this video is in no speaker's folder",
                where=folder / video,
                fix="give every speaker a folder of their own and move their videos there",
            )
        split = Split(video.parts[0]) if is_split_already else None
        _check_length(video.parts[depth - 1], folder)
        sources.append(Source(folder / video, str(video), video.parts[depth - 1], split))
    return sources


def _sources_of_csv(path: Path) -> list[Source]:
    table = read_csv(
        path, ("path", "speaker"),
        fix="begin it with the line path,speaker,split,audio_track (the last two may be left out)",
    )  # fmt: skip
    if not table.rows:
        raise AsdtuneError("no videos", where=path, fix="write a row for each video")
    sources: list[Source] = []
    errors: list[AsdtuneError] = []
    where_of: dict[Path, str] = {}
    for where, row in table.records():
        try:
            source = _source_of_row(row, path, where)
            first = where_of.setdefault(source.path.resolve(), where)
            if first != where:
                raise AsdtuneError(
                    f"the same video is in two lines: {source.name}",
                    where=f"{first} and {where.rpartition(', ')[2]}", fix="delete one of the lines",
                )  # fmt: skip
            sources.append(source)
        except AsdtuneError as error:
            errors.append(error)
    if len(errors) > 1:
        told = [f"{error.problem} ({str(error.where)[len(f'{path}, ') :]})" for error in errors]
        fixes = dict.fromkeys(error.fix for error in errors if error.fix)
        raise AsdtuneError("; ".join(told), where=path, fix="; ".join(fixes))
    if errors:
        raise errors[0]
    return sources


def _source_of_row(row: dict[str, str], path: Path, where: str) -> Source:
    name, speaker, split = row["path"], spelled(row["speaker"]), row.get("split", "").lower()
    track = row.get("audio_track", "")
    video = find_written(path.parent, name)
    if video is None:
        raise AsdtuneError(
            f"no such video: {name or '(empty)'}",
            where=where, fix="paths are relative to the CSV's own folder",
        )  # fmt: skip
    if not _SPEAKER_NAME.fullmatch(speaker) or speaker.split(".")[0].upper() in _DEVICES:
        raise AsdtuneError(
            f"not a name for a speaker: {speaker or '(empty)'}",
            where=where, fix="a speaker's name becomes a folder: use letters, digits, - and _",
        )  # fmt: skip
    _check_length(speaker, where)
    if split and split not in [s.value for s in Split]:
        raise AsdtuneError(
            f"no split is called {split}",
            where=where, fix="use training, validation or test, or leave it empty",
        )  # fmt: skip
    if track and not (track.isdecimal() and int(track) > 0):
        raise AsdtuneError(
            f"not the number of an audio track: {track}",
            where=where, fix="count audio tracks from 1, or leave it empty",
        )  # fmt: skip
    if video != path.parent / name:  # spelled as another system does
        name = relative(video, path.parent)
    return Source(
        video, name, speaker, Split(split) if split else None, int(track) if track else None
    )


def _check_length(speaker: str, where: str | Path) -> None:
    if len(os.fsencode(speaker)) > _MAX_SPEAKER_BYTES:
        raise AsdtuneError(
            f"a speaker's name is too long: {speaker[:40]}...",
            where=where,
            fix=f"shorten it to {_MAX_SPEAKER_BYTES} bytes (a letter beyond a to z has 2 to 4)",
        )  # fmt: skip


def _drawn(seed: int, speaker: str) -> bytes:
    """Draw a place in the order that depends on nothing but the seed and the name."""
    return hashlib.blake2b(f"{seed}:{speaker}".encode()).digest()
