"""Commands that judge a network: evaluate, and preview."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asdtune.commands.command import Checkpoint, Overwrite, WindowSize
from asdtune.console import Summary, display
from asdtune.core.corpus import Split
from asdtune.core.files import write_text
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import Project

if TYPE_CHECKING:
    from asdtune.core.evaluation.evaluate import Evaluation

Csv = Annotated[Path | None, typer.Option(help="CSV; default: the test split, or else validation.")]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="Or: clips in which somebody has marked who speaks when, as CSV (clip, start_second, "
        "end_second, speaking), ELAN, Praat TextGrid, Audacity labels, AVA-ActiveSpeaker or RTTM, "
        "or a folder of such files; they are scored as a whole, and judged frame by frame."
    ),
]
Videos = Annotated[list[Path], typer.Argument(help="Any videos, of one person or several.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="From which score on somebody speaks; default: what evaluate found."
    ),
]


def evaluate(
    project: Project,
    *,
    checkpoint: Checkpoint = None,
    dataset: Csv = None,
    labels: Labels = None,
    window_size: WindowSize = None,
    overwrite: Overwrite = False,
) -> Summary:
    """Say how good a checkpoint is on speakers it never met, and how sure that is.

    Out: report.html, one page that begins with the verdict: who is speaking (silent faces) and
    sync, each beside the baseline; report.json (these and other figures, in percent, with 95 %
    intervals over speakers, by kind of window and speaker; thresholds) and scores_<split>.csv; with
    --labels, report_labels.html, .json and scores_labels.csv.
    """
    from asdtune.core.evaluation.evaluate import Evaluation, evaluate, window_size_of
    from asdtune.core.evaluation.evaluation_sets import SplitWindows
    from asdtune.core.evaluation.labelled_clips import Evaluated, LabelledClips
    from asdtune.core.evaluation.page import render_page
    from asdtune.core.models.checkpoints import baseline_of, checkpoint_file
    from asdtune.core.prepare.failures import read_failures
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
    done: Evaluation | None = None
    with display() as drawn:
        drawn.show("scoring", 0, None)
        for step in evaluate(
            path, evaluated, paths.report_dir, window_size=size, baseline=against,
            thresholds_on=thresholds_on, toolkit_clips=settings.toolkit_clips,
            batch_size=settings.batch_size, device=project.train.device, overwrite=overwrite,
        ):  # fmt: skip
            if isinstance(step, Evaluation):
                done = step
            else:
                drawn.show(step.what, step.n_done, step.n_total)
    assert done is not None
    page = done.report_path.with_suffix(".html")
    failed = read_failures(paths.video_dir) | read_failures(paths.face_crops_dir)
    html = render_page(done.report, done.scores_path, checkpoint=path, dataset=split, failed=failed)
    write_text(page, html)
    return _summary_of(done, page, path, _after_evaluate(done.report, paths.report_dir, checkpoint))


def _summary_of(done: Evaluation, page: Path, checkpoint: Path, next_command: str) -> Summary:
    from asdtune.core.evaluation.figures import (
        figures_table,
        kinds_table,
        notes_of,
        thresholds_table,
    )

    report = done.report
    what = f"{report['checkpoint']['network']} {checkpoint} on {report['split']}"
    what += ", up to date" if done.is_fresh else ""
    outputs = {"scores": done.scores_path.as_posix(), "page": page.as_posix()}
    kinds = [kinds_table(report)] if report["by_kind"] else []
    return Summary(
        "evaluate", f"{report['verdict']['text']} ({what}) -> {page}, {done.report_path.name}",
        {**report, **outputs, "is_fresh": done.is_fresh},
        tables=[figures_table(report), *kinds, thresholds_table(report)],
        failures=done.failures, notes=list(notes_of(report)),
        next_command=next_command,
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


def preview(
    project: Project,
    videos: Videos,
    *,
    checkpoint: Checkpoint = None,
    window_size: WindowSize = None,
    threshold: Threshold = None,
) -> Summary:
    """Show who is speaking in videos: boxes, scores over time, and a CSV.

    Out: NAME_preview.mp4, with a box around every face, green while its person speaks, and
    NAME_preview.csv with a row for every face in every frame.
    """
    from asdtune.core.evaluation.evaluate import window_size_of
    from asdtune.core.evaluation.preview import preview_video
    from asdtune.core.evaluation.reports import REPORT_JSON, read_report
    from asdtune.core.evaluation.thresholds import threshold_of_report
    from asdtune.core.evaluation.track_scoring import TrackScorer
    from asdtune.core.models.checkpoints import checkpoint_file, load_network
    from asdtune.core.prepare.detectors import find_detector_model, load_detector
    from asdtune.core.training.devices import choose_device, choose_precision, prepare_network
    from asdtune.core.training.run_state import BEST

    paths, crops = project.paths, project.crops
    file = checkpoint_file(checkpoint or str(paths.exps_dir / BEST))
    size = window_size_of(file, window_size, project.project.window_size)
    if threshold is None:
        threshold = threshold_of_report(read_report(paths.report_dir / REPORT_JSON), file)
    _, network = load_network(file)
    device = choose_device(project.train.device)
    precision = choose_precision(project.train.precision, device)
    prepare_network(network, precision, device)
    scorer = TrackScorer(network, size, precision)
    model = find_detector_model(crops.detector, crops.detector_model)
    detector = load_detector(crops.detector, model, crops.min_score)
    failures: dict[str, AsdtuneError] = {}
    made: set[tuple[Path, str]] = set()
    with display() as drawn:
        for video in dict.fromkeys(videos):
            try:
                is_alone = [each.stem for each in {*videos}].count(video.stem) == 1
                folder = paths.preview_dir / ("" if is_alone else video.absolute().parent.name)
                if (folder, video.stem) in made:
                    raise AsdtuneError(
                        "another video of this name has its preview in that folder", where=video,
                        fix="run preview for it alone, with another --output-dir",
                    )  # fmt: skip
                made.add((folder, video.stem))
                for step in preview_video(
                    video, folder, scorer, threshold=threshold, detector=detector,
                    detection_size=crops.detection_size, detect_every=crops.detect_every,
                    max_gap_frames=crops.max_gap_frames,
                ):  # fmt: skip
                    drawn.show(f"{video.name}: {step.what}", step.n_done, step.n_total)
            except AsdtuneError as error:
                failures[str(video)] = error
    n_all = len({*videos})
    n_done = n_all - len(failures)
    line = f"{n_done} of {n_all} videos, threshold {threshold:.3f} -> {paths.preview_dir}"
    data = {"written": n_done, "n_failed": len(failures), "threshold": threshold}
    return Summary("preview", line, data, failures=failures)
