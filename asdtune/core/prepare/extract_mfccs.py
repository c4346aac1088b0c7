"""Videos to MFCC, the sound as TalkNet takes it.

In: videos below a folder, and their face crops if they are there. Out: at the same place below
another folder `<clip>.npz` with `data` (4T, 13) float32 at 100 frames per second, and `padded`
(4T,) bool: rows that are no sound of this clip but repeat its beginning; `speech` (T,) float32,
0..1: how surely somebody speaks in each video frame; `waveform` (n,) int16, 16 kHz: the sound that
`data` was computed from, with which training mixes voices; and `provenance`, what made them.

The coefficients equal those of `python_speech_features` 0.6, on which the published checkpoints
were trained: see `mfcc.py`.

    for result in extract_mfccs(Path("videos"), Path("face_crops"), Path("mfccs"), ...):
        print(result.name, result.status)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import data_shape, write_npz
from asdtune.core.prepare.batch import run_batch
from asdtune.core.prepare.jobs import Job, JobResult, Status, find_videos, npz_of
from asdtune.core.prepare.mfcc import align_to_video, mfcc, n_samples_of_rows
from asdtune.core.prepare.provenance import forget_removed_chunks, provenance
from asdtune.core.prepare.threads import one_thread
from asdtune.core.rates import CROP_SIZE, MFCC_PER_FRAME
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from asdtune.core.prepare.media import Waveform

__all__ = ["align_to_video", "extract_mfcc", "extract_mfccs", "mfcc"]

STAGE = "mfcc"
_VERSION = 3  # raise it when the same settings begin to give other MFCC


def extract_mfccs(
    video_dir: Path,
    face_crops_dir: Path,
    output_dir: Path,
    *,
    workers: int,
    overwrite: bool,
    audio_track: int | None = None,
    executor: Executor | None = None,
) -> Iterator[JobResult]:
    """Compute the MFCC of every video below a folder.

    Args:
        video_dir: The folder of videos.
        face_crops_dir: Their face crops: the MFCC get four rows for each. Where a clip has none
            there, the video's own frames are counted.
        output_dir: Where the MFCC go, at the same relative paths.
        workers: Processes; 0 for one per core.
        overwrite: Compute all again.
        audio_track: Number of the audio track, from 1, of videos with several; None to choose.
        executor: Runs the work instead of local processes.

    Yields:
        One result per video, as they come.

    Raises:
        AsdtuneError: There are no videos.
    """
    videos, clashes = find_videos(video_dir)
    yield from clashes
    yield from run_batch(
        extract_mfcc,
        plan_mfccs(videos, video_dir, face_crops_dir, output_dir, audio_track),
        stage=STAGE,
        output_dir=output_dir,
        workers=workers,
        overwrite=overwrite,
        executor=executor,
    )
    forget_removed_chunks(video_dir, output_dir, STAGE)


def plan_mfccs(
    videos: Sequence[PurePosixPath],
    video_dir: Path,
    face_crops_dir: Path,
    output_dir: Path,
    audio_track: int | None = None,
) -> list[Job]:
    """Plan the MFCC of videos, named relative to their folder, and change nothing."""
    track = {} if audio_track is None else {"audio_track": audio_track}
    return [
        Job(
            str(video),
            video_dir / video,
            (output_dir / npz_of(video),),
            {"version": _VERSION, "n_frames": _n_crops(face_crops_dir / npz_of(video)), **track},
        )
        for video in videos
    ]


def extract_mfcc(job: Job) -> JobResult:
    """Compute the MFCC of one video (the batch engine's task)."""
    from asdtune.core.prepare.media import count_frames, read_audio
    from asdtune.core.prepare.sound import check_sound, listen
    from asdtune.core.prepare.speech import speech_of_frames

    n_frames = job.settings["n_frames"] or count_frames(job.source)
    n_rows = n_frames * MFCC_PER_FRAME
    notes: list[str] = []
    sound_of_clip = read_audio(job.source, track=job.settings.get("audio_track"), notes=notes)
    (target,) = job.targets
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        blocks = _spooled(sound_of_clip, spool, n_samples_of_rows(n_rows))
        with one_thread():
            sound = listen(blocks, n_rows)
        check_sound(sound, n_frames, job.source)
        data, padded = align_to_video(sound.coefficients, n_frames)
        speech = speech_of_frames(sound.probabilities, n_frames)
        spool.flush()
        waveform = np.memmap(spool, np.int16, "r")
        write_npz(
            target,
            data=data,
            padded=padded,
            speech=speech,
            waveform=waveform,
            provenance=provenance(job),
        )
    return JobResult(job.name, Status.WRITTEN, n_frames, job.targets, {"notes": notes})


def _spooled(blocks: Iterable[Waveform], spool: IO[bytes], n_samples: int) -> Iterator[Waveform]:
    """Pass sound on and write its beginning to a file: no more of it is in memory than a block."""
    for block in blocks:
        kept = block[:n_samples]
        spool.write(kept.tobytes())
        n_samples -= len(kept)
        yield block


def _n_crops(path: Path) -> int | None:
    """Count the face crops of a clip; None where there are none to go by."""
    try:
        shape = data_shape(path)
    except AsdtuneError:
        return None
    return shape[0] if shape[1:] == (CROP_SIZE, CROP_SIZE) and shape[0] else None
