"""Score the windows of a split with a checkpoint, and say how good the scores are.

In: a checkpoint and a split, and another checkpoint to compare with. Out: `scores_<split>.csv`, one
row per frame of a window with the window's columns, `frame` and `score`; and `report.json` with the
figures, in percent, how sure they are, and thresholds.

    for step in evaluate(Path("best.pth"), Path("splits/test.csv"), Path("report"), ...):
        ...  # Progress, and at the end an Evaluation
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asdtune import __version__
from asdtune.core.files import content_hash, relative, settings_hash, whole_file, write_json
from asdtune.core.networks.checkpoints import checkpoint_file, load_network, read_info
from asdtune.core.rates import check_window_size
from asdtune.core.tune.dataset import WindowDataset
from asdtune.core.tune.feeds import open_frozen, remove_frozen, store_frozen
from asdtune.core.tune.freezing import Freeze
from asdtune.core.tune.judging import judge_networks, verdict_of
from asdtune.core.tune.scoring import Scores, choose_device, score_windows
from asdtune.core.tune.thresholds import find_thresholds
from asdtune.core.tune.toolkit import ToolkitNetwork
from asdtune.core.tune.tracks import tracks_of
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from asdtune.core.networks.network import Network

logger = logging.getLogger(__name__)

REPORT_JSON = "report.json"
SPEAKERS_OF: Mapping[str, str] = defaultdict(  # what to think of figures of a split
    str,
    test="Splits that asdtune makes have no speaker of the test split in training or validation.",
    validation="These speakers chose the best epoch: on others the network may be worse.",
    training="The network was trained on these windows: on others it is worse.",
)
_FEATURES = ".features"  # while it scores


@dataclass(frozen=True)
class Progress:
    """How much is done of how much."""

    what: str
    n_done: int
    n_total: int


@dataclass(frozen=True)
class Judged:
    """All that a page about it needs, before the report is written.

    Attributes:
        report: As it will be written.
        checkpoint: Its file.
        windows: What was scored.
        scores_of: By role, `checkpoint` and perhaps `baseline`, each (N, W).
    """

    report: dict[str, Any]
    checkpoint: Path
    windows: WindowDataset
    scores_of: dict[str, Scores]


@dataclass(frozen=True)
class Evaluation:
    """The report and where it was written.

    Attributes:
        report: As it was written.
        report_path: Where.
        scores_path: The scores of the checkpoint.
        failures: Why it says nothing of a baseline, by its name.
        is_fresh: An earlier run had done it.
    """

    report: dict[str, Any]
    report_path: Path
    scores_path: Path
    failures: dict[str, AsdtuneError] = field(default_factory=dict)
    is_fresh: bool = False


def evaluate(
    checkpoint: str,
    dataset: Path,
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
    """Score a split, and say how good the scores are and how sure that is.

    Args:
        checkpoint: Path or name of the checkpoint.
        dataset: The split.
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
        AsdtuneError: The checkpoint or the split is bad.
    """
    path = checkpoint_file(checkpoint)
    info = read_info(path)
    size = default_window_size if info is None else info.window_size
    size = check_window_size(size if window_size is None else window_size)
    windows = WindowDataset(dataset, size)
    if len(np.unique(windows.labels)) < 2:
        logger.warning(
            "all windows of %s have the same label: what needs both stays empty in the report",
            dataset,
        )
    contestants = {"checkpoint": path}
    failures: dict[str, AsdtuneError] = {}
    if baseline is not None:
        try:
            contestants["baseline"] = checkpoint_file(baseline, flag="--baseline")
        except AsdtuneError as error:
            failures[f"baseline {baseline}"] = error
    report_path, scores_path = output_dir / REPORT_JSON, output_dir / f"scores_{dataset.stem}.csv"
    fingerprint = settings_hash(
        {
            "asdtune": __version__,
            "window_size": size,
            "data": windows.fingerprint,
            "toolkit_clips": toolkit_clips,
            **{role: content_hash(file) for role, file in contestants.items()},
        }
    )
    earlier = {} if overwrite else read_report(report_path)
    is_whole = scores_path.is_file() and not failures and not earlier.get("failures")
    if earlier.get("fingerprint") == fingerprint and is_whole:
        yield Evaluation(earlier, report_path, scores_path, is_fresh=True)
        return
    where = choose_device(device)
    networks = {"checkpoint": load_network(path)}
    if "baseline" in contestants:
        try:
            networks["baseline"] = load_network(contestants["baseline"])
        except AsdtuneError as error:
            failures[f"baseline {contestants['baseline'].name}"] = error
    scores_of: dict[str, Scores] = {}
    for role, (_, network) in networks.items():
        network.to(where)
        scores_of[role] = yield from _score(network, windows, output_dir, role, batch_size)
    entries, difference = judge_networks(windows, scores_of)
    for role, (name, _) in networks.items():
        file = contestants[role]
        known = {"name": file.name, "network": name, "blake2b": content_hash(file)}
        entries[role] = {**known, **entries[role]}
    in_toolkit = yield from _thresholds_in_toolkit(*networks["checkpoint"], windows, toolkit_clips)
    entries["checkpoint"]["thresholds_in_toolkit"] = in_toolkit
    report = {**_about(windows, dataset), **entries, "fingerprint": fingerprint}
    report |= {key: entries["checkpoint"][key] for key in ("mAP", "accuracy", "by_kind")}
    report["difference"] = difference
    report["failures"] = {name: error.problem for name, error in failures.items()}
    report["verdict"] = verdict_of(difference, report["n_speakers"], has_failed=bool(failures))
    _write_scores(scores_path, windows.table, scores_of["checkpoint"])
    yield Judged(report, path, windows, scores_of)
    write_json(report_path, report)
    yield Evaluation(report, report_path, scores_path, failures)


def _score(
    network: Network, windows: WindowDataset, output_dir: Path, role: str, batch_size: int
) -> Generator[Progress, None, Scores]:
    """Score all windows; those of a clip share what the visual front-end makes of its frames."""
    freeze, precision = Freeze.VISUAL, "fp32"
    folder = output_dir / _FEATURES
    for done in store_frozen(network, windows, folder, freeze=freeze, precision=precision):
        yield Progress(f"{done.what} of the {role}", done.n_done, done.n_total)
    feed = open_frozen(network, windows, folder, freeze=freeze)
    scores = np.empty((len(windows), windows.window_size), np.float32)
    n_done = 0
    for part in score_windows(network, feed, batch_size=batch_size, freeze=freeze):
        scores[n_done : n_done + len(part)] = part
        n_done += len(part)
        yield Progress(f"windows of the {role}", n_done, len(windows))
    del feed  # maps the files, which some systems then do not delete
    remove_frozen(folder)
    return scores


def _thresholds_in_toolkit(
    name: str, network: Network, windows: WindowDataset, n_clips: int
) -> Generator[Progress, None, dict[str, Any]]:
    """Find thresholds for scores as the toolkit makes them of whole clips."""
    scorer = ToolkitNetwork(name, network)
    n_tracks = 2 * min(n_clips, len(set(windows.video_paths)))
    labels, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
    for i, track in enumerate(tracks_of(windows, n_clips)):
        is_seen = track.labels >= 0
        of_track = scorer.score_track(track.crops, track.mfcc, windows.window_size)
        labels.append(track.labels[is_seen])
        scores.append(of_track[is_seen])
        yield Progress("face tracks, as the toolkit scores them", i + 1, n_tracks)
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


def _about(windows: WindowDataset, dataset: Path) -> dict[str, Any]:
    """Say what was scored."""
    return {
        "asdtune": __version__,
        "unit": "percent",
        "split": dataset.stem,
        "window_size": windows.window_size,
        "n_windows": len(windows),
        "n_frames": len(windows) * windows.window_size,
        "chance_mAP": float(windows.labels.mean() * 100),
        "n_speakers": len(np.unique(windows.speakers)),
    }


def _write_scores(path: Path, table: pd.DataFrame, scores: Scores) -> None:
    n_frames = scores.shape[1]
    rows = table.copy()
    for column in ("video_path", "audio_path"):
        rows[column] = rows[column].map(
            {name: relative(Path(name), path.parent) for name in rows[column].unique()}
        )
    rows = rows.loc[rows.index.repeat(n_frames)]
    rows["frame"] = np.tile(np.arange(n_frames), len(table))
    rows["score"] = scores.reshape(-1)
    with whole_file(path) as beside:
        rows.to_csv(beside, index=False, lineterminator="\n", float_format="%.6f")
