"""Every stage from the project file: call the core, draw its progress, sum it up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdtune.core.corpus import Split
from asdtune.core.prepare.batch import ClipResult, Status
from asdtune.core.prepare.cluster import open_cluster
from asdtune.core.rates import seconds_of_frames
from asdtune.core.splits import NEGATIVE_KINDS
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import Project
from asdtune.terminal import Display, Summary, display, duration, stop_signals

if TYPE_CHECKING:
    from asdtune.core.prepare.windows import SplitResult
    from asdtune.core.tune.runs import EpochReport, TrainingSettings
    from asdtune.core.tune.training import Report


_PARTS_OF_A_CLIP = 3  # <split>/<speaker>/<clip>


def collect_chunk(project: Project, *, overwrite: bool, prune: bool) -> Summary:
    """Long videos to chunks."""
    from asdtune.core.prepare.chunks import collect_chunks

    paths, settings = project.paths, project.collect_chunk
    with open_cluster(project.project.scheduler, paths.source, paths.video_dir) as executor:
        results = collect_chunks(
            paths.source,
            paths.video_dir,
            chunk_seconds=settings.chunk_seconds,
            min_chunk_seconds=settings.min_chunk_seconds,
            split_ratio=settings.split_ratio,
            seed=project.project.seed,
            workers=project.project.workers,
            overwrite=overwrite,
            prune=prune,
            executor=executor,
        )
        summary, done = _batch("collect-chunk", results, "video", paths.video_dir, "crops")
    chunks = [chunk for result in done for chunk in result.details.get("chunks", [])]
    return replace(summary, tables=_speakers_tables(chunks))


def crops(project: Project, *, overwrite: bool) -> Summary:
    """Chunks to face crops."""
    from asdtune.core.prepare.crops import extract_crops

    paths, settings = project.paths, project.crops
    with open_cluster(project.project.scheduler, paths.video_dir, paths.face_crops_dir) as executor:
        results = extract_crops(
            paths.video_dir,
            paths.face_crops_dir,
            detector=settings.detector,
            detector_model=settings.detector_model,
            detection_size=settings.detection_size,
            min_score=settings.min_score,
            detect_every=settings.detect_every,
            max_gap_frames=settings.max_gap_frames,
            workers=project.project.workers,
            overwrite=overwrite,
            executor=executor,
        )
        summary, done = _batch("crops", results, "clip", paths.face_crops_dir, "mfcc")
    if project.splits.all_clips:
        return summary
    return replace(summary, notes=[*summary.notes, *_unfit_notes(done)])


def mfcc(project: Project, *, overwrite: bool) -> Summary:
    """Chunks to MFCC."""
    from asdtune.core.prepare.mfcc import extract_mfccs

    paths = project.paths
    with open_cluster(project.project.scheduler, paths.video_dir, paths.mfccs_dir) as executor:
        results = extract_mfccs(
            paths.video_dir,
            paths.face_crops_dir,
            paths.mfccs_dir,
            workers=project.project.workers,
            overwrite=overwrite,
            executor=executor,
        )
        summary, done = _batch("mfcc", results, "clip", paths.mfccs_dir, "splits")
    is_laid_out = all(len(Path(result.name).parts) == _PARTS_OF_A_CLIP for result in done)
    if is_laid_out or summary.next_command is None:  # or nothing was done
        return summary
    note = (
        "these are not laid out as <split>/<speaker>/<clip>, as splits wants them; "
        "collect-chunk lays videos out so"
    )
    return replace(summary, notes=[*summary.notes, note], next_command=None)


def splits(project: Project, *, overwrite: bool) -> Summary:
    """Face crops and MFCC to window-level CSVs."""
    from asdtune.core.prepare.windows import make_splits

    paths, settings = project.paths, project.splits
    results: list[SplitResult] = []
    with display() as drawn:
        drawn.begin("splits", len(Split))
        for result in make_splits(
            paths.face_crops_dir,
            paths.mfccs_dir,
            paths.splits_dir,
            window_size=project.project.window_size,
            windows_per_sample=settings.windows_per_sample,
            n_samples=settings.n_samples,
            min_speech_share=settings.min_speech_share,
            all_clips=settings.all_clips,
            seed=project.project.seed,
            overwrite=overwrite,
        ):
            results.append(result)
            drawn.update(len(results), len(Split), f"{result.report['n_windows']} windows")
    left_out = {name: error for result in results for name, error in result.left_out.items()}
    failures = {name: error for result in results for name, error in result.failed.items()}
    notes = [f"{result.split}: {note}" for result in results for note in result.notes]
    missing = {split.value for split in Split} - {result.split.value for result in results}
    if missing:
        notes.append(f"no clips in {' and '.join(sorted(missing))}: no CSV was written for it")
    counted = [f"{result.report['n_windows']} windows for {result.split}" for result in results]
    line = ", ".join(counted)
    if left_out:
        line += f"; {_counted(len(left_out), 'clip')} left out"
    if all(result.is_fresh for result in results):
        line += " (nothing to do)"
    return Summary(
        "splits",
        f"{line} -> {paths.splits_dir}",
        {
            str(result.split): {"path": result.path.as_posix(), **result.report}
            for result in results
        },
        tables=_splits_tables(results),
        failures=failures,
        left_out=left_out,
        notes=notes,
        next_command="asdtune train",
    )


def _splits_tables(results: Sequence[SplitResult]) -> list[list[list[str]]]:
    """Tell the windows of every kind and of every speaker."""
    kinds = [["split", "kind", "windows", "silence", "padding"]]
    speakers = [["split", "speaker", "clips", "minutes", "windows"]]
    for result in results:
        for name, kind in result.report["kinds"].items():
            kinds.append(
                [
                    str(result.split),
                    name,
                    str(kind["n_windows"]),
                    _percent(kind["silence_percent"]),
                    _percent(kind["padding_percent"]),
                ]
            )
        for name, speaker in result.report["speakers"].items():
            speakers.append(
                [
                    str(result.split),
                    name,
                    str(speaker["n_clips"]),
                    f"{speaker['minutes']:.1f}",
                    str(speaker["n_windows"]),
                ]
            )
    return [kinds, speakers]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"


def train(
    project: Project,
    *,
    training_dataset: Path | None,
    validation_dataset: Path | None,
    test_dataset: Path | None,
    resume: bool | None,
    overwrite: bool,
) -> Summary:
    """Fine-tune TalkNet."""
    from asdtune.core.tune.training import RunReport, Stopped, train

    splits_dir = project.paths.splits_dir
    if test_dataset is None and (splits_dir / "test.csv").is_file():
        test_dataset = splits_dir / "test.csv"
    with stop_signals() as should_stop, display() as drawn:
        drawn.begin("reading the splits", None)
        steps = train(
            training_dataset or splits_dir / "training.csv",
            validation_dataset or splits_dir / "validation.csv",
            test_dataset,
            project.paths.exps_dir,
            settings=_training_settings(project),
            device=project.train.device,
            resume=resume,
            overwrite=overwrite,
            save_seconds=project.train.save_minutes * 60,
            should_stop=should_stop,
        )
        table, last = _draw_training(steps, drawn, project.train.total_epochs)
    if isinstance(last, Stopped):
        raise KeyboardInterrupt(f" with --resume, in epoch {last.epoch} after step {last.step}")
    assert isinstance(last, RunReport)
    data = {
        "best_epoch": last.best_epoch,
        "validation_mAP": last.validation_mAP,
        "test": last.test,
        "checkpoint": last.checkpoint.as_posix(),
        "is_fresh": last.is_fresh,
    }
    tested = "" if last.test is None else f", test mAP {last.test['mAP']:.2f}"
    line = f"epoch {last.best_epoch} is the best: validation mAP {last.validation_mAP:.2f}{tested}"
    line += f"{' (nothing to do)' if last.is_fresh else ''} -> {last.checkpoint}"
    return Summary(
        "train",
        line,
        data,
        tables=[table] if len(table) > 1 else (),
        next_command="asdtune evaluate",
    )


def probe_training(
    project: Project, *, training_dataset: Path | None, validation_dataset: Path | None
) -> Summary:
    """Say what training would cost."""
    from asdtune.core.tune.probing import probe

    splits_dir = project.paths.splits_dir
    with display() as drawn:
        drawn.begin("taking a few steps", None)
        found = probe(
            training_dataset or splits_dir / "training.csv",
            validation_dataset or splits_dir / "validation.csv",
            settings=_training_settings(project),
            device=project.train.device,
        )
    table = [["epochs", "frozen", "negatives", "windows", "steps", "time each"]]
    table += [
        [
            "-".join(str(epoch) for epoch in dict.fromkeys(phase.epochs)),
            phase.freeze,
            "temporal" if phase.is_temporal else "all",
            str(phase.n_windows),
            str(phase.n_steps),
            duration(phase.seconds),
        ]
        for phase in found.phases
    ]
    memory = "" if found.memory_bytes is None else f", {found.memory_bytes / 2**30:.1f} GB memory"
    features = ""
    if found.feature_seconds:
        features = f" (of which {duration(found.feature_seconds)} to store features)"
    line = (
        f"about {duration(found.seconds)}{features} on {found.device} in {found.precision}"
        f"{memory}, {found.disk_bytes / 2**30:.1f} GB disk; nothing was begun"
    )
    return Summary("train", line, asdict(found), tables=[table], next_command="asdtune train")


def _training_settings(project: Project) -> TrainingSettings:
    from asdtune.core.tune.runs import TrainingSettings

    of_table = project.train.model_dump(exclude={"device", "save_minutes"})
    shared = project.project
    return TrainingSettings(**of_table, window_size=shared.window_size, seed=shared.seed)


def _draw_training(
    steps: Iterator[Report], drawn: Display, n_epochs: int
) -> tuple[list[list[str]], Report]:
    """Draw the progress of training; give its closing table and its last report."""
    from asdtune.core.tune.features import FeatureReport
    from asdtune.core.tune.learning import StepReport
    from asdtune.core.tune.runs import EpochReport

    table = [
        ["epoch", "loss", "validation mAP", "temporal", "partial", "complete", "accuracy",
         "frames/s", "time", "best"]
    ]  # fmt: skip
    label = ""

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
            if len(table) == 1:
                drawn.say(_aligned(table[0]))
            table.append(_epoch_row(step))
            drawn.say(_aligned(table[-1]))
    return table, step


def _epoch_row(report: EpochReport) -> list[str]:
    kinds = [report.validation_by_kind.get(kind.value, {}) for kind in NEGATIVE_KINDS]
    return [
        str(report.epoch),
        f"{report.loss:.4f}",
        f"{report.validation_mAP:.2f}",
        *(f"{kind['mAP']:.2f}" if kind else "-" for kind in kinds),
        f"{report.validation_accuracy:.2f}",
        f"{report.frames_per_second:.0f}",
        duration(report.seconds),
        "*" if report.is_best else "",
    ]


def _aligned(row: list[str]) -> str:
    widths = (5, 7, 14, 8, 7, 8, 8, 8, 7, 4)
    return "  ".join(value.rjust(width) for value, width in zip(row, widths, strict=True))


def evaluate(
    project: Project,
    *,
    checkpoint: str | None,
    dataset: Path | None,
    window_size: int | None,
    overwrite: bool,
) -> Summary:
    """Score a split with a checkpoint."""
    from asdtune.core.tune.evaluation import Evaluation, evaluate
    from asdtune.core.tune.runs import BEST

    paths = project.paths
    results = evaluate(
        checkpoint or str(paths.exps_dir / BEST),
        dataset or _held_out(paths.splits_dir),
        paths.report_dir,
        baseline=project.evaluate.baseline,
        window_size=window_size,
        default_window_size=project.project.window_size,
        batch_size=project.evaluate.batch_size,
        device=project.train.device,
        overwrite=overwrite,
    )
    done: Evaluation | None = None
    with display() as drawn:
        drawn.begin("scoring", None)
        for step in results:
            if isinstance(step, Evaluation):
                done = step
            else:
                drawn.update(step.n_done, step.n_total, f"windows ({step.what})")
    assert done is not None
    report = done.report
    table = [["windows", "number", "mAP", "chance", "accuracy", "mean score"]]
    chance = f"{report['chance_mAP']:.2f}"
    mean_ap, right = f"{report['mAP']:.2f}", f"{report['accuracy']:.2f}"
    table.append(["all", str(report["n_windows"]), mean_ap, chance, right, ""])
    for kind, entry in report["by_kind"].items():
        mean_ap = f"{entry['mAP']:.2f}" if "mAP" in entry else ""
        chance = f"{entry['chance_mAP']:.2f}" if "mAP" in entry else ""
        table.append(
            [
                kind,
                str(entry["n_windows"]),
                mean_ap,
                chance,
                f"{entry['accuracy']:.2f}",
                f"{entry['mean_score']:.3f}",
            ]
        )
    line = (
        f"mAP {report['mAP']:.2f} on {report['split']}, windows of {report['window_size']} frames"
    )
    if "baseline" in report:
        line += f", baseline {report['baseline']['mAP']:.2f}"
    line += f"{' (nothing to do)' if done.is_fresh else ''} -> {done.report_path}"
    data = {**report, "scores": done.scores_path.as_posix(), "is_fresh": done.is_fresh}
    return Summary("evaluate", line, data, tables=[table], next_command="asdtune export-config")


def _held_out(splits_dir: Path) -> Path:
    """Give the test split, or the validation split of a project that has no test speakers."""
    test, validation = splits_dir / "test.csv", splits_dir / "validation.csv"
    return validation if validation.is_file() and not test.is_file() else test


def export_config(project: Project, *, checkpoint: Path | None, window_size: int | None) -> Summary:
    """Write the submission folder."""
    from asdtune.core.share.annotheia import export_config
    from asdtune.core.tune.runs import BEST

    paths = project.paths
    language = _check_language(project)
    with display() as drawn:
        drawn.begin("writing the folder", None)
        export = export_config(
            checkpoint or paths.exps_dir / BEST,
            paths.export_dir,
            language=language,
            checkpoint_url=project.export_config.checkpoint_url,
            window_size=window_size,
            report=paths.report_dir / "report.json",
        )
    data = {
        "language": export.language.title,
        "lang": export.language.code,
        "output_dir": export.output_dir.as_posix(),
        "files": list(export.paths),
        "to_do": list(export.to_do),
    }
    line = f"{len(export.paths)} files for {export.language.title} -> {export.output_dir}"
    notes = [f"to fill in: {item}" for item in export.to_do]
    notes += [f"{name} is as you edited it" for name in export.kept]
    return Summary("export-config", line, data, notes=notes)


def run(project: Project) -> Iterator[Summary]:
    """Do everything in order, each stage skipping what is done."""
    _check_early(project)
    yield collect_chunk(project, overwrite=False, prune=False)
    yield crops(project, overwrite=False)
    yield mfcc(project, overwrite=False)
    yield splits(project, overwrite=False)
    yield train(
        project,
        training_dataset=None,
        validation_dataset=None,
        test_dataset=None,
        resume=None,
        overwrite=False,
    )
    yield evaluate(project, checkpoint=None, dataset=None, window_size=None, overwrite=False)
    yield export_config(project, checkpoint=None, window_size=None)


def _check_early(project: Project) -> None:
    """Find out before hours of work what would stop their last steps."""
    from asdtune.core.networks.checkpoints import find_checkpoint
    from asdtune.core.prepare.faces import find_detector_model
    from asdtune.core.share.languages import find_language
    from asdtune.core.tune.scoring import choose_device

    find_language(_check_language(project))
    find_detector_model(project.crops.detector, project.crops.detector_model)
    find_checkpoint(project.train.checkpoint)
    if project.evaluate.baseline is not None:
        find_checkpoint(project.evaluate.baseline, flag="--baseline")
    choose_device(project.train.device)
    with open_cluster(project.project.scheduler, project.paths.source):
        pass


def _check_language(project: Project) -> str:
    if project.project.language is None:
        raise UsageError(
            "which language is it?",
            where="--language",
            fix="give --language, or write it into the table [project] of the project file",
        )
    return project.project.language


def _unfit_notes(results: Iterable[ClipResult]) -> list[str]:
    """Name the clips that splits will leave out, with the reason."""
    from asdtune.core.prepare.quality import why_unfit

    notes = []
    for result in results:
        if "n_frames_of_speaker" in result.details:
            problem = why_unfit(
                n_frames=result.details["n_frames"],
                n_several=result.details["n_frames_with_several_faces"],
                n_speaker=result.details["n_frames_of_speaker"],
            )
            if problem is not None:
                notes.append(f"{result.name} has {problem}; splits leaves it out")
    return sorted(notes)


def _speakers_tables(chunks: list[dict[str, Any]]) -> list[list[list[str]]]:
    """Tell how many speakers, chunks and minutes each split has."""
    total = sum(chunk["n_frames"] for chunk in chunks)
    table = [["split", "speakers", "chunks", "minutes", "share"]]
    for split in Split:
        of_split = [chunk for chunk in chunks if chunk["split"] == split.value]
        n_frames = sum(chunk["n_frames"] for chunk in of_split)
        table.append(
            [
                split.value,
                str(len({chunk["speaker"] for chunk in of_split})),
                str(len(of_split)),
                f"{seconds_of_frames(n_frames) / 60:.1f}",
                f"{n_frames / max(total, 1):.0%}",
            ]
        )
    return [table] if chunks else []


def _batch(
    stage: str, results: Iterable[ClipResult], unit: str, output_dir: Path, next_stage: str
) -> tuple[Summary, list[ClipResult]]:
    """Draw a batch as it goes and sum it up; give the results with it."""
    counts: Counter[Status] = Counter()
    failures: dict[str, AsdtuneError] = {}
    left_over: list[str] = []
    done: list[ClipResult] = []
    started = time.monotonic()
    n_frames = n_seen = 0
    with display() as drawn:
        drawn.begin(stage, None)
        for result in results:
            done.append(result)
            counts[result.status] += 1
            n_seen += result.status is not Status.LEFT_OVER
            if result.status is Status.WRITTEN:
                n_frames += result.n_frames
            elif result.status is Status.LEFT_OVER:
                left_over.append(result.name)
            if result.error is not None:
                failures[result.name] = result.error
            speed = f"{n_frames / (time.monotonic() - started):.0f} frames/s"
            if failures:
                speed += f", {len(failures)} failed"
            drawn.update(n_seen, result.n_total, speed)
    seconds = time.monotonic() - started
    parts = [f"{_counted(counts[Status.WRITTEN], unit)} written"]
    if counts[Status.FRESH]:
        parts.append(f"{counts[Status.FRESH]} done before")
    if counts[Status.FOREIGN]:
        parts.append(f"{counts[Status.FOREIGN]} not made by asdtune and kept")
    if counts[Status.FAILED]:
        parts.append(f"{counts[Status.FAILED]} failed")
    notes = []
    if left_over:
        notes.append(
            f"no longer in the source, but their chunks are still used: {', '.join(left_over)}; "
            "--prune deletes these chunks"
        )
    data = {
        **{status.value: counts[status] for status in Status if status is not Status.FAILED},
        "n_failed": counts[Status.FAILED],
        "n_frames": n_frames,
        "seconds": round(seconds, 2),
        "output_dir": output_dir.as_posix(),
    }
    summary = Summary(
        stage,
        f"{', '.join(parts)} -> {output_dir}",
        data,
        failures=dict(sorted(failures.items())),
        notes=notes,
        next_command=f"asdtune {next_stage}" if n_seen > counts[Status.FAILED] else None,
    )
    return summary, done


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
