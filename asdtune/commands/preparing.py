"""Commands from videos to windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from asdtune.commands.options import (
    AsJson,
    AudioTrack,
    FaceCropsDir,
    MfccsDir,
    Overwrite,
    ProjectFile,
    Scheduler,
    Seed,
    VideoDir,
    WindowSize,
    Workers,
    finish,
    load_settings,
    one_of,
)


def collect_chunk(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="Folder with a folder per speaker, or with training/ validation/ test/; "
            "or a CSV path,speaker[,split].",
        ),
    ] = None,
    video_dir: Annotated[Path | None, typer.Option(help="Where the chunks go.")] = None,
    chunk_seconds: Annotated[float | None, typer.Option(help="Longest chunk.")] = None,
    min_chunk_seconds: Annotated[
        float | None, typer.Option(help="A shorter rest of a video is dropped.")
    ] = None,
    split_ratio: Annotated[
        str | None,
        typer.Option(help="Shares of training, validation, test, such as 0.7,0.15,0.15."),
    ] = None,
    audio_track: AudioTrack = None,
    seed: Seed = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete chunks of videos no longer in the source.")
    ] = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Cut long videos into chunks, each speaker in one split.

    Out: videos/<split>/<speaker>/<speaker>_0000.mp4 at 25 frames per second with 16 kHz mono
    sound, and videos/chunks.csv.
    """
    from asdtune import stages

    settings = load_settings(
        project,
        {
            "paths.source": source,
            "paths.video_dir": video_dir,
            "collect-chunk.chunk_seconds": chunk_seconds,
            "collect-chunk.min_chunk_seconds": min_chunk_seconds,
            "collect-chunk.split_ratio": None if split_ratio is None else split_ratio.split(","),
            "project.audio_track": audio_track,
            "project.seed": seed,
            "project.workers": workers,
            "project.scheduler": scheduler,
        },
    )
    finish(stages.collect_chunk(settings, overwrite=overwrite, prune=prune), as_json)


def crops(
    video_dir: VideoDir = None,
    face_crops_output_dir: Annotated[
        Path | None, typer.Option(help="Where the face crops go.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="yunet, haar or retinaface.", autocompletion=one_of("crops.detector")),
    ] = None,
    detector_model: Annotated[
        Path | None, typer.Option(help="The detector's file, if it is not to be downloaded.")
    ] = None,
    detection_size: Annotated[
        int | None, typer.Option(help="Longest side of the picture in which faces are found.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="How sure it must be, 0 to 1.")] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Cut the speaker's face out of every frame.

    In: videos at any frame rate, chunked or not. Out: at the same place below the other folder
    <clip>.npz with data (T, 112, 112) uint8 grey, 25 per second, boxes and detected.
    """
    from asdtune import stages

    settings = load_settings(
        project,
        {
            "paths.video_dir": video_dir,
            "paths.face_crops_dir": face_crops_output_dir,
            "crops.detector": detector,
            "crops.detector_model": detector_model,
            "crops.detection_size": detection_size,
            "crops.min_score": min_score,
            "project.workers": workers,
            "project.scheduler": scheduler,
        },
    )
    finish(stages.crops(settings, overwrite=overwrite), as_json)


def mfcc(
    video_dir: VideoDir = None,
    face_crops_dir: FaceCropsDir = None,
    mfccs_output_dir: Annotated[Path | None, typer.Option(help="Where the MFCC go.")] = None,
    audio_track: AudioTrack = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Compute the MFCC of every video's sound.

    Out: at the same place below the other folder <clip>.npz with data (4T, 13) float32, 100 per
    second, and padded.
    """
    from asdtune import stages

    settings = load_settings(
        project,
        {
            "paths.video_dir": video_dir,
            "paths.face_crops_dir": face_crops_dir,
            "paths.mfccs_dir": mfccs_output_dir,
            "project.audio_track": audio_track,
            "project.workers": workers,
            "project.scheduler": scheduler,
        },
    )
    finish(stages.mfcc(settings, overwrite=overwrite), as_json)


def splits(
    face_crops_dir: FaceCropsDir = None,
    mfccs_dir: MfccsDir = None,
    splits_output_dir: Annotated[Path | None, typer.Option(help="Where the CSVs go.")] = None,
    windows_per_sample: Annotated[int | None, typer.Option(help="Windows of every clip.")] = None,
    n_samples: Annotated[
        int | None,
        typer.Option(help="Or: windows for training; 0.3 times as many for validation and test."),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="all, or tutorial: without silent faces.", autocompletion=one_of("splits.kinds")
        ),
    ] = None,
    window_size: WindowSize = None,
    min_speech_share: Annotated[
        float | None, typer.Option(help="Share of a window's frames that must have speech, 0 to 1.")
    ] = None,
    all_clips: Annotated[
        bool | None,
        typer.Option("--all-clips", help="Take clips with several people or too few faces too."),
    ] = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Draw positive and negative windows: one CSV per split, one row per window.

    Clips with several people or too few faces are left out, and named. report.json tells counts,
    silence, padding and motion per kind of window, and how well these alone tell it from positives.
    """
    from asdtune import stages

    settings = load_settings(
        project,
        {
            "paths.face_crops_dir": face_crops_dir,
            "paths.mfccs_dir": mfccs_dir,
            "paths.splits_dir": splits_output_dir,
            "splits.windows_per_sample": windows_per_sample,
            "splits.n_samples": n_samples,
            "splits.kinds": kinds,
            "splits.min_speech_share": min_speech_share,
            "splits.all_clips": all_clips,
            "project.window_size": window_size,
            "project.seed": seed,
        },
    )
    summary = stages.splits(settings, overwrite=overwrite)
    if window_size is not None:
        summary = replace(summary, next_command=f"asdtune train --window-size {window_size}")
    finish(summary, as_json)
