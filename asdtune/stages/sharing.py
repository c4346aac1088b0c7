"""A network to the folder that is submitted, and all stages in a row."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asdtune.core.prepare.cluster import open_cluster
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import Project
from asdtune.stages.preparing import collect_chunk, crops, mfcc, splits
from asdtune.stages.requirements import project_language, requirements
from asdtune.stages.tuning import evaluate, train
from asdtune.terminal import Summary, display

if TYPE_CHECKING:
    from asdtune.core.export.export import Export


def export_config(
    project: Project,
    *,
    checkpoint: Path | None,
    window_size: int | None,
    force: bool = False,
    overwrite: bool = False,
    is_link_given: bool = False,
) -> Summary:
    """Write the submission folder.

    Args:
        project: All settings.
        checkpoint: The checkpoint; None for the best of the run.
        window_size: W, for a checkpoint that no run describes.
        force: Whether a network that was found to be worse is exported, too.
        overwrite: Whether files that somebody has edited are moved aside.
        is_link_given: Whether the link is not that of the project file.
    """
    from asdtune.core.export.folder import SUMS, write_folder

    folder = project.paths.export_dir
    with display() as drawn:
        drawn.begin("writing the folder", None)
        export = _make_export(project, checkpoint, window_size, force=force)
        moved = write_folder(export.files, folder, overwrite=overwrite)
    names = [*export.files, SUMS]
    language = export.submission.language
    data = {
        "language": language.title,
        "lang": language.code,
        "output_dir": folder.as_posix(),
        "files": names,
        "to_do": export.to_do,
        "moved": moved,
    }
    notes = [*_moved(moved), *(f"to fill in: {item}" for item in export.to_do), *export.notes]
    if is_link_given:
        notes.append(_kept(project.export_config.checkpoint_url))
    line = f"{len(names)} files for {language.title} -> {folder}"
    next_command = f"asdtune export-config --check {shlex.quote(str(folder))}"
    return Summary("export-config", line, data, notes=notes, next_command=next_command)


def push_to_hub(
    project: Project,
    repository: str,
    *,
    checkpoint: Path | None,
    window_size: int | None,
    force: bool,
    overwrite: bool,
    is_sure: bool,
) -> Summary:
    """Say what would be uploaded; if told so upload it, and write the folder with its link."""
    from asdtune.core.export.folder import refuse_edited, write_folder
    from asdtune.core.export.hub import HUB, check_repository, files_for_hub, link_of, upload
    from asdtune.core.export.provenance import open_marks

    check_repository(repository)
    folder = project.paths.export_dir
    export = _make_export(project, checkpoint, window_size, force=force)
    link = link_of(repository, export.submission.weights)
    export = replace(export, submission=replace(export.submission, link=link))
    files = files_for_hub(export)
    moved: list[str] = []
    if is_sure:
        if not overwrite:
            refuse_edited(export.files, folder)
        with display() as drawn:
            drawn.begin(f"uploading to {repository}", None)
            upload(files, repository)
        moved = write_folder(export.files, folder, overwrite=overwrite)
    sizes = {name: len(content) for name, content in files.items()}
    to_do = [f"{what}: {', '.join(names)}" for what, names in open_marks(files).items()]
    data = {"repository": repository, "link": link, "is_uploaded": is_sure, "files": sizes,
            "to_do": to_do, "moved": moved}  # fmt: skip
    notes = [*_moved(moved), *(f"to fill in first: {item}" for item in to_do), *export.notes]
    if is_sure:
        line = f"{len(sizes)} files uploaded -> {HUB}/{repository}"
        if project.export_config.checkpoint_url != link:
            notes.append(_kept(link))
    else:
        line = f"nothing is uploaded: these {len(sizes)} files would go to {HUB}/{repository}"
        notes.append("to upload them, for everybody to see, run the same command with --yes")
    rows = [["file", "KB"], *([name, f"{size / 1000:.1f}"] for name, size in sizes.items())]
    return Summary("export-config", line, data, tables=[rows], notes=notes)


def check_export(project: Project, *, toolkit: Path | None, toolkit_python: str | None) -> Summary:
    """Verify the submission folder, and say line by line what holds."""
    from asdtune.core.checkup import Finding, Mark
    from asdtune.core.export.check import check_export, still_asked

    folder = project.paths.export_dir
    python = sys.executable if toolkit_python is None else toolkit_python
    findings, data = [], []
    failures: dict[str, AsdtuneError] = {}
    with display() as drawn:
        drawn.begin("things that must hold", None)
        for done in check_export(folder, toolkit=toolkit, python=python):
            data.append(asdict(done))
            if done.problem is not None:
                failures[done.name] = AsdtuneError(done.problem, fix=done.fix)
            elif done.left_out is not None:
                text = f"{done.name} ({done.left_out})"
                findings.append(Finding("not verified", Mark.NOTE, text))
            else:
                findings.append(Finding("verified", Mark.OK, done.name))
            drawn.update(len(data), None, "")
    to_do = [f"{what}: {', '.join(names)}" for what, names in still_asked(folder).items()]
    n_left_out = sum(each["left_out"] is not None for each in data)
    n_held = len(data) - len(failures) - n_left_out
    line = f"{n_held} ok, {len(failures)} failed, {n_left_out} not verified: {folder}"
    return Summary(
        "export-config", line, {"folder": folder.as_posix(), "checks": data, "to_do": to_do},
        findings=findings, failures=failures, notes=[f"to fill in: {item}" for item in to_do],
    )  # fmt: skip


def preview(
    project: Project,
    videos: Sequence[Path],
    *,
    checkpoint: str | None,
    window_size: int | None,
    threshold: float | None,
) -> Summary:
    """Show who is speaking in videos."""
    from asdtune.core.evaluation.preview import preview_video
    from asdtune.core.evaluation.reports import REPORT_JSON, read_report
    from asdtune.core.evaluation.thresholds import threshold_of_report
    from asdtune.core.evaluation.track_scoring import TrackScorer
    from asdtune.core.models.checkpoints import checkpoint_file, load_network, read_info
    from asdtune.core.prepare.detectors import find_detector_model, load_detector
    from asdtune.core.rates import check_window_size
    from asdtune.core.training.precision import choose_precision, prepare_network
    from asdtune.core.training.run_state import BEST
    from asdtune.core.training.scoring import choose_device

    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(
            f"a threshold lies between 0 and 1, not at {threshold}", where="--threshold"
        )
    paths, crops = project.paths, project.crops
    file = checkpoint_file(checkpoint or str(paths.exps_dir / BEST))
    info = read_info(file)
    if info is not None and window_size not in (None, info.window_size):
        raise UsageError(
            f"this checkpoint was trained with windows of {info.window_size} frames",
            where="--window-size", fix="leave --window-size away",
        )  # fmt: skip
    size = project.project.window_size if info is None else info.window_size
    size = check_window_size(size if window_size is None else window_size)
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
    names: set[str] = set()
    with display() as drawn:
        for video in dict.fromkeys(videos):
            label = ""
            try:
                if video.stem in names:
                    raise AsdtuneError(
                        "another video of this name has its preview in that folder", where=video,
                        fix="run preview for it alone, with another --output-dir",
                    )  # fmt: skip
                names.add(video.stem)
                for step in preview_video(
                    video, paths.preview_dir, scorer, threshold=threshold, detector=detector,
                    detection_size=crops.detection_size, detect_every=crops.detect_every,
                    max_gap_frames=crops.max_gap_frames,
                ):  # fmt: skip
                    if step.what != label:
                        label = step.what
                        drawn.begin(f"{video.name}: {label}", step.n_total)
                    drawn.update(step.n_done, step.n_total, "")
            except AsdtuneError as error:
                failures[str(video)] = error
    n_all = len({*videos})
    n_done = n_all - len(failures)
    line = f"{n_done} of {n_all} videos, threshold {threshold:.3f} -> {paths.preview_dir}"
    data = {"written": n_done, "n_failed": len(failures), "threshold": threshold}
    return Summary("preview", line, data, failures=failures)


def run(project: Project, *, overwrite: bool = False) -> Iterator[Summary]:
    """Do everything in order, each stage skipping what is done, unless it is to be overwritten."""
    _check_early(project)
    yield collect_chunk(project, overwrite=overwrite, prune=False)
    yield crops(project, overwrite=overwrite)
    yield mfcc(project, overwrite=overwrite)
    yield splits(project, overwrite=overwrite)
    yield train(
        project,
        training_dataset=None,
        validation_dataset=None,
        test_dataset=None,
        resume=None,
        overwrite=overwrite,
    )
    yield evaluate(
        project, checkpoint=None, dataset=None, labels=None, window_size=None, overwrite=overwrite
    )
    yield export_config(project, checkpoint=None, window_size=None, overwrite=overwrite)


def _check_early(project: Project) -> None:
    """Find out before hours of work what would stop their last steps."""
    for look in requirements(project).values():
        look()
    with open_cluster(project.project.scheduler, project.paths.source):
        pass


def _make_export(
    project: Project, checkpoint: Path | None, window_size: int | None, *, force: bool
) -> Export:
    from asdtune.core.evaluation.reports import REPORT_JSON, report_name
    from asdtune.core.export.export import make_export
    from asdtune.core.export.provenance import Declared, Sources
    from asdtune.core.prepare.quality import QUALITY_CSV
    from asdtune.core.training.run_state import BEST

    paths, declared = project.paths, project.export_config.model_dump(exclude={"checkpoint_url"})
    return make_export(
        checkpoint or paths.exps_dir / BEST,
        language=project_language(project),
        checkpoint_url=project.export_config.checkpoint_url,
        window_size=window_size,
        sources=Sources(
            evaluation=paths.report_dir / REPORT_JSON,
            labels=paths.report_dir / report_name(of_labels=True),
            splits=paths.splits_dir / REPORT_JSON,
            quality=paths.face_crops_dir / QUALITY_CSV,
        ),
        declared=Declared(**declared),
        force=force,
    )


def _moved(names: Sequence[str]) -> list[str]:
    return [f"moved aside, as no export wrote it so: {name}" for name in names]


def _kept(link: str | None) -> str:
    return f'to keep the link, write into [export-config]: checkpoint_url = "{link}"'
