"""How far each stage of a project is, told by what lies in its folders. Nothing is changed.

statuses = status_of_stages(project)
print(next_stage(statuses))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from asdtune.commands.evaluate import held_out
from asdtune.commands.requirements import downloads
from asdtune.commands.train import training_settings
from asdtune.core.checkup import explain
from asdtune.core.corpus import VIDEO_SUFFIXES, Split
from asdtune.core.downloads import cached_path
from asdtune.core.files import content_hash
from asdtune.core.locks import HIDDEN_DIR
from asdtune.core.models.checkpoints import baseline_of, find_local
from asdtune.core.models.registry import SCRATCH
from asdtune.core.prepare.chunk_plan import Cutting, states_of_sources
from asdtune.core.prepare.failures import read_failures
from asdtune.core.prepare.jobs import Job, find_videos
from asdtune.core.prepare.provenance import state_of
from asdtune.errors import AsdtuneError
from asdtune.project import Project


class State(str, Enum):
    """How far a stage is."""

    NOT_BEGUN = "not begun"
    HALF = "half finished"
    OUT_OF_DATE = "out of date"
    BLOCKED = "blocked"  # it would stop
    WAITS = "waits"  # for an earlier stage
    DONE = "done"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is, in a word and in a line, and what is to be mended there."""

    state: State
    text: str = ""
    fix: str | None = None


def status_of_stages(project: Project) -> dict[str, StageStatus]:
    """Give the status of every stage, in their order."""
    statuses: dict[str, StageStatus] = {}
    for stage, look in _LOOKS.items():
        try:
            statuses[stage] = look(project)
        except Exception as error:
            begun = {name: s for name, s in statuses.items() if s.state is not State.NOT_BEGUN}
            before = next_stage(begun)  # that it is not done may be all that is wrong
            blocked = StageStatus(State.BLOCKED, *explain(error))
            statuses[stage] = StageStatus(State.WAITS, f"for {before}") if before else blocked
    return statuses


def next_stage(statuses: Mapping[str, StageStatus]) -> str | None:
    """Name the first stage that is not done; None where all are.

    A stage that nobody began is passed over where a later one has begun without it.
    """
    begun = [name for name, status in statuses.items() if status.state is not State.NOT_BEGUN]
    names = [*statuses]
    ahead = names[names.index(begun[-1]) + 1 :] if begun else names
    wanted = (name for name in (*begun, *ahead) if statuses[name].state is not State.DONE)
    return next(wanted, None)


def status_of_collect_chunk(project: Project) -> StageStatus:
    """Compare the chunks with the sources."""
    paths, settings = project.paths, project.collect_chunk
    if paths.source.suffix.lower() != ".csv" and not _has_any(paths.source, VIDEO_SUFFIXES):
        if _has_any(paths.video_dir, VIDEO_SUFFIXES) or _has_any(paths.face_crops_dir, (".npz",)):
            return StageStatus(State.DONE, f"no videos in {paths.source} any more")
        raise AsdtuneError(
            "no videos here yet",
            where=paths.source,
            fix=f"put them there, one folder per speaker: {paths.source}/<speaker>/*.mp4; or name "
            "another folder or a CSV: asdtune collect-chunk SOURCE",
        )
    cutting = Cutting(
        settings.chunk_seconds, settings.min_chunk_seconds, project.project.audio_track
    )
    states = states_of_sources(paths.source, paths.video_dir, cutting)
    return _status_of_jobs("collect-chunk", states)


def status_of_crops(project: Project) -> StageStatus:
    """Compare the face crops with the chunks."""
    from asdtune.core.prepare.crops import plan_crops

    paths, settings = project.paths, project.crops.model_dump(exclude={"detector_model"})
    published = downloads(project).get("detector")
    model = cached_path(published) if published else project.crops.detector_model
    if (model and not model.is_file()) or not _has_any(paths.video_dir, VIDEO_SUFFIXES):
        return _status_of_kept(paths.face_crops_dir)
    videos, clashes = find_videos(paths.video_dir)
    jobs = plan_crops(videos, paths.video_dir, paths.face_crops_dir, model=model, **settings)
    return _status_of_npz("crops", jobs, paths.face_crops_dir, len(clashes))


def status_of_mfcc(project: Project) -> StageStatus:
    """Compare the MFCC with the chunks."""
    from asdtune.core.prepare.extract_mfccs import plan_mfccs

    paths = project.paths
    if not _has_any(paths.video_dir, VIDEO_SUFFIXES):
        return _status_of_kept(paths.mfccs_dir)
    videos, clashes = find_videos(paths.video_dir)
    jobs = plan_mfccs(
        videos, paths.video_dir, paths.face_crops_dir, paths.mfccs_dir, project.project.audio_track
    )
    return _status_of_npz("mfcc", jobs, paths.mfccs_dir, len(clashes))


def _status_of_kept(folder: Path) -> StageStatus:
    """Count clips whose videos, or whose detector, are not on this machine."""
    n_clips = sum(1 for _ in folder.glob("[!.]*/**/*.npz"))
    text = f"{n_clips} clips, not compared with their videos"
    return StageStatus(State.DONE, text) if n_clips else StageStatus(State.NOT_BEGUN)


def _status_of_npz(
    stage: str, jobs: Sequence[Job], output_dir: Path, n_refused: int
) -> StageStatus:
    """Look at every output; refused videos failed before there was a job."""
    failures = read_failures(output_dir)
    states = [state_of(job, output_dir, stage) for job in jobs]
    states = [
        "failed" if state == "to do" and job.name in failures else state
        for job, state in zip(jobs, states, strict=True)
    ]
    return _status_of_jobs(stage, states + ["failed"] * n_refused)


def _status_of_jobs(stage: str, states: Sequence[str]) -> StageStatus:
    """Count what is done, out of date, failed and to do."""
    n_of = Counter(states)
    text = f"{n_of['done']} of {n_of.total()}"
    text += "".join(f", {n_of[name]} {name}" for name in ("out of date", "failed") if n_of[name])
    if n_of["out of date"]:
        return StageStatus(State.OUT_OF_DATE, text)
    if n_of["to do"]:
        is_begun = n_of["done"] or n_of["failed"]
        return StageStatus(State.HALF if is_begun else State.NOT_BEGUN, text)
    fix = f"asdtune {stage} says why" if n_of["failed"] else None
    return StageStatus(State.DONE if n_of["done"] else State.BLOCKED, text, fix)


def status_of_splits(project: Project) -> StageStatus:
    """Say whether there are splits, and of the clips as they are."""
    from asdtune.core.prepare.splits import find_fresh_splits

    paths, csvs = project.paths, _csvs(project)
    if not csvs:
        return StageStatus(State.NOT_BEGUN)
    if not (paths.splits_dir / HIDDEN_DIR).is_dir():
        return StageStatus(State.DONE, f"{', '.join(csvs)}, not made by asdtune")
    report = find_fresh_splits(
        paths.face_crops_dir, paths.mfccs_dir, paths.splits_dir,
        window_size=project.project.window_size, seed=project.project.seed,
        **project.splits.of_windows,
    )  # fmt: skip
    if report is None:
        return StageStatus(State.OUT_OF_DATE, "the clips or the settings have changed")
    counts = (f"{each['n_windows']} {name}" for name, each in report["splits"].items())
    return StageStatus(State.DONE, f"windows: {', '.join(counts)}")


def status_of_train(project: Project) -> StageStatus:
    """Say how far training is, and whether it is of these splits and settings."""
    from asdtune.core.training.run_state import METRICS_JSONL, is_finished, read_run

    exps_dir, settings = project.paths.exps_dir, training_settings(project)
    earlier = read_run(exps_dir)
    if earlier is None:
        return StageStatus(State.NOT_BEGUN)
    obstacle = _obstacle_to_run(project, earlier)
    if obstacle is not None:
        return StageStatus(State.OUT_OF_DATE, obstacle)
    if is_finished(earlier, settings):
        best = "best is epoch {best_epoch}, validation mAP {validation_mAP:.2f}"
        return StageStatus(State.DONE, best.format(**earlier["result"]))
    metrics = exps_dir / METRICS_JSONL
    n_epochs = len(metrics.read_bytes().splitlines()) if metrics.is_file() else 0
    return StageStatus(State.HALF, f"{n_epochs} of {settings.total_epochs} epochs")


def _obstacle_to_run(project: Project, earlier: dict[str, Any]) -> str | None:
    """Say what keeps `train` from taking the run that is there, as far as its inputs are here."""
    from asdtune.core.training.dataset import WindowDataset
    from asdtune.core.training.devices import choose_device
    from asdtune.core.training.run_state import obstacle_to, resolve_run

    exps_dir, given = project.paths.exps_dir, training_settings(project)
    csvs, start = _csvs(project), find_local(given.checkpoint)
    has_start = start is not None or given.checkpoint == SCRATCH
    if not has_start or not {"training", "validation"} <= csvs.keys():
        return None
    windows = {name: WindowDataset(path, given.window_size) for name, path in csvs.items()}
    device = choose_device(project.train.device)
    _, run = resolve_run(windows, csvs, start, given, exps_dir, device)
    return obstacle_to(exps_dir, earlier, run)


def status_of_evaluate(project: Project) -> StageStatus:
    """Say whether there is a report, and of this checkpoint, baseline and split."""
    from asdtune.core.evaluation.reports import REPORT_JSON, read_report

    best = _best(project)
    report = read_report(project.paths.report_dir / REPORT_JSON)
    if not report or not best.is_file():
        return StageStatus(State.NOT_BEGUN)
    baseline = find_local(baseline_of(best, project.evaluate.baseline) or SCRATCH)
    expected: dict[str, Any] = {
        "dataset_blake2b": content_hash(held_out(project.paths.splits_dir)),
        "toolkit_clips": project.evaluate.toolkit_clips,
        "checkpoint": content_hash(best),
    }
    if baseline is not None:
        expected["baseline"] = content_hash(baseline)
    found = {role: report.get(role, {}).get("blake2b") for role in ("checkpoint", "baseline")}
    found |= {key: report.get(key) for key in ("dataset_blake2b", "toolkit_clips")}
    if any(found[name] != mark for name, mark in expected.items()):
        text = "it is of another checkpoint, baseline, split or setting"
        return StageStatus(State.OUT_OF_DATE, text)
    mean = "none" if report["mAP"] is None else f"{report['mAP']:.2f}"
    return StageStatus(State.DONE, f"mAP {mean} on {report['split']}")


def status_of_export_config(project: Project) -> StageStatus:
    """Say whether there is a folder to submit, written after checkpoint and report."""
    from asdtune.core.evaluation.reports import REPORT_JSON

    sums = project.paths.export_dir / "SHA256SUMS"  # which is written last
    if not sums.is_file():
        is_begun = (project.paths.export_dir / "configs").is_dir()
        return StageStatus(State.HALF if is_begun else State.NOT_BEGUN)
    for path in (_best(project), project.paths.report_dir / REPORT_JSON):
        if path.is_file() and path.stat().st_mtime_ns > sums.stat().st_mtime_ns:
            return StageStatus(State.OUT_OF_DATE, f"{path} is newer")
    return StageStatus(State.DONE)


_LOOKS = {
    "collect-chunk": status_of_collect_chunk,
    "crops": status_of_crops,
    "mfcc": status_of_mfcc,
    "splits": status_of_splits,
    "train": status_of_train,
    "evaluate": status_of_evaluate,
    "export-config": status_of_export_config,
}


def _best(project: Project) -> Path:
    from asdtune.core.training.run_state import BEST

    return project.paths.exps_dir / BEST


def _csvs(project: Project) -> dict[str, Path]:
    paths = {split.value: project.paths.splits_dir / f"{split}.csv" for split in Split}
    return {name: path for name, path in paths.items() if path.is_file()}


def _has_any(folder: Path, suffixes: Collection[str]) -> bool:
    """Tell whether a folder holds such files; one that cannot be read is an error."""
    if not folder.is_dir() or next(folder.iterdir(), None) is None:
        return False
    return any(path.suffix.lower() in suffixes for path in folder.rglob("[!.]*"))
