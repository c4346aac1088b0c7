"""What is known of a checkpoint: what its makers declared, and what the reports tell.

In: `run.json` beside the checkpoints, the `report.json` of `evaluate`, the `report.json` of
`splits`, and `quality.csv` of `crops`; each counts only if it is of this checkpoint. Out: a
`Provenance`. What nobody knows is asked for by a mark, in the files and by `open_marks`.

    known = find_provenance(Path("exps/checkpoints/best.pth"), 51, sources, declared)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdtune.core.corpus import Split
from asdtune.core.evaluation.held_out import speakers_are
from asdtune.core.evaluation.reports import read_report
from asdtune.core.files import content_hash
from asdtune.core.models.checkpoints import CheckpointInfo
from asdtune.core.models.registry import SCRATCH, STARTS
from asdtune.core.training.run_state import RUN_JSON
from asdtune.errors import AsdtuneError

MARK = "FILL IN:"
_KEY = "(export-config.{} in the project file)"
NO_LINK = f"{MARK} the link to the checkpoint, once it is uploaded (--checkpoint-url)"
NO_AUTHORS = f"{MARK} whom to cite {_KEY.format('authors')}"
NO_LICENSE = f"{MARK} the licence of the checkpoint {_KEY.format('license')}"
NO_CONSENT = f"{MARK} how the people in the videos agreed {_KEY.format('consent')}"
NO_RECORDINGS = f"{MARK} who recorded the videos, where and when {_KEY.format('recordings')}"
NO_RESULTS = f"{MARK} the results. Not evaluated yet, run evaluate, then export-config again"
NO_DATA = f"{MARK} how many speakers and minutes it learned from {_KEY.format('data')}"
NO_RECIPE = f"{MARK} how it was trained {_KEY.format('recipe')}"
NO_ORIGIN = f"{MARK} which weights it started from {_KEY.format('started_from')}"
_WEIGHTS = (".pth", ".safetensors")
_OPEN = re.compile(rf"{MARK} ([^\"|\n]+)")


@dataclass(frozen=True)
class Declared:
    """What only a person knows.

    Attributes:
        authors: Whom to cite, each `Family, Given`; without a comma an institution.
        license: Of the checkpoint, an SPDX identifier.
        consent: How the people in the videos agreed to this use.
        recordings: Who recorded the videos, where and when.
        data: How much it learned from, where no report of `splits` tells.
        recipe: How it was trained, where no run tells.
        started_from: From which weights it started, where no run tells.
    """

    authors: Sequence[str] = ()
    license: str | None = None
    consent: str | None = None
    recordings: str | None = None
    data: str | None = None
    recipe: str | None = None
    started_from: str | None = None


@dataclass(frozen=True)
class Sources:
    """The reports that may tell something of a checkpoint; any of them may be absent.

    Attributes:
        evaluation: The `report.json` of `evaluate`.
        splits: The `report.json` of `splits`.
        quality: The `quality.csv` of `crops`.
        labels: The `report_labels.json` of `evaluate`.
    """

    evaluation: Path | None = None
    splits: Path | None = None
    quality: Path | None = None
    labels: Path | None = None


@dataclass(frozen=True)
class Quality:
    """What the face crops are like.

    Attributes:
        n_clips: How many were looked at.
        face_percent: Of their frames show the speaker's face.
        face_height_pixels: The median over clips.
    """

    n_clips: int
    face_percent: float
    face_height_pixels: float


@dataclass(frozen=True)
class Provenance:
    """What is known of a checkpoint; None where nobody knows.

    Attributes:
        declared: What its makers say.
        started_from: The weights it started from; of a file its name only, not where it lies.
        epoch: Of the run, at which it was saved.
        run: The run's settings and results.
        results: What `evaluate` found, with windows of its size.
        data: What `splits` tells, by split.
        quality: What the face crops are like.
    """

    declared: Declared
    started_from: str
    epoch: int | None
    run: dict[str, Any] | None
    results: dict[str, Any] | None
    data: dict[str, Any] | None
    quality: Quality | None


def find_provenance(
    checkpoint: Path,
    window_size: int,
    sources: Sources,
    declared: Declared,
    info: CheckpointInfo | None,
) -> Provenance:
    """Gather what is known of a checkpoint.

    Raises:
        AsdtuneError: A report is something else, or tells how well the network knows what it
            learned from.
    """
    results = read_results(checkpoint, window_size, sources.evaluation)
    if results is not None and speakers_are(results) == Split.TRAINING:
        raise AsdtuneError(
            "these results are of speakers that the network learned from",
            where=sources.evaluation,
            fix="run asdtune evaluate without --dataset, which takes the test split; then "
            "export-config again",
        )
    run = None if info is None else _read_run(checkpoint, info)
    data = None if run is None else _read_data(run, sources.splits)
    return Provenance(
        declared=declared,
        started_from=_origin_of(info) or " ".join((declared.started_from or NO_ORIGIN).split()),
        epoch=None if info is None else info.epoch,
        run=run,
        results=results,
        data=data,
        quality=None if data is None else _read_quality(sources.quality),
    )


def read_results(checkpoint: Path, window_size: int, path: Path | None) -> dict[str, Any] | None:
    """Read what `evaluate` found, if it was this checkpoint, with windows of its own size.

    Raises:
        AsdtuneError: The file is something else.
    """
    report = {} if path is None else read_report(path)
    if not report or report["checkpoint"]["blake2b"] != content_hash(checkpoint):
        return None
    return report if report["window_size"] == window_size else None


def open_marks(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Give what files still ask a person for, each with the files that ask; weights ask nothing.

    Examples:
        >>> open_marks({"a.md": b"By FILL IN: whom to cite (here)"})
        {'whom to cite (here)': ['a.md']}
    """
    asked: dict[str, list[str]] = {}
    for name, content in files.items():
        text = "" if name.endswith(_WEIGHTS) else content.decode(errors="replace")
        for what in dict.fromkeys(_OPEN.findall(text)):
            asked.setdefault(what.strip(" .'"), []).append(name)
    return asked


def _origin_of(info: CheckpointInfo | None) -> str | None:
    if info is None:
        return None
    name = info.started_from
    return name if name in (*STARTS, SCRATCH) else Path(name).name  # not where it lies


def _read_run(checkpoint: Path, info: CheckpointInfo) -> dict[str, Any] | None:
    """Read what the run beside a checkpoint says of itself, if it made this checkpoint."""
    run = _read_json(checkpoint.parent.parent / RUN_JSON, "run.json of train")
    if run is None:
        return None
    same = run.get("network") == info.network and run.get("window_size") == info.window_size
    return run if same and run.get("checkpoint") == info.started_from else None


def _read_data(run: Mapping[str, Any], path: Path | None) -> dict[str, Any] | None:
    """Read what `splits` tells of the data, if they are still those that a run learned from."""
    hashes = run.get("dataset_hashes") or {}  # none of an old run
    if path is None or "training" not in hashes:
        return None
    csvs = {path.with_name(f"{split}.csv"): expected for split, expected in hashes.items()}
    if not all(csv.is_file() and content_hash(csv) == it for csv, it in csvs.items()):
        return None
    data: dict[str, Any] | None = (_read_json(path, "report of splits") or {}).get("splits")
    return data


def _read_quality(path: Path | None) -> Quality | None:
    import pandas as pd

    if path is None or not path.is_file():
        return None
    try:
        table = pd.read_csv(path)
        share = table["n_frames_of_speaker"].sum() / max(table["n_frames"].sum(), 1)
        height = float(table["face_height_pixels"].median())
    except (ValueError, KeyError, TypeError) as error:
        raise AsdtuneError(
            f"not the quality.csv of crops ({error})",
            where=path,
            fix="delete it and run crops again",
        ) from error
    return Quality(len(table), 100 * float(share), height) if len(table) else None


def _read_json(path: Path, what: str) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise AsdtuneError(
            f"not the {what}", where=path, fix="delete it and run that command again"
        )
    return found
