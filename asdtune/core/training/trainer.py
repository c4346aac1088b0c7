"""Fine-tune a network on the windows of a corpus.

In: a training and a validation split, a checkpoint to start from. Out, below `output_dir`:
`checkpoints/best.pth` and `last.pth` with a JSON of what they are beside each,
`checkpoints/training_state.pth` (all that resuming needs), `metrics.jsonl` with one object per
epoch, `run.json` with the settings of the run and, at the end, the result on the test split;
`store/`, the clips packed; `features/`, where something is frozen; `tensorboard/`, if it is there.

The recipe is upstream's unless the settings say otherwise: Adam at 1e-4, times 0.95 per epoch.
Validation alone decides which epoch is the best, by how well it tells silent faces and mismatches
from positives; the test split is scored once, at the end, with that epoch. Everything random
follows from seed, epoch and step, so that a run that was stopped anywhere ends as if it had not
been.

    for step in train(Path("splits/training.csv"), Path("splits/validation.csv"), None, ...):
        ...  # FeatureReport, StepReport, EpochReport, and at the end a RunReport
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from asdtune.core.files import write_json
from asdtune.core.metrics import score_of_kinds, summarize, summarize_kinds
from asdtune.core.models.checkpoints import find_checkpoint, load_weights
from asdtune.core.models.network import Network
from asdtune.core.models.registry import make_network
from asdtune.core.prepare.records import stage_lock
from asdtune.core.splits import MISMATCHES, WindowKind
from asdtune.core.training.clips import ClipStore, build_store
from asdtune.core.training.dataset import Rows, WindowDataset, check_splits
from asdtune.core.training.distributed import Ranks, join_ranks, share_batch_statistics
from asdtune.core.training.epoch import StepReport, learn_epoch
from asdtune.core.training.feeds import open_frozen, remove_frozen, store_frozen
from asdtune.core.training.freezing import Freeze, settle_statistics
from asdtune.core.training.optimizer import averaged_copy, learning_rate_at, make_optimizer
from asdtune.core.training.precision import prepare_network
from asdtune.core.training.run_state import (
    BEST,
    FEATURES,
    RUN_JSON,
    STATE,
    STORE,
    EpochReport,
    Learner,
    Position,
    TrainingSettings,
    as_before,
    describe_run,
    is_finished,
    restore_state,
    save_epoch,
    save_state,
    settle_run,
)
from asdtune.core.training.schedule import EpochPlan, plan_epochs, without_empty_curriculum
from asdtune.core.training.scoring import Scores, Windows, score_windows, to_device
from asdtune.core.training.settings import check_settings, resolve_settings
from asdtune.core.training.stores import FeatureReport
from asdtune.core.training.tensorboard import log_epoch
from asdtune.errors import UsageError

if TYPE_CHECKING:
    from asdtune.core.models.talknet import TalkNetSizes

logger = logging.getLogger(__name__)

_N_EPOCHS_WITHOUT_SYNC = 4
_AT_CHANCE = 55.0  # percent; of a few hundred windows, chance alone gives as much
_N_SETTLING_WINDOWS = 16  # from which drawn front-ends take their statistics


@dataclass(frozen=True)
class RunReport:
    """How a run ended. `test` is None without a test split; `is_fresh` if it was done before."""

    best_epoch: int
    validation_score: float
    validation_mAP: float  # noqa: N815 -- the metric's name
    checkpoint: Path
    test: dict[str, Any] | None
    is_fresh: bool
    stopped_early: bool = False


@dataclass(frozen=True)
class Stopped:
    """The run was asked to stop, and has saved where it is."""

    epoch: int
    step: int


Report = FeatureReport | StepReport | EpochReport | RunReport | Stopped


def train(
    training_dataset: Path,
    validation_dataset: Path,
    test_dataset: Path | None,
    output_dir: Path,
    *,
    settings: TrainingSettings,
    device: str,
    resume: bool | None,
    overwrite: bool,
    save_seconds: float,
    should_stop: Callable[[], bool],
    sizes: TalkNetSizes | None = None,
) -> Iterator[Report]:
    """Fine-tune a network, or carry an interrupted run on; alone, or as a rank under torchrun.

    Args:
        training_dataset: The split to learn from.
        validation_dataset: The split that decides which epoch is the best.
        test_dataset: The split that is scored once, at the end; may be None.
        output_dir: Where the run goes.
        settings: What decides the result.
        device: `auto`, `cpu`, `cuda`, ...
        resume: Carry an interrupted run of the same settings on, and refuse if there is none; None
            to carry it on or to begin, as it comes.
        overwrite: Begin again, whatever is there.
        save_seconds: Time between savings within an epoch.
        should_stop: Asked after every step; where it says so, the run saves and ends.
        sizes: Sizes of the network; None for the published ones.

    Yields:
        Reports of a feature pass, of each step and each epoch, and at the end one of the run, or
        `Stopped`.

    Raises:
        UsageError: A setting is out of its range.
        AsdtuneError: Data or checkpoint are bad, or an interrupted run is there and `resume` is not
            asked for.
    """
    check_settings(settings)
    with join_ranks(device) as ranks, ExitStack() as held:
        datasets = {"training": training_dataset, "validation": validation_dataset}
        if test_dataset is not None:
            datasets["test"] = test_dataset
        windows = {
            name: WindowDataset(path, settings.window_size) for name, path in datasets.items()
        }
        check_splits(windows, datasets)
        _check_share(settings.batch_size, ranks)
        start_path = find_checkpoint(settings.checkpoint)
        is_chosen_here = settings.temporal_epochs is None
        settings = resolve_settings(settings, ranks.device, is_scratch=start_path is None)
        settings = without_empty_curriculum(settings, windows["training"])
        torch.manual_seed(settings.seed)
        network = make_network(settings.network, sizes)
        if start_path is not None:
            load_weights(network, start_path)

        # Nothing that was there is touched before all that could be wrong has been looked at.
        describe = partial(describe_run, windows, datasets, start_path)
        if is_chosen_here:
            settings = ranks.from_first(as_before(output_dir, settings, describe))
        run = describe(settings)

        def begin() -> dict[str, Any] | None:
            held.enter_context(stage_lock(output_dir, "train"))
            return settle_run(output_dir, run, resume=resume, overwrite=overwrite)

        begun = ranks.of_first(begin)
        if begun is not None and is_finished(begun, settings):
            yield from _tested_again(windows, output_dir, run, begun, settings, ranks, sizes)
            return
        _pack_clips(windows, output_dir / STORE, ranks, has_waveforms=settings.augment)
        prepare_network(network, settings.precision, ranks.device)
        plans = plan_epochs(settings)
        if start_path is None:
            _settle_frozen_parts(network, windows["training"], plans[0], settings.batchnorm)
        share_batch_statistics(network, ranks)
        optimizer = make_optimizer(network, settings)
        learner = Learner(network, optimizer, averaged_copy(network, settings.ema_decay))
        position, reports = Position(), list[EpochReport]()
        if begun is not None and (output_dir / STATE).is_file():
            position, reports = restore_state(output_dir, learner)
            logger.info("going on in epoch %d after step %d", position.epoch, position.step)
        if ranks.is_first:
            write_json(output_dir / RUN_JSON, run)
        ranks.wait()

        saved, start_scores = time.monotonic(), None
        for plan in plans[position.epoch - 1 :]:
            if _is_patience_over(reports, settings):
                break
            feeds: dict[str, Windows] = {}
            for name in ("training", "validation"):
                folder = output_dir / FEATURES / name
                must_stop = False
                if ranks.is_first:
                    for stored in store_frozen(
                        network, windows[name], folder,
                        freeze=plan.freeze, precision=settings.precision,
                    ):  # fmt: skip
                        yield stored
                        if must_stop := should_stop():
                            break
                if ranks.any(must_stop):  # and all have waited for the first
                    yield Stopped(plan.epoch, position.step)
                    return
                feeds[name] = open_frozen(network, windows[name], folder, freeze=plan.freeze)
            if settings.distillation and start_scores is None:
                start = _load(start_path, settings, ranks, sizes)
                start_scores = yield from _scores_of_start(
                    start, windows["training"], feeds["training"], plan.freeze,
                    output_dir, settings, ranks,
                )  # fmt: skip
                del start
            for step in learn_epoch(
                learner, feeds["training"], windows["training"], plan, position,
                start_scores=start_scores, settings=settings, ranks=ranks,
            ):  # fmt: skip
                yield step
                must_stop = ranks.any(should_stop())
                is_time = time.monotonic() - saved > save_seconds
                if ranks.is_first and (must_stop or is_time):
                    save_state(output_dir, learner, position, reports)
                    saved = time.monotonic()
                if must_stop:
                    yield Stopped(plan.epoch, position.step)
                    return
            started = time.monotonic()
            try:
                scores = _scores(
                    learner.judged, feeds["validation"], settings, ranks, plan.freeze,
                    should_stop=should_stop,
                )  # fmt: skip
            except _AskedToStopError:
                save_state(output_dir, learner, position, reports)
                yield Stopped(plan.epoch, position.step)
                return
            report = _epoch_report(
                plan, position, windows["validation"], scores, reports, settings,
                has_audio_head=network.has_audio_head, seconds=time.monotonic() - started,
            )  # fmt: skip
            reports.append(report)
            _warn_of_no_sync(reports)
            position = Position(epoch=plan.epoch + 1, n_steps=position.n_steps)
            if ranks.is_first:
                save_epoch(output_dir, learner, position, reports, settings, run["start_blake2b"])
                log_epoch(output_dir, report)
            yield report

        best = max((each for each in reports if each.is_best), key=lambda each: each.epoch)
        ranks.wait()
        result: dict[str, Any] = {
            "best_epoch": best.epoch,
            "validation_score": best.validation_score,
            "validation_mAP": best.validation_mAP,
            "test": (yield from _test(windows, output_dir, settings, ranks, sizes)),
            "stopped_early": len(reports) < settings.total_epochs,
        }
        if ranks.is_first:
            write_json(output_dir / RUN_JSON, {**run, "result": result})
        yield RunReport(**result, checkpoint=output_dir / BEST, is_fresh=False)


def _warn_of_no_sync(reports: list[EpochReport]) -> None:
    """Say that nothing is learned about mismatches, once: when that has lasted some epochs."""
    if len(reports) != _N_EPOCHS_WITHOUT_SYNC:
        return
    areas = [
        report.validation_by_kind[kind]["AUC"]
        for report in reports
        for kind in MISMATCHES
        if kind in report.validation_by_kind
    ]
    if areas and max(areas) < _AT_CHANCE:
        logger.warning(
            "after %d epochs mismatches are told no better than by chance (AUC at most %.0f). "
            "Usual causes: sound that lags behind the pictures, the wrong face in the crops, "
            "dubbed videos, too few speakers. From scratch, sync may come late and at once",
            len(reports), max(areas),
        )  # fmt: skip


def _is_patience_over(reports: list[EpochReport], settings: TrainingSettings) -> bool:
    """Tell whether so many epochs in a row were no better; those of a curriculum do not count."""
    n_counted = len(reports) - max(settings.head_epochs, settings.temporal_epochs or 0)
    last = reports[-settings.patience :]
    return 0 < settings.patience <= n_counted and not any(report.is_best for report in last)


def _tested_again(
    windows: dict[str, WindowDataset],
    output_dir: Path,
    run: dict[str, Any],
    begun: dict[str, Any],
    settings: TrainingSettings,
    ranks: Ranks,
    sizes: TalkNetSizes | None,
) -> Iterator[FeatureReport | RunReport]:
    """Give the result of a finished run; score the test split if it is another one by now."""
    earlier = begun
    is_fresh = begun["test_fingerprint"] == run["test_fingerprint"]
    if not is_fresh:
        test = yield from _test(windows, output_dir, settings, ranks, sizes)
        begun = {**begun, **run, "result": {**begun["result"], "test": test}}
    elif "dataset_hashes" not in begun:  # an earlier asdtune made it, of these very splits
        begun = {**begun, "dataset_hashes": run["dataset_hashes"]}
    if ranks.is_first and begun != earlier:
        write_json(output_dir / RUN_JSON, begun)
    yield RunReport(**begun["result"], checkpoint=output_dir / BEST, is_fresh=is_fresh)


def _pack_clips(
    windows: dict[str, WindowDataset], folder: Path, ranks: Ranks, *, has_waveforms: bool
) -> None:
    """Let the splits read from one store of all their clips; the first rank builds it."""
    crops = sorted({path for each in windows.values() for path in each.video_paths})
    mfcc = sorted({path for each in windows.values() for path in each.audio_paths})
    ranks.of_first(lambda: build_store(folder, crops, mfcc, has_waveforms=has_waveforms))
    store = ClipStore(folder, [*crops, *mfcc])
    for each in windows.values():
        each.clips = store


def _settle_frozen_parts(
    network: Network, windows: WindowDataset, plan: EpochPlan, batchnorm: str
) -> None:
    """Give a drawn network's frozen batch norms the statistics of windows from all over."""
    parts = [cast("nn.Module", network)]
    if batchnorm != "frozen":
        parts = network.frozen_parts(plan.freeze.value)
    if parts:
        rows = np.linspace(0, len(windows) - 1, _N_SETTLING_WINDOWS).astype(np.int64)
        device = next(network.parameters()).device
        crops, mfcc = (to_device(x, device) for x in (windows.crops(rows), windows.mfcc(rows)))
        settle_statistics(network, crops, mfcc, parts)


def _epoch_report(
    plan: EpochPlan,
    position: Position,
    validation: WindowDataset,
    scores: Scores,
    reports: list[EpochReport],
    settings: TrainingSettings,
    *,
    has_audio_head: bool,
    seconds: float,
) -> EpochReport:
    judged = summarize(validation.frame_labels, scores)
    by_kind = summarize_kinds(
        validation.kinds, validation.speakers, validation.frame_labels, scores
    )
    score = score_of_kinds(by_kind)
    best_before = max((report.validation_score for report in reports), default=-1.0)
    losses = [value / position.n_windows for value in position.loss_sums.tolist()]
    total, audio_visual, audio, visual = losses
    return EpochReport(
        epoch=plan.epoch,
        loss=total,
        loss_audio_visual=audio_visual,
        loss_audio=audio if has_audio_head else None,
        loss_visual=visual,
        validation_score=score,
        validation_mAP=judged["mAP"],
        validation_accuracy=judged["accuracy"],
        validation_by_kind=by_kind,
        is_best=score > best_before,
        learning_rate=learning_rate_at(settings, plan.epoch, position.n_steps - 1),
        n_windows=position.n_windows,
        freeze=plan.freeze.value,
        is_temporal=plan.is_temporal,
        frames_per_second=position.n_windows * settings.window_size / position.seconds,
        seconds=position.seconds + seconds,
    )


def _scores(
    network: Network,
    windows: Windows,
    settings: TrainingSettings,
    ranks: Ranks,
    freeze: Freeze,
    *,
    rows: Rows | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Scores:
    """Score windows, all or those of some rows; each rank a part of them."""
    rows = np.arange(len(windows)) if rows is None else rows
    scored = [np.zeros((0, windows.window_size), np.float32)]
    for part in score_windows(
        network, windows, batch_size=settings.batch_size, rows=rows[ranks.share(rows)],
        freeze=freeze, precision=settings.precision,
    ):  # fmt: skip
        scored.append(part)
        if ranks.n_ranks == 1 and should_stop():  # of several, each would wait for the others
            raise _AskedToStopError
    return np.concatenate(ranks.gathered(np.concatenate(scored)))


class _AskedToStopError(Exception):
    """Validation was asked to stop."""


def _scores_of_start(
    start: Network,
    windows: WindowDataset,
    feed: Windows,
    freeze: Freeze,
    output_dir: Path,
    settings: TrainingSettings,
    ranks: Ranks,
) -> Generator[FeatureReport, None, Scores]:
    """Score positive windows and silent faces with the network that a run starts from.

    There it is right: it tells faces that talk from faces that do not. Of mismatches, which it
    takes for speaking, nothing is kept: their scores, (N, W) in all, are NaN.
    """
    is_kept = np.isin(windows.kinds, (WindowKind.POSITIVE.value, WindowKind.SILENT.value))
    rows = np.flatnonzero(is_kept)
    kept = np.full((len(windows), windows.window_size), np.nan, np.float32)
    if freeze is Freeze.NONE:
        folder = output_dir / FEATURES / "start"
        kept[rows] = yield from _scores_with_shared_frames(
            start, windows, folder, settings, ranks, rows
        )
    else:
        kept[rows] = _scores(start, feed, settings, ranks, freeze, rows=rows)
    return kept


def _scores_with_shared_frames(
    network: Network,
    windows: WindowDataset,
    folder: Path,
    settings: TrainingSettings,
    ranks: Ranks,
    rows: Rows | None = None,
) -> Generator[FeatureReport, None, Scores]:
    """Score windows; what the visual front-end makes of pictures is stored meanwhile."""
    freeze = Freeze.VISUAL
    if ranks.is_first:
        yield from store_frozen(
            network, windows, folder, freeze=freeze, precision=settings.precision
        )
    ranks.wait()
    feed = open_frozen(network, windows, folder, freeze=freeze)
    scores = _scores(network, feed, settings, ranks, freeze, rows=rows)
    del feed  # maps the files, which some systems then do not delete
    ranks.wait()
    if ranks.is_first:
        remove_frozen(folder)
    return scores


def _load(
    path: Path | None, settings: TrainingSettings, ranks: Ranks, sizes: TalkNetSizes | None
) -> Network:
    """Load a network to score with; without a path, with drawn weights."""
    network = make_network(settings.network, sizes)
    if path is not None:
        load_weights(network, path)
    prepare_network(network, settings.precision, ranks.device)
    return network


def _test(
    windows: dict[str, WindowDataset],
    output_dir: Path,
    settings: TrainingSettings,
    ranks: Ranks,
    sizes: TalkNetSizes | None,
) -> Generator[FeatureReport, None, dict[str, Any] | None]:
    """Score the test split with the best epoch; None without one."""
    if "test" not in windows:
        return None
    network, test = _load(output_dir / BEST, settings, ranks, sizes), windows["test"]
    scores = yield from _scores_with_shared_frames(
        network, test, output_dir / FEATURES / "test", settings, ranks
    )
    by_kind = summarize_kinds(test.kinds, test.speakers, test.frame_labels, scores)
    return {
        "score": score_of_kinds(by_kind),
        **summarize(test.frame_labels, scores),
        "by_kind": by_kind,
    }


def _check_share(batch_size: int, ranks: Ranks) -> None:
    if batch_size < ranks.n_ranks:
        raise UsageError(
            f"{ranks.n_ranks} processes cannot share batches of {batch_size} windows",
            where="--batch-size",
            fix=f"give at least {ranks.n_ranks}, or start fewer processes",
        )
