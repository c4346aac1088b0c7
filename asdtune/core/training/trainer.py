"""Fine-tune a network on the windows of a corpus.

In: a training and a validation split, a checkpoint to start from. Out, below `output_dir`:
`checkpoints/best.pth` and `last.pth` with a JSON of what they are beside each,
`checkpoints/training_state.pth` (all that resuming needs), `metrics.jsonl` with one object per
epoch, `run.json` with the settings of the run and, at the end, the result on the test split;
`features/` while a part is frozen; `tensorboard/`, if it is there.

The recipe is upstream's unless the settings say otherwise: Adam at 1e-4, times 0.95 per epoch.
Validation alone decides which epoch is the best, by how well it tells silent faces and mismatches
from positives; the test split is scored at the end, with that epoch. Everything random follows from
seed, epoch and step, so that a run that was stopped anywhere ends as if it had not been.

    for step in train(Path("splits/training.csv"), Path("splits/validation.csv"), None, ...):
        ...  # FeatureReport, StepReport, EpochReport, and at the end a RunReport
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from asdtune.core.files import write_json
from asdtune.core.locks import stage_lock
from asdtune.core.models.checkpoints import find_checkpoint, load_weights
from asdtune.core.models.network import Network
from asdtune.core.models.registry import make_network
from asdtune.core.training.batches import batches_of_epoch, inputs_of, loaded
from asdtune.core.training.dataset import WindowDataset, check_splits
from asdtune.core.training.devices import computing, prepare_network, to_device
from asdtune.core.training.distributed import Ranks, join_ranks
from asdtune.core.training.feature_cache import (
    CACHED,
    FeatureWindows,
    cache_splits,
    remove_features,
)
from asdtune.core.training.freezing import Freeze, set_learning, settle_frozen_parts
from asdtune.core.training.losses import Objective
from asdtune.core.training.optimizer import averaged_copy, learning_rate_at, make_optimizer
from asdtune.core.training.reports import Report, RunReport, StepReport, Stopped
from asdtune.core.training.run_state import (
    BEST,
    RUN_JSON,
    STATE,
    TrainState,
    is_finished,
    resolve_run,
    restore_state,
    save_epoch,
    save_state,
    settle_run,
)
from asdtune.core.training.schedule import EpochPlan, plan_epochs
from asdtune.core.training.scoring import Scores, Windows
from asdtune.core.training.settings import TrainingSettings, check_settings
from asdtune.core.training.tensorboard import log_epoch
from asdtune.core.training.validation import (
    epoch_report,
    is_patience_over,
    scores_of,
    scores_of_start,
    test_result,
    warn_of_no_sync,
)
from asdtune.errors import AsdtuneError, UsageError

if TYPE_CHECKING:
    from asdtune.core.models.talknet import TalkNetSizes

logger = logging.getLogger(__name__)

_GPU_STEPS_BETWEEN_LOOKS = 20  # at the loss: to look is to wait for the GPU


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
        test_dataset: The split that is scored at the end; may be None.
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
    datasets = {"training": training_dataset, "validation": validation_dataset}
    if test_dataset is not None:
        datasets["test"] = test_dataset
    with join_ranks(device, settings.batch_size) as ranks, ExitStack() as held:
        # Nothing that was there is touched before all that could be wrong has been looked at.
        windows = {
            name: WindowDataset(path, settings.window_size) for name, path in datasets.items()
        }
        check_splits(windows, datasets)
        start_path = find_checkpoint(settings.checkpoint)
        if start_path is not None and _is_in(start_path, output_dir / BEST.parent):
            raise UsageError(
                "a run cannot start from a checkpoint that it would replace",
                where=start_path,
                fix="name another folder with --output-dir, or copy the checkpoint elsewhere",
            )
        resolve = partial(resolve_run, windows, datasets, start_path, settings, output_dir)
        settings, run = ranks.run_on_first(lambda: resolve(ranks.device))
        torch.manual_seed(settings.seed)
        network = _load(start_path, settings, sizes)

        def begin() -> dict[str, Any] | None:
            held.enter_context(stage_lock(output_dir, "train"))
            begun = settle_run(output_dir, run, resume=resume, overwrite=overwrite)
            if begun is None or is_finished(begun, settings):
                remove_features(output_dir)  # of another run, or of no use any more
            return begun

        begun = ranks.run_on_first(begin)
        if begun is not None and is_finished(begun, settings):
            load_best = partial(_load, output_dir / BEST, settings, sizes)
            yield _tested_again(windows, output_dir, run, begun, settings, ranks, load_best)
            return
        prepare_network(network, settings.precision, ranks.device)
        plans = plan_epochs(settings)
        if start_path is None:
            settle_frozen_parts(network, windows["training"], plans[0].freeze, settings.batchnorm)
        if ranks.n_ranks > 1 and ranks.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
        state = TrainState(
            network, make_optimizer(network, settings), averaged_copy(network, settings.ema_decay)
        )
        if begun is not None and (output_dir / STATE).is_file():
            restore_state(output_dir, state)
            if not ranks.is_first:  # what was saved is the first process's part
                state.begin_counting()
            logger.info("going on in epoch %d after step %d", state.epoch, state.step)
        if ranks.is_first:
            write_json(output_dir / RUN_JSON, run)
        ranks.wait()

        start_scores, saved = None, time.monotonic()
        for plan in plans[state.epoch - 1 :]:
            if is_patience_over(state.reports, settings):
                break
            feeds: dict[str, Windows] = {**windows}
            if plan.freeze is not Freeze.NONE:
                must_stop = False
                caching = cache_splits(network, windows, output_dir, precision=settings.precision)
                for cached in caching if ranks.is_first else ():
                    yield cached
                    must_stop = should_stop()
                    if must_stop:
                        break
                if ranks.any(must_stop):  # and all have waited for the first
                    yield Stopped(plan.epoch, state.step)
                    return
                feeds = {
                    name: FeatureWindows(windows[name], output_dir / folder)
                    for name, folder in CACHED.items()
                }
            if settings.distillation and start_scores is None:
                start = _load(start_path, settings, sizes)
                prepare_network(start, settings.precision, ranks.device)
                # Of features only if all epochs have them: the same scores wherever a run goes on.
                is_cached = settings.freeze != Freeze.NONE.value
                start_scores = scores_of_start(
                    start, windows["training"], feeds["training"] if is_cached else None,
                    settings, should_stop,
                )  # fmt: skip
                del start
                if ranks.any(start_scores is None):
                    yield Stopped(plan.epoch, state.step)
                    return

            for step in learn_epoch(
                state, feeds["training"], windows["training"], plan, start_scores, settings, ranks
            ):
                yield step
                must_stop = ranks.any(should_stop())
                if ranks.is_first and (must_stop or time.monotonic() - saved > save_seconds):
                    save_state(output_dir, state)
                    saved = time.monotonic()
                if must_stop:
                    yield Stopped(plan.epoch, state.step)
                    return

            scores = scores_of(
                state.judged, feeds["validation"], plan.freeze, settings, should_stop
            )
            if ranks.any(scores is None):
                if ranks.is_first:
                    save_state(output_dir, state)
                yield Stopped(plan.epoch, state.step)
                return
            counted = torch.tensor([state.n_windows]).to(state.loss_sums)
            sums = ranks.sum(torch.cat([state.loss_sums, counted]))  # of all processes
            state.loss_sums, state.n_windows = sums[:-1], int(sums[-1])
            summed_up = partial(epoch_report, plan, state, windows["validation"])
            report = ranks.run_on_first(  # whose word all follow: which epoch is the best
                partial(summed_up, cast("Scores", scores), settings)
            )
            state.reports.append(report)
            warn_of_no_sync(state.reports)
            state.begin_epoch(plan.epoch + 1)
            if ranks.is_first:
                save_epoch(output_dir, state, settings, run["start_blake2b"])
                log_epoch(output_dir, report)
            yield report

        load_best = partial(_load, output_dir / BEST, settings, sizes)
        best = max((each for each in state.reports if each.is_best), key=lambda each: each.epoch)
        ranks.wait()
        result: dict[str, Any] = {
            "best_epoch": best.epoch,
            "validation_score": best.validation_score,
            "validation_mAP": best.validation_mAP,
            "test": test_result(windows, load_best, settings, ranks),
            "stopped_early": len(state.reports) < settings.total_epochs,
        }
        if ranks.is_first:
            remove_features(output_dir)  # what was made of faces does not outlast the run
            write_json(output_dir / RUN_JSON, {**run, "result": result})
        yield RunReport(**result, checkpoint=output_dir / BEST, is_fresh=False)


def learn_epoch(
    state: TrainState,
    feed: Windows,
    windows: WindowDataset,
    plan: EpochPlan,
    start_scores: Scores | None,
    settings: TrainingSettings,
    ranks: Ranks,
) -> Iterator[StepReport]:
    """Learn from the windows of an epoch, from where the state is.

    Args:
        state: What changes; kept up to date before each report.
        feed: The windows as the plan's frozen parts make them.
        windows: The same windows as crops and MFCC.
        plan: What the epoch is.
        start_scores: What the network that it started from says of the windows, (N, W), NaN where
            it is not to be followed; None without distillation.
        settings: The recipe.
        ranks: Who shares the batches.

    Yields:
        A report after every step.

    Raises:
        AsdtuneError: The loss is no longer a finite number.
    """
    set_learning(state.network, plan.freeze, settings.batchnorm)
    objective = ranks.parallel(Objective(state.network, plan.freeze, plan.epoch, settings))
    batches = batches_of_epoch(windows, plan, settings, ranks)
    has_float64 = ranks.device.type != "mps"
    state.loss_sums = state.loss_sums.to(ranks.device if has_float64 else "cpu")
    n_before, seconds_before = state.n_windows, state.seconds
    started, loss = time.monotonic(), float("nan")
    for rows, batch in loaded(feed, batches[state.step :], ranks):
        rng = np.random.default_rng([settings.seed, plan.epoch, state.step, ranks.rank])
        torch.manual_seed(int(rng.integers(2**62)))  # of dropout
        inputs = inputs_of(batch, rows, windows, plan, settings, ranks.device, rng)
        kept = None if start_scores is None else to_device(start_scores[rows], ranks.device)
        with computing(settings.precision, ranks.device):
            losses = torch.stack(objective(*inputs, kept))
        state.optimizer.zero_grad(set_to_none=True)
        losses[0].backward()
        if settings.max_gradient_norm:
            nn.utils.clip_grad_norm_(state.network.parameters(), settings.max_gradient_norm)
        rate = learning_rate_at(settings, plan.epoch, state.n_steps)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        state.optimizer.step()
        if state.averaged is not None:
            state.averaged.update_parameters(cast("nn.Module", state.network))

        state.loss_sums += losses.detach().to(state.loss_sums) * len(rows)
        state.step += 1
        state.n_steps += 1
        state.n_windows += len(rows)
        if _is_time_to_look(state.step, len(batches), ranks.device):
            loss = _finite(losses[0].item())
        state.seconds = seconds_before + time.monotonic() - started
        speed = (state.n_windows - n_before) / (state.seconds - seconds_before)
        yield StepReport(plan.epoch, state.step, len(batches), loss, speed * settings.window_size)


def _is_in(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _load(path: Path | None, settings: TrainingSettings, sizes: TalkNetSizes | None) -> Network:
    """Load a network; without a path, draw its weights."""
    network = make_network(settings.network, sizes)
    if path is not None:
        load_weights(network, path)
    return network


def _tested_again(
    windows: dict[str, WindowDataset],
    output_dir: Path,
    run: dict[str, Any],
    begun: dict[str, Any],
    settings: TrainingSettings,
    ranks: Ranks,
    load_best: Callable[[], Network],
) -> RunReport:
    """Give the result of a finished run; score the test split if it is another one by now."""
    earlier = begun
    is_fresh = begun["test_fingerprint"] == run["test_fingerprint"]
    if not is_fresh:
        test = test_result(windows, load_best, settings, ranks)
        begun = {**begun, **run, "result": {**begun["result"], "test": test}}
    elif "dataset_hashes" not in begun:  # an earlier asdtune made it, of these very splits
        begun = {**begun, "dataset_hashes": run["dataset_hashes"]}
    if ranks.is_first and begun != earlier:
        write_json(output_dir / RUN_JSON, begun)
    return RunReport(**begun["result"], checkpoint=output_dir / BEST, is_fresh=is_fresh)


def _is_time_to_look(step: int, n_steps: int, device: torch.device) -> bool:
    return device.type == "cpu" or step in (1, n_steps) or step % _GPU_STEPS_BETWEEN_LOOKS == 0


def _finite(loss: float) -> float:
    if not np.isfinite(loss):
        raise AsdtuneError(
            "the loss is no longer a finite number: the run has diverged",
            fix="lower --learning-rate and begin again with --overwrite",
        )
    return loss
