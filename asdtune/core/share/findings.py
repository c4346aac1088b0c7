"""What is known of a network that is shared: what its makers declared, and what was found.

In: `run.json` beside its checkpoints, the `report.json` of `evaluate`, the `report.json` of
`splits`, and `quality.csv` of `crops`; each counts only if it is of this checkpoint. Out:
`Findings`. What nobody knows is asked for by a mark, in the files and by `open_marks`.

    findings = find_out(Path("exps/checkpoints/best.pth"), 51, sources)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdtune.core.corpus import Split
from asdtune.core.files import content_hash, settings_hash
from asdtune.core.networks.catalogue import SCRATCH, STARTS
from asdtune.core.networks.checkpoints import CheckpointInfo
from asdtune.core.share.licences import find_licence
from asdtune.core.tune.held_out import speakers_are
from asdtune.core.tune.reports import read_report
from asdtune.core.tune.runs import RUN_JSON
from asdtune.errors import AsdtuneError, UsageError

MARK = "FILL IN:"
NO_LINK = f"{MARK} the link to the checkpoint, once it is uploaded (--checkpoint-url)"
NO_AUTHORS = f"{MARK} whom to cite (export-config.authors in the project file)"
NO_LICENSE = f"{MARK} the licence of the checkpoint (export-config.license in the project file)"
NO_CONSENT = (
    f"{MARK} how the people in the videos agreed (export-config.consent in the project file)"
)
NO_RECORDINGS = (
    f"{MARK} who recorded the videos, where and when (export-config.recordings in the project file)"
)
NO_RESULTS = f"{MARK} the results. Not evaluated yet, run evaluate, then export-config again"
NO_DATA = f"{MARK} how many speakers and minutes it learned from, which no report of splits tells"
NO_RECIPE = f"{MARK} how it was trained, which no run beside the checkpoint tells"
NO_ORIGIN = f"{MARK} which weights it started from, and their licence, which no run tells"
_OPEN = re.compile(rf"{MARK} ([^\"|\n]+)")


@dataclass(frozen=True)
class Declared:
    """What only a person knows.

    Attributes:
        authors: Whom to cite, each `Family, Given`; without a comma an institution.
        license: Of the checkpoint, an SPDX identifier; kept as SPDX spells it.
        consent: How the people in the videos agreed to this use.
        recordings: Who recorded the videos, where and when.
    """

    authors: tuple[str, ...] = ()
    license: str | None = None
    consent: str | None = None
    recordings: str | None = None

    def __post_init__(self) -> None:
        if not all(name.strip(" ,") for name in self.authors):
            raise UsageError(
                "an author has no name",
                where="export-config.authors in the project file",
                fix='write each as "Family, Given", or the name of an institution',
            )
        if self.license is not None:
            object.__setattr__(self, "license", find_licence(self.license))


@dataclass(frozen=True)
class Sources:
    """The reports that may tell something of a checkpoint; any of them may be absent.

    Attributes:
        evaluation: The `report.json` of `evaluate`.
        splits: The `report.json` of `splits`.
        quality: The `quality.csv` of `crops`.
    """

    evaluation: Path | None = None
    splits: Path | None = None
    quality: Path | None = None


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
class Findings:
    """What was found out about a checkpoint; None where nobody knows.

    Attributes:
        info: What the run tells of it.
        run: The run's settings and results.
        results: What `evaluate` found, with windows of its size.
        data: What `splits` tells, by split.
        quality: What the face crops are like.
    """

    info: CheckpointInfo | None
    run: dict[str, Any] | None
    results: dict[str, Any] | None
    data: dict[str, Any] | None
    quality: Quality | None

    @property
    def started_from(self) -> str:
        """Name the weights it started from; of a file its name only, not where it lies.

        Where no run tells, it is asked for.
        """
        if self.info is None:
            return NO_ORIGIN
        name = self.info.started_from
        return name if name in (*STARTS, SCRATCH) else Path(name).name


def find_out(
    checkpoint: Path, info: CheckpointInfo | None, window_size: int, sources: Sources
) -> Findings:
    """Gather what is known of a checkpoint.

    Raises:
        AsdtuneError: A report is something else, or tells how well it knows what it learned from.
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
    data = None if run is None else _read_data(run, window_size, sources.splits)
    return Findings(
        info=info,
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


def results_fingerprint(results: dict[str, Any] | None) -> str | None:
    """Tell results apart from others; None where there are none."""
    return None if results is None else settings_hash(results)


def open_marks(folder: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Give what those files that a folder has still ask for, each with the files that ask."""
    asked: dict[str, list[str]] = {}
    for name in names:
        if not (folder / name).is_file():
            continue
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
        for what in dict.fromkeys(_OPEN.findall(text)):
            asked.setdefault(what.strip(" .'"), []).append(name)
    return asked


def _read_run(checkpoint: Path, info: CheckpointInfo) -> dict[str, Any] | None:
    """Read what the run beside a checkpoint says of itself, if it made this checkpoint."""
    run = _read_json(checkpoint.parent.parent / RUN_JSON, "run.json of train")
    if run is None:
        return None
    same = run.get("network") == info.network and run.get("window_size") == info.window_size
    return run if same and run.get("checkpoint") == info.started_from else None


def _read_data(run: dict[str, Any], window_size: int, path: Path | None) -> dict[str, Any] | None:
    """Read what `splits` tells of the data, if the run learned from them."""
    if path is None or not path.is_file():
        return None
    training = Path(run.get("datasets", {}).get("training", ""))
    if training.is_file() and training.resolve().parent != path.resolve().parent:
        return None
    report = _read_json(path, "report of splits") or {}
    if report.get("settings", {}).get("window_size") != window_size:
        return None
    data: dict[str, Any] | None = report.get("splits")
    return data if _has_learned_from(run, path.parent) else None


def _has_learned_from(run: dict[str, Any], splits_dir: Path) -> bool:
    """Tell whether splits are still those of a run; of an old run nobody knows."""
    hashes = run.get("dataset_hashes")
    if not isinstance(hashes, dict) or "training" not in hashes:
        return False
    paths = {splits_dir / f"{name}.csv": expected for name, expected in hashes.items()}
    return all(path.is_file() and content_hash(path) == it for path, it in paths.items())


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
