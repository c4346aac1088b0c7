"""Commands from windows to a network, and how good it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from asdtune.commands.options import (
    AsJson,
    Device,
    FaceCropsDir,
    MfccsDir,
    Overwrite,
    ProjectFile,
    Seed,
    WindowSize,
    finish,
    load_settings,
    one_of,
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
        typer.Option(help="talknet, light-asd or lr-asd.", autocompletion=one_of("model.network")),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Start from english, spanish-25, spanish-51 (talknet), light-asd-ava, "
            "light-asd-talkset, lr-asd-ava, lr-asd-talkset, scratch, or a file.",
            autocompletion=one_of("train.checkpoint"),
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
            autocompletion=one_of("train.precision"),
        ),
    ] = None,
    compile_network: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the network first.")
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            help="none, visual-frontend or frontends: store what it gives, train the rest.",
            autocompletion=one_of("train.freeze"),
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
            autocompletion=one_of("train.batchnorm"),
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
    distillation: Annotated[
        float | None,
        typer.Option(
            help="Weight of a loss that keeps what the start says of talking and of silent faces."
        ),
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
    resume: Annotated[bool, typer.Option("--resume", help="Carry on an interrupted run.")] = False,
    overwrite: Overwrite = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a network on the windows; on several GPUs under torchrun.

    Out: exps/checkpoints/best.pth and last.pth, exps/metrics.jsonl, exps/run.json.
    """
    from asdtune import stages

    settings = load_settings(
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
            "train.distillation": distillation,
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
    finish(summary, as_json)


def evaluate(
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint; default: the best of the last run.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Compare with this one: english, spanish-25, ... or a file; start: what the run "
            "started from; none (a comparison that is there stays).",
            autocompletion=one_of("evaluate.baseline"),
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
        typer.Option(
            help="Clips, and as many listeners, that are scored as the toolkit does, to find its "
            "threshold; of validation, if the project has it."
        ),
    ] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how good a checkpoint is on speakers it never met, and how sure that is.

    Out: report.html, one page that begins with the verdict: who is speaking (silent faces) and
    sync, each beside the baseline; report.json (these and other figures, in percent, with 95 %
    intervals over speakers, by kind of window and speaker; thresholds) and scores_<split>.csv; with
    --labels, report_labels.html, .json and scores_labels.csv.
    """
    from asdtune import stages

    settings = load_settings(
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
    finish(summary, as_json)
