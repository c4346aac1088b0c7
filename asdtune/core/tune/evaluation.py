"""Score the windows of a split with a checkpoint, and say how good the scores are.

In: a checkpoint and a split. Out: `scores_<split>.csv`, one row per frame of a window with the
window's columns, `frame` and `score`; and `report.json` with the metrics, in percent.

    for step in evaluate(Path("best.pth"), Path("splits/test.csv"), Path("report"), ...):
        ...  # Progress, and at the end an Evaluation
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asdtune import __version__
from asdtune.core.files import content_hash, relative, settings_hash, whole_file, write_json
from asdtune.core.networks.checkpoints import find_checkpoint, load_network, read_info
from asdtune.core.rates import check_window_size
from asdtune.core.tune.dataset import WindowDataset
from asdtune.core.tune.metrics import summarize, summarize_kinds
from asdtune.core.tune.scoring import Scores, choose_device, score_windows
from asdtune.errors import AsdtuneError

REPORT_JSON = "report.json"


@dataclass(frozen=True)
class Progress:
    """How many windows are scored of how many."""

    what: str
    n_done: int
    n_total: int


@dataclass(frozen=True)
class Evaluation:
    """The report and where it was written; `is_fresh` if an earlier run had done it."""

    report: dict[str, Any]
    report_path: Path
    scores_path: Path
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
    device: str,
    overwrite: bool,
) -> Iterator[Progress | Evaluation]:
    """Score a split and report mAP and accuracy, in all and for each kind of window.

    Args:
        checkpoint: Path or name of the checkpoint.
        dataset: The split.
        output_dir: Where report and scores go.
        baseline: Path or name of a checkpoint to compare with.
        window_size: W, in video frames; None for that of the run that made the checkpoint.
        default_window_size: W where neither is known.
        batch_size: Windows at once; changes nothing but the speed.
        device: `auto`, `cpu`, `cuda`, ...
        overwrite: Score again what an earlier run has scored.

    Yields:
        `Progress`, and at the end one `Evaluation`.

    Raises:
        AsdtuneError: The checkpoint or the split is bad, or the split has no positive windows.
    """
    path = _checkpoint_file(checkpoint)
    info = read_info(path)
    size = default_window_size if info is None else info.window_size
    size = check_window_size(size if window_size is None else window_size)
    windows = WindowDataset(dataset, size)
    if not windows.labels.any():
        raise AsdtuneError(
            "no positive windows in this split: average precision needs some",
            where=dataset,
            fix="make it again with splits",
        )
    contestants = {"checkpoint": path}
    if baseline is not None:
        contestants["baseline"] = _checkpoint_file(baseline, flag="--baseline")
    report_path, scores_path = output_dir / REPORT_JSON, output_dir / f"scores_{dataset.stem}.csv"
    fingerprint = settings_hash(
        {
            "asdtune": __version__,
            "window_size": size,
            "data": windows.fingerprint,
            **{role: content_hash(file) for role, file in contestants.items()},
        }
    )
    earlier = {} if overwrite else read_report(report_path)
    if earlier.get("fingerprint") == fingerprint and scores_path.is_file():
        yield Evaluation(earlier, report_path, scores_path, is_fresh=True)
        return
    where = choose_device(device)
    network_of: dict[str, str] = {}
    scores_of: dict[str, Scores] = {}
    for role, file in contestants.items():
        name, network = load_network(file)
        network_of[role] = name
        scores = np.empty((len(windows), size), np.float32)
        n_done = 0
        for part in score_windows(network.to(where), windows, batch_size=batch_size):
            scores[n_done : n_done + len(part)] = part
            n_done += len(part)
            yield Progress(role, n_done, len(windows))
        scores_of[role] = scores
    report = {
        **_report(windows, contestants, network_of, scores_of, dataset),
        "fingerprint": fingerprint,
    }
    _write_scores(scores_path, windows.table, scores_of["checkpoint"])
    write_json(report_path, report)
    yield Evaluation(report, report_path, scores_path)


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


def _checkpoint_file(name: str, *, flag: str = "--checkpoint") -> Path:
    path = find_checkpoint(name, flag=flag)
    if path is None:
        raise AsdtuneError(
            "scratch is no checkpoint: it has learned nothing",
            where=flag,
            fix="name the file that train wrote, such as exps/checkpoints/best.pth",
        )
    return path


def _report(
    windows: WindowDataset,
    contestants: dict[str, Path],
    network_of: dict[str, str],
    scores_of: dict[str, Scores],
    dataset: Path,
) -> dict[str, Any]:
    table = windows.table
    report: dict[str, Any] = {
        "asdtune": __version__,
        "unit": "percent",
        "split": dataset.stem,
        "window_size": windows.window_size,
        "n_windows": len(windows),
        "n_frames": len(windows) * windows.window_size,
        "chance_mAP": float(windows.labels.mean() * 100),
        "n_speakers": int(table.video_path.map(lambda path: Path(path).parent.name).nunique()),
    }
    for role, scores in scores_of.items():
        part = {
            "name": contestants[role].name,
            "network": network_of[role],
            "blake2b": content_hash(contestants[role]),
            **summarize(windows.labels, scores),
            "by_kind": summarize_kinds(windows.kinds, windows.labels, scores),
        }
        if role == "checkpoint":
            report |= {key: part.pop(key) for key in ("mAP", "accuracy", "by_kind")}
        report[role] = part
    return report


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
