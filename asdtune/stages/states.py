"""How far each stage of a project is: its settings and paths, put to those who can tell."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

from asdtune.core.checkup.results import (
    state_of_export,
    state_of_report,
    state_of_run,
    state_of_splits,
)
from asdtune.core.checkup.stages import StageState, State, state_of_batch, state_of_outputs
from asdtune.core.corpus import VIDEO_SUFFIXES, Split
from asdtune.core.networks.checkpoints import find_local
from asdtune.core.prepare.chunk_plan import ChunkPlan, plan_chunks
from asdtune.core.prepare.works import Work, find_videos
from asdtune.errors import AsdtuneError
from asdtune.project import Project
from asdtune.stages.tuning import held_out, training_settings


class ProjectStates:
    """The stages of one project, each looked at when it is asked for."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._paths = project.paths

    def looks(self) -> dict[str, Callable[[], StageState]]:
        """Give for every stage, in order, what tells how far it is."""
        return {
            "collect-chunk": self._collect_chunk,
            "crops": self._crops,
            "mfcc": self._mfcc,
            "splits": self._splits,
            "train": self._train,
            "evaluate": self._evaluate,
            "export-config": self._export_config,
        }

    def plan(self) -> ChunkPlan | None:
        """Give what collect-chunk would do; None where the sources are gone and not needed.

        Raises:
            AsdtuneError: They are needed, or something is wrong with them.
        """
        source = self._paths.source
        if source.suffix.lower() != ".csv" and not _has_any(source, VIDEO_SUFFIXES):
            if self._chunks_are_there or _has_any(self._paths.face_crops_dir, (".npz",)):
                return None
            raise AsdtuneError(
                "no videos here yet",
                where=source,
                fix=f"put them there, one folder per speaker: {source}/<speaker>/*.mp4; or name "
                "another folder or a CSV: asdtune collect-chunk SOURCE",
            )
        return self._plan

    @cached_property
    def _plan(self) -> ChunkPlan:
        settings = self._project.collect_chunk
        return plan_chunks(
            self._paths.source,
            self._paths.video_dir,
            chunk_seconds=settings.chunk_seconds,
            min_chunk_seconds=settings.min_chunk_seconds,
            split_ratio=settings.split_ratio,
            seed=self._project.project.seed,
        )

    @cached_property
    def _chunks_are_there(self) -> bool:
        return _has_any(self._paths.video_dir, VIDEO_SUFFIXES)

    def _collect_chunk(self) -> StageState:
        stage, output_dir = "collect-chunk", self._paths.video_dir
        try:
            plan = self.plan()
        except AsdtuneError:  # told with the sources
            plan = None
        if plan is None:
            state = state_of_outputs(stage, output_dir, unit="video")
            if state.progress is State.NOT_BEGUN and self._chunks_are_there:
                return StageState(State.SKIPPED, "the videos there are used as they are")
            return state
        if plan.n_new:  # which may change how all are cut
            works = [Work(item.name, item.path, (), {}) for item in plan.sources]
            return state_of_batch(stage, works, output_dir, unit="video", knows_settings=False)
        return state_of_batch(stage, plan.works, output_dir, unit="video", n_refused=plan.n_refused)

    def _crops(self) -> StageState:
        from asdtune.core.checkup.provisions import local_detector
        from asdtune.core.prepare.crops import plan_crops

        settings, output_dir = self._project.crops, self._paths.face_crops_dir
        if not self._chunks_are_there:
            return state_of_outputs("crops", output_dir)
        model, is_known = local_detector(settings.detector, settings.detector_model)
        videos, clashes = find_videos(self._paths.video_dir)
        works = plan_crops(
            videos,
            self._paths.video_dir,
            output_dir,
            model=model,
            **settings.model_dump(exclude={"detector_model"}),
        )
        return state_of_batch(
            "crops", works, output_dir, n_refused=len(clashes), knows_settings=is_known
        )

    def _mfcc(self) -> StageState:
        from asdtune.core.prepare.mfcc import plan_mfccs

        output_dir = self._paths.mfccs_dir
        if not self._chunks_are_there:
            return state_of_outputs("mfcc", output_dir)
        videos, clashes = find_videos(self._paths.video_dir)
        works = plan_mfccs(videos, self._paths.video_dir, self._paths.face_crops_dir, output_dir)
        return state_of_batch("mfcc", works, output_dir, n_refused=len(clashes))

    def _splits(self) -> StageState:
        from asdtune.core.prepare.windows import find_fresh_splits

        paths, settings = self._paths, self._project.splits
        report = None
        if all(_has_any(folder, (".npz",)) for folder in (paths.face_crops_dir, paths.mfccs_dir)):
            report = find_fresh_splits(
                paths.face_crops_dir,
                paths.mfccs_dir,
                paths.splits_dir,
                window_size=self._project.project.window_size,
                seed=self._project.project.seed,
                **settings.of_windows,
            )
        return state_of_splits(paths.splits_dir, report)

    def _train(self) -> StageState:
        csvs = {split.value: self._paths.splits_dir / f"{split}.csv" for split in Split}
        settings = training_settings(self._project)
        return state_of_run(
            self._paths.exps_dir,
            {name: path for name, path in csvs.items() if path.is_file()},
            settings,
            find_local(settings.checkpoint),
            device=self._project.train.device,
        )

    def _evaluate(self) -> StageState:
        from asdtune.core.networks.checkpoints import baseline_of

        best = self._best
        if not best.is_file():
            return StageState(State.NOT_BEGUN)
        baseline = baseline_of(best, self._project.evaluate.baseline)
        files = {"checkpoint": best, "baseline": baseline and find_local(baseline)}
        return state_of_report(
            self._paths.report_dir,
            held_out(self._paths.splits_dir),
            {role: file for role, file in files.items() if isinstance(file, Path)},
            toolkit_clips=self._project.evaluate.toolkit_clips,
            window_size=self._window_size,
        )

    def _export_config(self) -> StageState:
        from asdtune.core.tune.reports import REPORT_JSON

        return state_of_export(
            self._paths.export_dir,
            self._best,
            self._paths.report_dir / REPORT_JSON,
            window_size=self._window_size,
        )

    @property
    def _window_size(self) -> int:
        """Give that of the best checkpoint; that of the project where no run tells."""
        from asdtune.core.networks.checkpoints import read_info

        info = read_info(self._best)
        return self._project.project.window_size if info is None else info.window_size

    @property
    def _best(self) -> Path:
        from asdtune.core.tune.runs import BEST

        return self._paths.exps_dir / BEST


def _has_any(folder: Path, suffixes: Collection[str]) -> bool:
    """Tell whether a folder holds such files; one that cannot be read is an error."""
    if not folder.is_dir() or next(folder.iterdir(), None) is None:
        return False
    return any(path.suffix.lower() in suffixes for path in folder.rglob("[!.]*"))
