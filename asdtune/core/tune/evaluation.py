"""Score the windows of a split, or labelled clips, and say how good the scores are.

In: a checkpoint and an evaluation set, and another checkpoint to compare with. Out:
`scores_<split>.csv`, one row per frame of a window with the window's columns, `frame` and `score`;
and `report.json` with the figures, in percent, how sure they are, and thresholds. Of labelled clips
`scores_labels.csv` and `report_labels.json`.

    for step in evaluate("best.pth", partial(SplitWindows, Path("test.csv")), Path("report"), ...):
        ...  # Progress, and at the end an Evaluation
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdtune import __version__
from asdtune.core.files import content_hash, settings_hash, write_json
from asdtune.core.networks.checkpoints import checkpoint_file, load_network, read_info
from asdtune.core.prepare.records import stage_lock
from asdtune.core.rates import check_window_size
from asdtune.core.tune.evaluation_sets import EvaluationSet, Progress
from asdtune.core.tune.judging import judge_networks, verdict_of
from asdtune.core.tune.labelled import LABELS, LabelledClips
from asdtune.core.tune.scoring import Scores, choose_device
from asdtune.core.tune.thresholds import find_thresholds
from asdtune.core.tune.toolkit import ToolkitNetwork
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from asdtune.core.networks.network import Network
    from asdtune.core.tune.tracks import Track

logger = logging.getLogger(__name__)

REPORT_JSON = "report.json"  # of a split
_SPEAKERS_OF = {  # what to think of figures of a split
    "test": "Splits that asdtune makes have no speaker of the test split in training or "
    "validation.",
    "validation": "These speakers chose the best epoch: on others the network may be worse.",
    "training": "The network was trained on these windows: on others it is worse.",
}


@dataclass(frozen=True)
class Judged:
    """All that a page about it needs, before the report is written.

    Attributes:
        report: As it will be written.
        checkpoint: Its file.
        evaluated: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).
    """

    report: dict[str, Any]
    checkpoint: Path
    evaluated: EvaluationSet
    scores_of: dict[str, Scores]


@dataclass(frozen=True)
class Evaluation:
    """The report and where it was written.

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


def evaluate(
    checkpoint: str,
    open_set: Callable[[int], EvaluationSet],
    output_dir: Path,
    *,
    baseline: str | None,
    window_size: int | None,
    default_window_size: int,
    batch_size: int,
    toolkit_clips: int,
    device: str,
    overwrite: bool,
) -> Iterator[Progress | Judged | Evaluation]:
    """Score an evaluation set, and say how good the scores are and how sure that is.

    Args:
        checkpoint: Path or name of the checkpoint.
        open_set: Gives what is scored, for windows of W frames.
        output_dir: Where report and scores go.
        baseline: Path or name of a checkpoint to compare with.
        window_size: W, in video frames; None for that of the run that made the checkpoint.
        default_window_size: W where neither is known.
        batch_size: Windows at once; changes nothing but the speed.
        toolkit_clips: From how many clips thresholds for the toolkit are found; 0 for none.
        device: `auto`, `cpu`, `cuda`, ...
        overwrite: Score again what an earlier run has scored.

    Yields:
        `Progress`, one `Judged` where something was scored, and at the end one `Evaluation`.

    Raises:
        AsdtuneError: The checkpoint or what is to be scored is bad.
    """
    path = checkpoint_file(checkpoint)
    info = read_info(path)
    size = default_window_size if info is None else info.window_size
    size = check_window_size(size if window_size is None else window_size)
    evaluated = open_set(size)
    if len(np.unique(evaluated.labels)) < 2:
        logger.warning(
            "everything in %s has the same label: what needs both stays empty in the report",
            evaluated.name,
        )
    contestants = {"checkpoint": path}
    failures = dict(evaluated.failures)
    bad_baseline: AsdtuneError | None = None
    if baseline is not None:  # that it is there costs nothing to know before all is scored
        contestants["baseline"] = checkpoint_file(baseline, flag="--baseline")
    report_path = output_dir / report_name(of_labels=isinstance(evaluated, LabelledClips))
    scores_path = output_dir / f"scores_{evaluated.name}.csv"
    fingerprint = fingerprint_of(evaluated.fingerprint, size, toolkit_clips, contestants)
    alone = fingerprint_of(evaluated.fingerprint, size, toolkit_clips, {"checkpoint": path})
    earlier = {} if overwrite else read_report(report_path)
    is_whole = scores_path.is_file() and not failures and not earlier.get("failures")
    if is_whole and tells_all(earlier, fingerprint):
        yield Evaluation(earlier, report_path, scores_path, is_fresh=True)
        return
    with stage_lock(output_dir, "evaluate"):
        where = choose_device(device)
        networks = {"checkpoint": load_network(path)}
        if "baseline" in contestants:
            try:
                networks["baseline"] = load_network(contestants["baseline"])
            except AsdtuneError as error:
                bad_baseline = failures[f"baseline {contestants['baseline'].name}"] = error
        scores_of: dict[str, Scores] = {}
        for role, (_, network) in networks.items():
            network.to(where)
            scores_of[role] = yield from evaluated.score(network, role, output_dir, batch_size)
        entries, difference = judge_networks(evaluated, scores_of)
        for role, (name, _) in networks.items():
            file = contestants[role]
            known = {"name": file.name, "network": name, "blake2b": content_hash(file)}
            entries[role] = {**known, **entries[role]}
        in_toolkit = yield from _thresholds_in_toolkit(
            *networks["checkpoint"], evaluated.tracks(toolkit_clips), size
        )
        entries["checkpoint"]["thresholds_in_toolkit"] = in_toolkit
        report = {**_about(evaluated, size), **entries, "fingerprint": fingerprint}
        report["fingerprint_alone"] = alone
        report |= {key: entries["checkpoint"][key] for key in ("mAP", "accuracy", "by_kind")}
        report["difference"] = difference
        report["failures"] = {name: error.problem for name, error in failures.items()}
        report["verdict"] = verdict_of(report, has_failed=bad_baseline is not None)
        evaluated.write_scores(scores_path, scores_of["checkpoint"])
        yield Judged(report, path, evaluated, scores_of)
        write_json(report_path, report)
        yield Evaluation(report, report_path, scores_path, failures)


def tells_all(report: Mapping[str, Any], fingerprint: str) -> bool:
    """Tell whether an earlier report has what is asked for, or that and a comparison besides."""
    known = (report.get("fingerprint"), report.get("fingerprint_alone"))
    return fingerprint in known


def report_name(*, of_labels: bool, suffix: str = ".json") -> str:
    """Name the report of a split, or that of labels."""
    return f"report_labels{suffix}" if of_labels else f"report{suffix}"


def speakers_of(report: Mapping[str, Any]) -> str:
    """Say what to think of the figures, by the splits that the speakers are in."""
    splits = report.get("splits_of_clips", [report["split"]])
    worst = next((name for name in ("training", "validation") if name in splits), "test")
    return _SPEAKERS_OF.get(worst if report.get("of") == LABELS else report["split"], "")


def fingerprint_of(
    data: str, window_size: int, toolkit_clips: int, contestants: Mapping[str, Path]
) -> str:
    """Tell all that decides a report.

    Args:
        data: The fingerprint of what is scored.
        window_size: W.
        toolkit_clips: As for `evaluate`.
        contestants: The files of the networks, by their role.
    """
    return settings_hash(
        {
            "asdtune": __version__,
            "window_size": window_size,
            "data": data,
            "toolkit_clips": toolkit_clips,
            **{role: content_hash(file) for role, file in contestants.items()},
        }
    )


def _thresholds_in_toolkit(
    name: str, network: Network, tracks: Iterable[Track], window_size: int
) -> Generator[Progress, None, dict[str, Any]]:
    """Find thresholds for scores as the toolkit makes them of whole clips."""
    scorer = ToolkitNetwork(name, network)
    labels, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
    for i, track in enumerate(tracks):
        is_known = track.labels >= 0
        of_track = scorer.score_track(track.crops, track.mfcc, window_size)
        labels.append(track.labels[is_known])
        scores.append(of_track[is_known])
        yield Progress("face tracks, as the toolkit scores them", i + 1, None)
    found = find_thresholds(np.concatenate(labels), np.concatenate(scores))
    return {key: asdict(each) for key, each in found.items()}


def read_report(path: Path) -> dict[str, Any]:
    """Read a report; empty where there is none.

    Raises:
        AsdtuneError: The file is something else.
    """
    try:
        report = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        report = None
    if not isinstance(report, dict) or not {"mAP", "checkpoint", "by_kind"} <= report.keys():
        raise AsdtuneError(
            "not a report of evaluate", where=path, fix="delete it and run evaluate again"
        )
    return report


def _about(evaluated: EvaluationSet, window_size: int) -> dict[str, Any]:
    """Say what was scored."""
    return {
        "asdtune": __version__,
        "unit": "percent",
        "window_size": window_size,
        **evaluated.about(),
        "chance_mAP": float(evaluated.labels.mean() * 100),
        "n_speakers": len(np.unique(evaluated.speakers)),
    }
