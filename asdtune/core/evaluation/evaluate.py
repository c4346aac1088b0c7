"""Score the windows of a split, or labelled clips, and say how good the scores are.

In: a checkpoint and an evaluation set, and another checkpoint to compare with. Out:
`scores_<split>.csv`, one row per frame of a window with the window's columns, `frame` and `score`;
and `report.json` with the figures, in percent, how sure they are, and thresholds. Of labelled clips
`scores_labels.csv` and `report_labels.json`. The page is made of these two (see `page`).

    for step in evaluate("best.pth", SplitWindows(Path("test.csv"), 51), Path("report"), ...):
        ...  # Progress, and at the end an Evaluation
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asdtune.core.evaluation.evaluation_sets import Progress
from asdtune.core.evaluation.held_out import know_speakers
from asdtune.core.evaluation.labelled_clips import Evaluated, LabelledClips
from asdtune.core.evaluation.reports import (
    inputs_of,
    is_made_of,
    make_report,
    read_report,
    report_name,
)
from asdtune.core.evaluation.thresholds import find_thresholds, judge_threshold
from asdtune.core.evaluation.toolkit_scoring import ToolkitNetwork, is_settled
from asdtune.core.files import content_hash, write_json
from asdtune.core.locks import stage_lock
from asdtune.core.metrics import area_under_roc
from asdtune.core.models.checkpoints import load_network, read_info
from asdtune.core.rates import check_window_size
from asdtune.core.training.devices import choose_device
from asdtune.core.training.scoring import Scores
from asdtune.errors import AsdtuneError, UsageError

if TYPE_CHECKING:
    import torch

    from asdtune.core.evaluation.tracks import Track
    from asdtune.core.models.network import Network

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation wrote.

    Attributes:
        report: As it was written.
        report_path: Where.
        scores_path: The scores of the checkpoint.
        failures: Why it says nothing of a baseline or of a labelled clip, by its name.
        is_fresh: An earlier run had done it.
    """

    report: dict[str, Any]
    report_path: Path
    scores_path: Path
    failures: dict[str, AsdtuneError] = field(default_factory=dict)
    is_fresh: bool = False


def window_size_of(checkpoint: Path, asked: int | None, default: int) -> int:
    """Give W: that of the run that made a checkpoint; of a bare one what is asked, or a default.

    Raises:
        UsageError: Another size is asked for than the checkpoint was trained with, or none at all.
    """
    info = read_info(checkpoint)
    if info is not None and asked not in (None, info.window_size):
        raise UsageError(
            f"{checkpoint.name} was trained with windows of {info.window_size} frames, not {asked}",
            where="--window-size", fix="leave --window-size away",
        )  # fmt: skip
    known = default if info is None else info.window_size
    return check_window_size(known if asked is None else asked)


def evaluate(
    checkpoint: Path,
    evaluated: Evaluated,
    output_dir: Path,
    *,
    window_size: int,
    baseline: Path | None,
    thresholds_on: Evaluated | None,
    toolkit_clips: int,
    batch_size: int,
    device: str,
    overwrite: bool,
) -> Iterator[Progress | Evaluation]:
    """Score an evaluation set, and say how good the scores are and how sure that is.

    Args:
        checkpoint: Its file.
        evaluated: What is scored.
        output_dir: Where report and scores go.
        window_size: W, in video frames.
        baseline: The file of a checkpoint to compare with.
        thresholds_on: On what thresholds for the toolkit are found, which tells how good they are
            on what is scored; None to find them on what is scored itself.
        toolkit_clips: From how many clips thresholds for the toolkit are found; 0 for none.
        batch_size: Windows at once; changes nothing but the speed.
        device: `auto`, `cpu`, `cuda`, ...
        overwrite: Score again what an earlier run has scored.

    Yields:
        `Progress`, and at the end one `Evaluation`.

    Raises:
        AsdtuneError: The checkpoint or what is to be scored is bad.
    """
    checkpoints = {"checkpoint": checkpoint} | ({} if baseline is None else {"baseline": baseline})
    if thresholds_on is None or thresholds_on.fingerprint == evaluated.fingerprint:
        thresholds_on = evaluated
    speakers = know_speakers(checkpoint, evaluated)
    data = [evaluated.fingerprint, thresholds_on.fingerprint]
    settings = {"window_size": window_size, "data": data, "toolkit_clips": toolkit_clips}
    inputs = inputs_of(checkpoints, **settings, **speakers)
    report_path = output_dir / report_name(of_labels=isinstance(evaluated, LabelledClips))
    scores_path = output_dir / f"scores_{evaluated.name}.csv"
    earlier = {} if overwrite else read_report(report_path)
    if not evaluated.failures and is_made_of(earlier, inputs, scores_path):
        yield Evaluation(earlier, report_path, scores_path, is_fresh=True)
        return
    if len(np.unique(evaluated.labels)) < 2:
        told = "everything in %s has the same label: what needs both stays empty in the report"
        logger.warning(told, evaluated.name)
    with stage_lock(output_dir, "evaluate"):
        networks, bad = _load_networks(checkpoints, choose_device(device))
        failures = {**evaluated.failures, **bad}
        scores_of: dict[str, Scores] = {}
        for role, (_, network) in networks.items():
            scores_of[role] = yield from evaluated.score(network, role, batch_size)
        in_toolkit = yield from _judge_in_toolkit(
            *networks["checkpoint"], thresholds_on, evaluated, toolkit_clips, window_size
        )
        report = make_report(
            evaluated,
            scores_of,
            checkpoints=checkpoints,
            networks={role: name for role, (name, _) in networks.items()},
            speakers=speakers,
            in_toolkit=in_toolkit,
            failures=failures,
        )
        evaluated.write_scores(scores_path, scores_of["checkpoint"])
        marks = {"inputs": inputs, "scores_blake2b": content_hash(scores_path)}
        report |= {"toolkit_clips": toolkit_clips, **marks}
        write_json(report_path, report)
    yield Evaluation(report, report_path, scores_path, failures)


def _load_networks(
    checkpoints: Mapping[str, Path], device: torch.device
) -> tuple[dict[str, tuple[str, Network]], dict[str, AsdtuneError]]:
    """Load the networks; a bad baseline is told, and the checkpoint judged without it."""
    networks = {"checkpoint": load_network(checkpoints["checkpoint"])}
    failures = {}
    if "baseline" in checkpoints:
        try:
            networks["baseline"] = load_network(checkpoints["baseline"])
        except AsdtuneError as error:
            failures[f"baseline {checkpoints['baseline'].name}"] = error
    for _, network in networks.values():
        network.to(device)
    return networks, failures


def _judge_in_toolkit(
    name: str,
    network: Network,
    found_on: Evaluated,
    evaluated: Evaluated,
    n_clips: int,
    window_size: int,
) -> Generator[Progress, None, dict[str, Any]]:
    """Find thresholds for scores as the toolkit makes them, and judge them on what is scored."""
    if n_clips == 0:
        return {}
    scorer = ToolkitNetwork(name, network)
    labels, scores = yield from _score_tracks(scorer, found_on.tracks(n_clips), window_size)
    thresholds, n_found = find_thresholds(labels, scores), len(labels)
    if evaluated is not found_on:
        labels, scores = yield from _score_tracks(scorer, evaluated.tracks(n_clips), window_size)
    return {
        "thresholds_in_toolkit": {
            key: asdict(judge_threshold(each.threshold, labels, scores))
            for key, each in thresholds.items()
        },
        "in_toolkit": {
            "found_on": found_on.name,
            "n_frames_found_on": n_found,
            "n_frames": len(labels),
            "speech": float(100 * labels.mean()) if len(labels) else None,
            "AUC": area_under_roc(labels, scores),
        },
    }


def _score_tracks(
    scorer: ToolkitNetwork, tracks: Iterable[Track], window_size: int
) -> Generator[Progress, None, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Score tracks as the toolkit does; give label and score of each frame, (N,).

    Frames that the toolkit smooths over a change of label count for neither.
    """
    labels, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
    for i, track in enumerate(tracks):
        is_known = is_settled(track.labels)
        of_track = scorer.score_track(track.crops, track.mfcc, window_size)
        labels.append(track.labels[is_known])
        scores.append(of_track[is_known])
        yield Progress("face tracks, as the toolkit scores them", i + 1, None)
    return np.concatenate(labels), np.concatenate(scores)
