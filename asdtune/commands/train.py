"""The command that fine-tunes a network."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asdtune.commands.command import Overwrite
from asdtune.console import Display, Summary, display, duration, stop_signals
from asdtune.core.models.registry import TALKNET
from asdtune.core.training.settings import TrainingSettings
from asdtune.project import Project

if TYPE_CHECKING:
    from asdtune.core.training.reports import EpochReport, Report, StepReport

Csv = Annotated[Path | None, typer.Option(help="CSV to learn from.")]
ValidationCsv = Annotated[
    Path | None, typer.Option(help="CSV that decides which epoch is the best.")
]
TestCsv = Annotated[Path | None, typer.Option(help="CSV that is scored at the end.")]
Resume = Annotated[bool | None, typer.Option("--resume", help="Carry on an interrupted run.")]

_STEPS_UNTIL_KNOWN = 10  # how fast steps are
_LONG_HOURS = 3.0
_COLUMNS = {
    "epoch": 5, "loss": 6, "score": 5, "silent": 6, "temporal": 8, "partial": 7, "complete": 8,
    "accuracy": 8, "time": 5, "": 4,
}  # fmt: skip
_ABOUT_COLUMNS = (
    "of validation, in percent: AUC of silent faces and of mismatches by kind (chance: 50); score: "
    "the mean of silent faces and mismatches, by which the best epoch is chosen; accuracy at 0.5"
)


def train(
    project: Project,
    *,
    training_dataset: Csv = None,
    validation_dataset: ValidationCsv = None,
    test_dataset: TestCsv = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> Summary:
    """Fine-tune a network on the windows; on several GPUs under torchrun.

    Out: exps/checkpoints/best.pth and last.pth, exps/metrics.jsonl, exps/run.json.
    """
    from asdtune.core.training.reports import RunReport, Stopped
    from asdtune.core.training.trainer import train

    splits_dir, exps_dir = project.paths.splits_dir, project.paths.exps_dir
    is_own = training_dataset is None and validation_dataset is None
    judged = [] if test_dataset is None else ["--dataset", str(test_dataset)]
    if test_dataset is None and is_own and (splits_dir / "test.csv").is_file():
        test_dataset = splits_dir / "test.csv"
    with stop_signals() as should_stop, display() as drawn:
        steps = train(
            training_dataset or splits_dir / "training.csv",
            validation_dataset or splits_dir / "validation.csv",
            test_dataset,
            exps_dir,
            settings=training_settings(project),
            device=project.train.device,
            resume=resume,
            overwrite=overwrite,
            save_seconds=project.train.save_minutes * 60,
            should_stop=should_stop,
        )
        last = _draw(steps, drawn, training_settings(project))
    if isinstance(last, Stopped):
        how = "" if resume is None else " with --resume"
        raise KeyboardInterrupt(f" in epoch {last.epoch} after step {last.step}", how)
    assert isinstance(last, RunReport)
    data = {
        "best_epoch": last.best_epoch,
        "validation_score": last.validation_score,
        "validation_mAP": last.validation_mAP,
        "test": last.test,
        "checkpoint": last.checkpoint.as_posix(),
        "is_fresh": last.is_fresh,
    }
    tested = "" if last.test is None else f", test {last.test['score']:.1f}"
    line = (
        f"epoch {last.best_epoch} is the best: validation score {last.validation_score:.1f}{tested}"
    )
    line += f"{' (up to date)' if last.is_fresh else ''} -> {last.checkpoint}"
    return Summary(
        "train",
        line,
        data,
        notes=() if last.test else ["no test split: name one with --test-dataset"],
        next_command=shlex.join(["asdtune", "evaluate", *judged]),
    )


def training_settings(project: Project) -> TrainingSettings:
    """Give the settings of a run."""
    of_recipe = project.recipe.model_dump(exclude={"device", "save_minutes"})
    return TrainingSettings(
        **of_recipe,
        network=project.model.network,
        window_size=project.project.window_size,
        seed=project.project.seed,
    )


def _draw(steps: Iterator[Report], drawn: Display, settings: TrainingSettings) -> Report:
    """Draw the progress of training, a line for each epoch; give its last report."""
    from asdtune.core.training.feature_cache import FeatureReport
    from asdtune.core.training.reports import EpochReport, StepReport

    has_header, n_seen = False, 0
    drawn.show("reading the splits", 0, None)
    for step in steps:
        if isinstance(step, FeatureReport):
            drawn.show(step.what, step.n_done, step.n_total)
        elif isinstance(step, StepReport):
            speed = f"loss {step.loss:.3f}, {step.frames_per_second:.0f} frames/s"
            what = f"epoch {step.epoch}/{settings.total_epochs}"
            drawn.show(what, step.step, step.n_steps, speed)
            n_seen += 1
            if n_seen == _STEPS_UNTIL_KNOWN and (told := about_time(step, settings)):
                drawn.say(told)
        elif isinstance(step, EpochReport):
            if not has_header:
                drawn.say(_ABOUT_COLUMNS)
                drawn.say(_aligned(_COLUMNS))
                has_header = True
            drawn.say(_aligned(_epoch_row(step)))
    return step


def about_time(step: StepReport, settings: TrainingSettings) -> str | None:
    """Say how long a run will take, by the speed of its steps, and what would be faster.

    None where it is not long, or where nothing is much faster.
    """
    frames = step.n_steps * settings.batch_size * settings.window_size
    hours = (settings.total_epochs + 1 - step.epoch) * frames / step.frames_per_second / 3600
    if hours < _LONG_HOURS or settings.network != TALKNET or settings.freeze != "none":
        return None
    return (
        f"at this speed the run takes {hours:.0f} hours. Ctrl-C ends it; much faster: "
        "--freeze visual-frontend (a twentieth of that), or --network lr-asd (minutes)"
    )


def _epoch_row(report: EpochReport) -> list[str]:
    from asdtune.core.windows import MISMATCHES, WindowKind

    kinds = [report.validation_by_kind.get(kind.value, {})
             for kind in (WindowKind.SILENT, *MISMATCHES)]  # fmt: skip
    return [
        str(report.epoch),
        f"{report.loss:.4f}",
        f"{report.validation_score:.1f}",
        *(f"{kind['AUC']:.1f}" if kind else "-" for kind in kinds),
        f"{report.validation_accuracy:.1f}",
        duration(report.seconds),
        "best" if report.is_best else "",
    ]


def _aligned(row: Iterable[str]) -> str:
    widths = _COLUMNS.values()
    return "  ".join(value.rjust(width) for value, width in zip(row, widths, strict=True))
