"""The command line: parse, call one stage, print the result."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asdtune import __version__, terminal
from asdtune.errors import AsdtuneError, UsageError
from asdtune.terminal import Summary
from asdtune.usage import Command, Commands, examples

if TYPE_CHECKING:
    from asdtune.project import Project

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _one_of(key: str) -> Callable[[str], list[str]]:
    """Complete a flag by the values that its setting may have."""

    def values(incomplete: str) -> list[str]:
        from asdtune.project import choices

        return [value for value in choices(key) if value.startswith(incomplete)]

    return values


def _device(incomplete: str) -> list[str]:
    names = ("auto", "cpu", "cuda", "mps")
    return [name for name in names if name.startswith(incomplete)]


ProjectFile = Annotated[
    Path | None,
    typer.Option("--project", "-p", help="Project file; default: ./asdtune.toml if it is there."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
Workers = Annotated[int | None, typer.Option(help="Processes; 0 is one per core.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT",
        help="Dask cluster that does the work instead; its workers must see the same files.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Do again what is done.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same result.")]
WindowSize = Annotated[
    int | None, typer.Option(help="W, video frames the network sees at once; odd.")
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", autocompletion=_device)
]
VideoDir = Annotated[Path | None, typer.Option(help="Folder of the videos.")]
FaceCropsDir = Annotated[Path | None, typer.Option(help="Folder of the face crops.")]
MfccsDir = Annotated[Path | None, typer.Option(help="Folder of the MFCC.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"asdtune {__version__}")
        raise typer.Exit


@app.callback(
    epilog=examples(
        "asdtune init my-project --language swahili",
        "asdtune run --project my-project",
        "asdtune doctor",
    )
)
def main(
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no warnings.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more of what is done.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Teach active speaker detection a new language: from vlogs to an AnnoTheia language folder.

    All settings have defaults; a project file changes them (asdtune init writes one), and a flag
    wins over both. A command that is run again does only what is missing or has changed.
    """
    terminal.set_up(quiet=quiet, verbose=verbose)


@app.command(
    epilog=examples(
        "asdtune init my-project --language swahili",
        'asdtune init my-project --language sw --author "Family, Given" --license cc-by-4.0',
    )
)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.")] = Path(),
    language: Annotated[
        str | None, typer.Option(help="Its English name, its own name, or its ISO 639 code.")
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Of the checkpoint, as Family, Given; again for each further one."
        ),
    ] = None,
    license_id: Annotated[
        str | None, typer.Option("--license", help="Of the checkpoint, such as cc-by-4.0.")
    ] = None,
    recordings: Annotated[
        str | None, typer.Option(help="Who recorded the videos, where and when: one sentence.")
    ] = None,
    consent: Annotated[
        str | None, typer.Option(help="Who agreed to what, and how: one sentence.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a project: a commented project file, empty folders, a template of a consent note.

    In a terminal it asks for what no flag gives. Only the language must be known now. What else
    only you can know is asked for again by export-config.
    """
    from asdtune import stages

    given = {
        "language": language,
        "authors": author or None,
        "license": license_id,
        "recordings": recordings,
        "consent": consent,
    }
    ask = terminal.ask if sys.stdin.isatty() else None
    _finish(stages.init(folder, given, ask=ask), as_json)


@app.command(
    "collect-chunk",
    epilog=examples("asdtune collect-chunk", "asdtune collect-chunk raw --split-ratio 0.8,0.1,0.1"),
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

    settings = _project(
        project,
        {
            "paths.source": source,
            "paths.video_dir": video_dir,
            "collect-chunk.chunk_seconds": chunk_seconds,
            "collect-chunk.min_chunk_seconds": min_chunk_seconds,
            "collect-chunk.split_ratio": None if split_ratio is None else split_ratio.split(","),
            "project.seed": seed,
            "project.workers": workers,
            "project.scheduler": scheduler,
        },
    )
    _finish(stages.collect_chunk(settings, overwrite=overwrite, prune=prune), as_json)


@app.command(epilog=examples("asdtune crops", "asdtune crops --detector haar --workers 2"))
def crops(
    video_dir: VideoDir = None,
    face_crops_output_dir: Annotated[
        Path | None, typer.Option(help="Where the face crops go.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="yunet, haar or retinaface.", autocompletion=_one_of("crops.detector")),
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

    settings = _project(
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
    _finish(stages.crops(settings, overwrite=overwrite), as_json)


@app.command(
    epilog=examples("asdtune mfcc", "asdtune mfcc --video-dir videos --mfccs-output-dir mfccs")
)
def mfcc(
    video_dir: VideoDir = None,
    face_crops_dir: FaceCropsDir = None,
    mfccs_output_dir: Annotated[Path | None, typer.Option(help="Where the MFCC go.")] = None,
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

    settings = _project(
        project,
        {
            "paths.video_dir": video_dir,
            "paths.face_crops_dir": face_crops_dir,
            "paths.mfccs_dir": mfccs_output_dir,
            "project.workers": workers,
            "project.scheduler": scheduler,
        },
    )
    _finish(stages.mfcc(settings, overwrite=overwrite), as_json)


@app.command(
    epilog=examples("asdtune splits", "asdtune splits --windows-per-sample 20 --window-size 25")
)
def splits(
    face_crops_dir: FaceCropsDir = None,
    mfccs_dir: MfccsDir = None,
    splits_output_dir: Annotated[Path | None, typer.Option(help="Where the CSVs go.")] = None,
    windows_per_sample: Annotated[int | None, typer.Option(help="Windows of every clip.")] = None,
    n_samples: Annotated[
        int | None,
        typer.Option(help="Or: windows for training; 0.3 times as many for validation and test."),
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
    silence and padding per kind of window.
    """
    from asdtune import stages

    settings = _project(
        project,
        {
            "paths.face_crops_dir": face_crops_dir,
            "paths.mfccs_dir": mfccs_dir,
            "paths.splits_dir": splits_output_dir,
            "splits.windows_per_sample": windows_per_sample,
            "splits.n_samples": n_samples,
            "splits.min_speech_share": min_speech_share,
            "splits.all_clips": all_clips,
            "project.window_size": window_size,
            "project.seed": seed,
        },
    )
    summary = stages.splits(settings, overwrite=overwrite)
    if window_size is not None:
        summary = replace(summary, next_command=f"asdtune train --window-size {window_size}")
    _finish(summary, as_json)


@app.command(
    epilog=examples(
        "asdtune train --dry-run",
        "asdtune train --network lr-asd",
        "asdtune train --freeze visual-frontend --batch-size 16",
        "asdtune train --resume",
    )
)
def train(
    training_dataset: Annotated[Path | None, typer.Option(help="CSV to learn from.")] = None,
    validation_dataset: Annotated[
        Path | None, typer.Option(help="CSV that decides which epoch is the best.")
    ] = None,
    test_dataset: Annotated[
        Path | None, typer.Option(help="CSV that is scored once, at the end.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Where checkpoints and metrics go.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="talknet, light-asd or lr-asd.", autocompletion=_one_of("model.network")),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Start from english, spanish-25, spanish-51 (talknet), light-asd-ava, "
            "light-asd-talkset, lr-asd-ava, lr-asd-talkset, scratch, or a file.",
            autocompletion=_one_of("train.checkpoint"),
        ),
    ] = None,
    window_size: WindowSize = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam.")] = None,
    lr_decay: Annotated[float | None, typer.Option(help="Times this after every epoch.")] = None,
    total_epochs: Annotated[int | None, typer.Option(help="How many epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows per step.")] = None,
    device: Device = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="auto, fp32 (exactly the reference) or bf16.",
            autocompletion=_one_of("train.precision"),
        ),
    ] = None,
    compile_network: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the network first.")
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            help="none, visual-frontend or frontends: store what it gives, train the rest.",
            autocompletion=_one_of("train.freeze"),
        ),
    ] = None,
    head_epochs: Annotated[
        int | None, typer.Option(help="First so many epochs with the visual front-end frozen.")
    ] = None,
    temporal_epochs: Annotated[
        int | None,
        typer.Option(help="First so many epochs with temporal mismatches as the only negatives."),
    ] = None,
    batchnorm: Annotated[
        str | None,
        typer.Option(
            help="adapt, or frozen: its statistics stay as they are.",
            autocompletion=_one_of("train.batchnorm"),
        ),
    ] = None,
    augment: Annotated[
        bool | None,
        typer.Option("--augment/--no-augment", help="Mirror, cut, turn pictures and mix voices."),
    ] = None,
    time_mask_frames: Annotated[
        int | None, typer.Option(help="Blank the sound of at most so many video frames in a row.")
    ] = None,
    balance_speakers: Annotated[
        bool | None,
        typer.Option(
            "--balance-speakers/--no-balance-speakers",
            help="Every speaker has as many windows in an epoch.",
        ),
    ] = None,
    encoder_rate: Annotated[
        float | None,
        typer.Option(help="Learning rate of the encoders, times that of the rest."),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Share of the embeddings that is dropped before the detector."),
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of each label that is spread over both classes.")
    ] = None,
    contrast: Annotated[
        float | None,
        typer.Option(help="Weight of a loss that asks which sound belongs to which frame."),
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(help="Steps over which the learning rate rises from 0.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW; 0 is Adam.")] = None,
    max_gradient_norm: Annotated[
        float | None, typer.Option(help="Shorten longer gradients; 0 leaves them.")
    ] = None,
    ema_decay: Annotated[
        float | None, typer.Option(help="Keep a moving mean of the weights, such as 0.999.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs that were no better; 0: never.")
    ] = None,
    save_minutes: Annotated[
        float | None, typer.Option(help="Save so often within an epoch.")
    ] = None,
    seed: Seed = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and begin nothing.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Carry on an interrupted run.")] = False,
    overwrite: Overwrite = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a network on the windows; on several GPUs under torchrun.

    Out: exps/checkpoints/best.pth and last.pth, exps/metrics.jsonl, exps/run.json.
    """
    from asdtune import stages

    settings = _project(
        project,
        {
            "paths.exps_dir": output_dir,
            "model.network": network,
            "train.checkpoint": checkpoint,
            "train.learning_rate": learning_rate,
            "train.lr_decay": lr_decay,
            "train.total_epochs": total_epochs,
            "train.batch_size": batch_size,
            "train.device": device,
            "train.precision": precision,
            "train.compile": compile_network,
            "train.freeze": freeze,
            "train.head_epochs": head_epochs,
            "train.temporal_epochs": temporal_epochs,
            "train.batchnorm": batchnorm,
            "train.augment": augment,
            "train.time_mask_frames": time_mask_frames,
            "train.balance_speakers": balance_speakers,
            "train.encoder_rate": encoder_rate,
            "train.dropout": dropout,
            "train.label_smoothing": label_smoothing,
            "train.contrast": contrast,
            "train.warmup_steps": warmup_steps,
            "train.weight_decay": weight_decay,
            "train.max_gradient_norm": max_gradient_norm,
            "train.ema_decay": ema_decay,
            "train.patience": patience,
            "train.save_minutes": save_minutes,
            "project.window_size": window_size,
            "project.seed": seed,
        },
    )
    if dry_run:
        _finish(
            stages.probe_training(
                settings,
                training_dataset=training_dataset,
                validation_dataset=validation_dataset,
            ),
            as_json,
        )
        return
    summary = stages.train(
        settings,
        training_dataset=training_dataset,
        validation_dataset=validation_dataset,
        test_dataset=test_dataset,
        resume=resume,
        overwrite=overwrite,
    )
    if output_dir is not None:
        checkpoint_flag = f"--checkpoint {summary.data['checkpoint']}"
        summary = replace(summary, next_command=f"asdtune evaluate {checkpoint_flag}")
    _finish(summary, as_json)


@app.command(
    epilog=examples("asdtune evaluate --baseline english", "asdtune evaluate --labels labels.csv")
)
def evaluate(
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint; default: the best of the last run.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Compare with this one: english, spanish-25, ... or a file.",
            autocompletion=_one_of("evaluate.baseline"),
        ),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="CSV; default: the test split, or else validation.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Or: CSV (clip, start_second, end_second, speaking) of clips in which somebody "
            "has marked who speaks when; they are scored as a whole, and judged frame by frame."
        ),
    ] = None,
    face_crops_dir: FaceCropsDir = None,
    mfccs_dir: MfccsDir = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the report goes.")] = None,
    window_size: WindowSize = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows at once.")] = None,
    toolkit_clips: Annotated[
        int | None,
        typer.Option(help="Clips that are scored as the toolkit does, to find its threshold."),
    ] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how good a checkpoint is on windows of speakers it never saw, and how sure that is.

    Out: report.html, one page to read; report.json (AVA mAP over frames and other figures, in
    percent, with 95 % intervals over speakers, by kind of window, speaker and quality of the
    pictures; thresholds) and scores_<split>.csv; with --labels, report_labels.html, .json and
    scores_labels.csv.
    """
    from asdtune import stages

    settings = _project(
        project,
        {
            "paths.face_crops_dir": face_crops_dir,
            "paths.mfccs_dir": mfccs_dir,
            "paths.report_dir": output_dir,
            "evaluate.baseline": baseline,
            "evaluate.batch_size": batch_size,
            "evaluate.toolkit_clips": toolkit_clips,
            "train.device": device,
        },
    )
    summary = stages.evaluate(
        settings,
        checkpoint=checkpoint,
        dataset=dataset,
        labels=labels,
        window_size=window_size,
        overwrite=overwrite,
    )
    _finish(summary, as_json)


@app.command(
    "export-config",
    epilog=examples(
        "asdtune export-config",
        "asdtune export-config --checkpoint-url https://zenodo.org/records/1234567",
    ),
)
def export_config(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="The folder; the same as --output-dir."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="English name, own name or ISO 639 code.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint; default: the best of the last run.")
    ] = None,
    checkpoint_url: Annotated[
        str | None, typer.Option(help="Where the checkpoint can be downloaded.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the folder goes.")] = None,
    window_size: Annotated[
        int | None, typer.Option(help="Only for a bare checkpoint that no run describes.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; verify the folder that is there.")
    ] = False,
    toolkit: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKOUT", help="With --check: try it on a copy of this AnnoTheia checkout."
        ),
    ] = None,
    toolkit_python: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON", help="With --toolkit: the Python of its environment; default: this."
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Say what would be uploaded to this repository on Hugging Face; see --yes.",
        ),
    ] = None,
    is_sure: Annotated[
        bool, typer.Option("--yes", help="With --push-to-hub: upload it, for everybody to see.")
    ] = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the folder that is laid over an AnnoTheia checkout and opened as a pull request.

    With --check nothing is written: it says of the folder that is there what holds and what does
    not, and exits with 1 if anything does not. With --push-to-hub the checkpoint and its card are
    uploaded, once --yes is given, and the link is filled in.
    """
    from asdtune import stages

    for flag, needed, is_wrong in (
        ("--toolkit", "--check", toolkit is not None and not check),
        ("--toolkit-python", "--toolkit", toolkit_python is not None and toolkit is None),
        ("--yes", "--push-to-hub", is_sure and push_to_hub is None),
    ):
        if is_wrong:
            raise UsageError(f"it is for {needed}", where=flag, fix=f"give {needed}, too")
    if folder is not None and output_dir is not None:
        raise UsageError("FOLDER and --output-dir are the same", fix="give one of them")
    if check and push_to_hub is not None:
        raise UsageError("--check writes nothing", where="--push-to-hub", fix="give one of them")
    settings = _project(
        project,
        {
            "project.language": language,
            "paths.export_dir": output_dir if folder is None else folder,
            "export-config.checkpoint_url": checkpoint_url,
        },
    )
    if check:
        summary = stages.check_export(settings, toolkit=toolkit, toolkit_python=toolkit_python)
        _finish(summary, as_json)
        return
    if push_to_hub is not None:
        summary = stages.push_to_hub(
            settings, push_to_hub, checkpoint=checkpoint, window_size=window_size, is_sure=is_sure
        )
        _finish(summary, as_json)
        return
    summary = stages.export_config(settings, checkpoint=checkpoint, window_size=window_size)
    _finish(summary, as_json)


@app.command(
    epilog=examples(
        "asdtune preview raw/anna/talk.mp4", "asdtune preview raw/*/*.mp4 --threshold 0.5"
    )
)
def preview(
    videos: Annotated[list[Path], typer.Argument(help="Any videos, of one person or several.")],
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint; default: the best of the last run.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the previews go.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="From which score on somebody speaks; default: what evaluate found."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="As for crops.", autocompletion=_one_of("crops.detector"))
    ] = None,
    detector_model: Annotated[Path | None, typer.Option(help="As for crops.")] = None,
    window_size: Annotated[
        int | None, typer.Option(help="Only for a bare checkpoint that no run describes.")
    ] = None,
    device: Device = None,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Show who is speaking in videos: boxes, scores over time, and a CSV.

    Out: NAME_preview.mp4, with a box around every face, green while its person speaks, and
    NAME_preview.csv with a row for every face in every frame.
    """
    from asdtune import stages

    settings = _project(
        project,
        {
            "paths.preview_dir": output_dir,
            "crops.detector": detector,
            "crops.detector_model": detector_model,
            "train.device": device,
        },
    )
    summary = stages.preview(
        settings, videos, checkpoint=checkpoint, window_size=window_size, threshold=threshold
    )
    _finish(summary, as_json)


@app.command(
    epilog=examples(
        "asdtune run", "asdtune run --source VIDEOS --language swahili --network lr-asd"
    )
)
def run(
    project: ProjectFile = None,
    source: Annotated[
        Path | None, typer.Option(help="Your videos, instead of the project file's source.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Language, as for init.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="As for crops.", autocompletion=_one_of("crops.detector"))
    ] = None,
    detector_model: Annotated[Path | None, typer.Option(help="As for crops.")] = None,
    network: Annotated[
        str | None, typer.Option(help="As for train.", autocompletion=_one_of("model.network"))
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="As for train.", autocompletion=_one_of("train.checkpoint"))
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Do all of it in order, from the videos to the folder you submit, skipping what is done."""
    from asdtune import stages

    settings = _project(
        project,
        {
            "paths.source": source,
            "project.language": language,
            "project.workers": workers,
            "project.scheduler": scheduler,
            "crops.detector": detector,
            "crops.detector_model": detector_model,
            "model.network": network,
            "train.checkpoint": checkpoint,
            "train.device": device,
        },
    )
    done: dict[str, Any] = {}
    failures: dict[str, AsdtuneError] = {}
    started = begun = time.monotonic()
    for summary in stages.run(settings):
        seconds, begun = time.monotonic() - begun, time.monotonic()
        done[summary.stage] = {"seconds": round(seconds, 1), **summary.data}
        failures |= {f"{summary.stage}: {name}": e for name, e in summary.failures.items()}
        if not as_json:
            terminal.show_stage(summary, seconds)
    line = f"all done in {time.monotonic() - started:.0f} s -> {settings.paths.export_dir}"
    _finish(Summary("run", line, {"stages": done}, failures=failures), as_json)


@app.command(epilog=examples("asdtune doctor", "asdtune doctor --project my-project"))
def doctor(project: ProjectFile = None, as_json: AsJson = False) -> None:
    """Say what is installed, what is missing, how far the project is, and what to run next.

    Every line begins with ok, note (good to know, nothing stops) or problem (a command will stop
    on it), and says how to mend it. Nothing is downloaded or changed. It exits with 1 where there
    is a problem, a mistake in the project file among them.
    """
    from asdtune import stages

    _finish(stages.doctor(project), as_json)


def _project(path: Path | None, flags: dict[str, Any]) -> Project:
    from asdtune.project import load_project

    return load_project(path).override(flags)


def _finish(summary: Summary, as_json: bool) -> None:
    terminal.finish(summary, as_json=as_json)


def _unwrap(docstring: str | None) -> str:
    """Join the lines of each paragraph, so that the terminal breaks them where it must."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _command in (*app.registered_commands, app.registered_callback):
    if _command is not None and _command.callback is not None:
        _command.help = _unwrap(_command.callback.__doc__)
for _command in app.registered_commands:
    _command.cls = Command
