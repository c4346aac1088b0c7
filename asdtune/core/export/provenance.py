"""What is known of a checkpoint: by its makers, and by the reports of the commands.

In: the table `[export-config]` of the project file, `run.json` beside the checkpoints, and the
`report.json` of `evaluate` and of `splits`, which count only if they are of this checkpoint. What
nobody knows is marked with `FILL IN:` in the files.
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
from asdtune.core.training.run_state import run_that_made
from asdtune.errors import AsdtuneError

MARK = "FILL IN:"
FILL_IN = {
    "link": f"{MARK} the link to the checkpoint, once it is uploaded (--checkpoint-url)",
    "results": f"{MARK} the results. Not evaluated yet, run evaluate, then export-config again",
    **{
        key: f"{MARK} {what} (export-config.{key} in the project file)"
        for key, what in {
            "authors": "whom to cite",
            "license": "the licence of the checkpoint",
            "consent": "how the people in the videos agreed",
            "recordings": "who recorded the videos, where and when",
            "data": "how many speakers and minutes it learned from",
            "recipe": "how it was trained",
            "started_from": "which weights it started from",
        }.items()
    },
}
_OPEN = re.compile(rf"{MARK} ([^\"|\n]+)")


@dataclass(frozen=True)
class CardMetadata:
    """What only a person knows: the table `[export-config]`, where each key is described."""

    authors: Sequence[str] = ()
    license: str | None = None
    consent: str | None = None
    recordings: str | None = None
    data: str | None = None
    recipe: str | None = None
    started_from: str | None = None


@dataclass(frozen=True)
class ReportPaths:
    """The reports of `evaluate`, on a split and on labels, and of `splits`; any may be absent."""

    evaluation: Path | None = None
    labels: Path | None = None
    splits: Path | None = None


@dataclass(frozen=True)
class Provenance:
    """What is known of a checkpoint; None where nobody knows.

    Attributes:
        metadata: What its makers say.
        started_from: The weights it started from; of a file its name only, not where it lies.
        epoch: Of the run, at which it was saved.
        run: The run's settings and results.
        results: The report of `evaluate`.
        data: What `splits` tells, by split.
    """

    metadata: CardMetadata
    started_from: str | None
    epoch: int | None
    run: dict[str, Any] | None
    results: dict[str, Any] | None
    data: dict[str, Any] | None


def find_provenance(
    checkpoint: Path,
    window_size: int,
    reports: ReportPaths,
    metadata: CardMetadata,
    info: CheckpointInfo | None,
) -> Provenance:
    """Gather what is known of a checkpoint.

    Raises:
        AsdtuneError: A report is damaged, or of speakers that the network learned from.
    """
    results = report_of(checkpoint, reports.evaluation)
    if results is not None and speakers_are(results) == Split.TRAINING:
        raise AsdtuneError(
            "these results are of speakers that the network learned from",
            where=reports.evaluation,
            fix="run asdtune evaluate without --dataset, which takes the test split; then "
            "export-config again",
        )
    run = run_that_made(checkpoint)
    started_from = " ".join((metadata.started_from or "").split()) or None
    if info is not None:
        is_published = info.started_from in (*STARTS, SCRATCH)
        started_from = info.started_from if is_published else Path(info.started_from).name
    return Provenance(
        metadata=metadata,
        started_from=started_from,
        epoch=None if info is None else info.epoch,
        run=run,
        results=results if results and results["window_size"] == window_size else None,
        data=None if run is None else _read_data(run, reports.splits),
    )


def report_of(checkpoint: Path, path: Path | None) -> dict[str, Any] | None:
    """Read a report of `evaluate`; None unless it is of this checkpoint."""
    report = {} if path is None else read_report(path)
    is_ours = report and report["checkpoint"]["blake2b"] == content_hash(checkpoint)
    return report if is_ours else None


def open_marks(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Give what files still ask a person for, each with the files that ask; weights ask nothing.

    Examples:
        >>> open_marks({"a.md": b"By FILL IN: whom to cite (here)"})
        {'whom to cite (here)': ['a.md']}
    """
    asked: dict[str, list[str]] = {}
    for name, content in files.items():
        text = "" if name.endswith((".pth", ".safetensors")) else content.decode(errors="replace")
        for what in dict.fromkeys(_OPEN.findall(text)):
            asked.setdefault(what.strip(" .'"), []).append(name)
    return asked


def _read_data(run: Mapping[str, Any], path: Path | None) -> dict[str, Any] | None:
    """Read the report of `splits`, if a run learned from these very splits."""
    hashes = run.get("dataset_hashes") or {}  # none of an old run
    if path is None or "training" not in hashes:
        return None
    csvs = {path.with_name(f"{split}.csv"): expected for split, expected in hashes.items()}
    if not all(csv.is_file() and content_hash(csv) == it for csv, it in csvs.items()):
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())["splits"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        fix = "delete it and run splits again"
        raise AsdtuneError("not the report of splits", where=path, fix=fix) from error
    return data
