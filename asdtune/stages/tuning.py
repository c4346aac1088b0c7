"""Windows to a network, and how good it is: each stage called, drawn and summed up."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdtune.core.corpus import Split
from asdtune.core.files import write_text
from asdtune.core.splits import MISMATCHES, WindowKind
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import Project
from asdtune.terminal import Display, Summary, display, duration, stop_signals

if TYPE_CHECKING:
    from asdtune.core.training.run_state import EpochReport, TrainingSettings
    from asdtune.core.training.trainer import Report


def train(
    project: Project,
    *,
    training_dataset: Path | None,
    validation_dataset: Path | None,
    test_dataset: Path | None,
    resume: bool | None,
    overwrite: bool,
) -> Summary:
    """Fine-tune a network."""
    from asdtune.core.training.trainer import RunReport, Stopped, train

    splits_dir = project.paths.splits_dir
    is_own = training_dataset is None and validation_dataset is None
    if test_dataset is None and is_own and (splits_dir / "test.csv").is_file():
        test_dataset = splits_dir / "test.csv"
    with stop_signals() as should_stop, display() as drawn:
        drawn.begin("reading the splits", None)
        steps = train(
            training_dataset or splits_dir / "training.csv",
            validation_dataset or splits_dir / "validation.csv",
            test_dataset,
            project.paths.exps_dir,
            settings=training_settings(project),
            device=project.train.device,
            resume=resume,
            overwrite=overwrite,
            save_seconds=project.train.save_minutes * 60,
            should_stop=should_stop,
        )
        last = _draw_training(steps, drawn, project.recipe.total_epochs)
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
    line += f"{' (nothing to do)' if last.is_fresh else ''} -> {last.checkpoint}"
    return Summary(
        "train",
        line,
        data,
        notes=() if last.test else ["no test split: name one with --test-dataset"],
        next_command="asdtune evaluate",
    )


def training_settings(project: Project) -> TrainingSettings:
    """Give the settings of a run."""
    from asdtune.core.training.run_state import TrainingSettings

    of_recipe = project.recipe.model_dump(exclude={"device", "save_minutes"})
    return TrainingSettings(
        **of_recipe,
        network=project.model.network,
        window_size=project.project.window_size,
        seed=project.project.seed,
    )


def _draw_training(steps: Iterator[Report], drawn: Display, n_epochs: int) -> Report:
    """Draw the progress of training, a line for each epoch; give its last report."""
    from asdtune.core.training.epoch import StepReport
    from asdtune.core.training.run_state import EpochReport
    from asdtune.core.training.stores import FeatureReport

    label, has_header = "", False

    def draw(what: str, n_done: int, n_total: int, speed: str) -> str:
        if what != label:
            drawn.begin(what, n_total)
        drawn.update(n_done, n_total, speed)
        return what

    for step in steps:
        if isinstance(step, FeatureReport):
            label = draw(step.what, step.n_done, step.n_total, "")
        elif isinstance(step, StepReport):
            speed = f"loss {step.loss:.3f}, {step.frames_per_second:.0f} frames/s"
            label = draw(f"epoch {step.epoch}/{n_epochs}", step.step, step.n_steps, speed)
        elif isinstance(step, EpochReport):
            if not has_header:
                drawn.say(_ABOUT_COLUMNS)
                drawn.say(_aligned(_COLUMNS))
                has_header = True
            drawn.say(_aligned(_epoch_row(step)))
    return step


_COLUMNS = {
    "epoch": 5, "loss": 6, "score": 5, "silent": 6, "temporal": 8, "partial": 7, "complete": 8,
    "accuracy": 8, "time": 5, "": 4,
}  # fmt: skip
_ABOUT_COLUMNS = (
    "of validation, in percent: AUC of silent faces and of mismatches by kind (chance: 50); score: "
    "the mean of silent faces and mismatches, by which the best epoch is chosen; accuracy at 0.5"
)
_IN_ORDER = (WindowKind.SILENT, *MISMATCHES)


def _epoch_row(report: EpochReport) -> list[str]:
    kinds = [report.validation_by_kind.get(kind.value, {}) for kind in _IN_ORDER]
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


def evaluate(
    project: Project,
    *,
    checkpoint: str | None,
    dataset: Path | None,
    labels: Path | None,
    window_size: int | None,
    overwrite: bool,
) -> Summary:
    """Score a split, or labelled clips, with a checkpoint."""
    from asdtune.core.evaluation.evaluate import Evaluation, evaluate, window_size_of
    from asdtune.core.evaluation.evaluation_sets import SplitWindows
    from asdtune.core.evaluation.figures import (
        figures_table,
        kinds_table,
        notes_of,
        thresholds_table,
    )
    from asdtune.core.evaluation.labelled_clips import Evaluated, LabelledClips
    from asdtune.core.evaluation.page import render_page
    from asdtune.core.models.checkpoints import baseline_of, checkpoint_file
    from asdtune.core.training.run_state import BEST

    if labels is not None and dataset is not None:
        raise UsageError(
            "a split and labelled clips are two evaluations", where="--labels, --dataset",
            fix="run evaluate once with each",
        )  # fmt: skip
    paths, settings = project.paths, project.evaluate
    path = checkpoint_file(checkpoint or str(paths.exps_dir / BEST))
    baseline = baseline_of(path, settings.baseline)
    against = None if baseline is None else checkpoint_file(baseline, flag="--baseline")
    size = window_size_of(path, window_size, project.project.window_size)
    split, validation = dataset or held_out(paths.splits_dir), paths.splits_dir / "validation.csv"
    evaluated: Evaluated = (
        SplitWindows(split, size, silent_faces_dir=paths.report_dir)
        if labels is None
        else LabelledClips(labels, paths.face_crops_dir, paths.mfccs_dir, scored_frames=size)
    )
    thresholds_on = None
    if settings.toolkit_clips and validation.is_file():
        thresholds_on = SplitWindows(validation, size, silent_faces_dir=paths.report_dir)
    steps = evaluate(
        path,
        evaluated,
        paths.report_dir,
        window_size=size,
        baseline=against,
        thresholds_on=thresholds_on,
        toolkit_clips=settings.toolkit_clips,
        batch_size=settings.batch_size,
        device=project.train.device,
        overwrite=overwrite,
    )
    done: Evaluation | None = None
    with display() as drawn:
        label = "scoring"
        drawn.begin(label, None)
        for step in steps:
            if isinstance(step, Evaluation):
                done = step
                continue
            if step.what != label:
                label = step.what
                drawn.begin(label, step.n_total)
            drawn.update(step.n_done, step.n_total, "")
    assert done is not None
    report, page = done.report, done.report_path.with_suffix(".html")
    write_text(page, render_page(report, done.scores_path, checkpoint=path, dataset=split))
    what = f"{report['checkpoint']['network']} {path} on {report['split']}"
    what += ", nothing to do" if done.is_fresh else ""
    outputs = {"scores": done.scores_path.as_posix(), "page": page.as_posix()}
    kinds = [kinds_table(report)] if report["by_kind"] else []
    return Summary(
        "evaluate", f"{report['verdict']['text']} ({what}) -> {page}, {done.report_path.name}",
        {**report, **outputs, "is_fresh": done.is_fresh},
        tables=[figures_table(report), *kinds, thresholds_table(report)],
        failures=done.failures, notes=list(notes_of(report)),
        next_command=_after_evaluate(report, paths.report_dir, checkpoint),
    )  # fmt: skip


def _after_evaluate(report: dict[str, Any], report_dir: Path, checkpoint: str | None) -> str:
    """Name the next command: an export takes figures and threshold from the report of a split."""
    from asdtune.core.evaluation.held_out import speakers_are
    from asdtune.core.evaluation.labelled_clips import LABELS
    from asdtune.core.evaluation.reports import REPORT_JSON, read_report

    of_network = ""
    if checkpoint is not None and Path(checkpoint).is_file():
        of_network = f" --checkpoint {shlex.quote(checkpoint)}"
    try:
        of_split = read_report(report_dir / REPORT_JSON).get("checkpoint", {})
    except AsdtuneError:  # which the next evaluation of a split tells
        of_split = {}
    is_judged = of_split.get("blake2b") == report["checkpoint"]["blake2b"]
    is_of_training = speakers_are(report) == Split.TRAINING  # of which no export takes anything
    if is_of_training or (report["of"] == LABELS and not is_judged):
        return f"asdtune evaluate{of_network}"
    return f"asdtune export-config{of_network}"


def held_out(splits_dir: Path) -> Path:
    """Give the test split, or the validation split of a project that has no test speakers."""
    test, validation = splits_dir / "test.csv", splits_dir / "validation.csv"
    return validation if validation.is_file() and not test.is_file() else test
