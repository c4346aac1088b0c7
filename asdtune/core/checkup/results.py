"""How far the stages are that come of the clips: splits, run, report, and the folder to submit.

Nothing is changed. Whether a run and a report are of the splits as they are is told as `train` and
`evaluate` tell it: by the fingerprints of windows, settings and weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdtune.core.checkup.stages import StageState, State
from asdtune.core.corpus import Split
from asdtune.core.networks.catalogue import SCRATCH
from asdtune.core.prepare.records import RECORDS_DIR
from asdtune.core.splits import REPORT_JSON as SPLITS_REPORT

if TYPE_CHECKING:
    from asdtune.core.tune.runs import TrainingSettings


def state_of_splits(splits_dir: Path, report: Mapping[str, Any] | None) -> StageState:
    """Say whether there are splits, and of the clips as they are.

    Args:
        splits_dir: Where they are.
        report: What `find_fresh_splits` gives.
    """
    names = [split.value for split in Split if (splits_dir / f"{split}.csv").is_file()]
    if report is not None:
        counts = ", ".join(f"{each['n_windows']} {name}" for name, each in report["splits"].items())
        n_failed = sum(len(each["failed"]) for each in report["splits"].values())
        n_left_out = sum(len(each["left_out"]) for each in report["splits"].values())
        more = f"; {_clips(n_left_out)} left out" if n_left_out else ""
        more += f"; {_clips(n_failed)} failed" if n_failed else ""
        progress = State.FAILURES if n_failed else State.DONE
        return StageState(progress, f"windows: {counts}{more}")
    if not names:
        return StageState(State.NOT_BEGUN)
    if (splits_dir / RECORDS_DIR / "splits.json").is_file():
        return StageState(State.OUT_OF_DATE, "the clips or the settings have changed since")
    if (splits_dir / SPLITS_REPORT).is_file():
        return StageState(State.HALF, f"there is {', '.join(names)}")
    return StageState(State.DONE, f"{', '.join(names)}, not made by asdtune")


def state_of_run(
    exps_dir: Path,
    csv_of: Mapping[str, Path],
    settings: TrainingSettings,
    start: Path | None,
    *,
    device: str,
) -> StageState:
    """Say how far training is, and whether it is of these splits and settings.

    Args:
        exps_dir: Where the run is.
        csv_of: The splits by name, those that are there.
        settings: As for `train`.
        start: The file of weights to start from; None for `scratch`, or where it is not here: then
            the run that is there counts as one of these splits and settings.
        device: As for `train`.

    Raises:
        AsdtuneError: A split or its files are bad.
    """
    from asdtune.core.tune.runs import METRICS_JSONL, is_finished, obstacle_to, read_run

    earlier = read_run(exps_dir)
    if earlier is None:
        return StageState(State.NOT_BEGUN)
    has_start = start is not None or settings.checkpoint == SCRATCH
    if has_start and {"training", "validation"} <= csv_of.keys():
        run = _describe(exps_dir, csv_of, settings, start, device)
        obstacle = obstacle_to(exps_dir, earlier, run)
        if obstacle is not None:
            return StageState(State.OUT_OF_DATE, obstacle)
    if is_finished(earlier, settings):
        result = earlier["result"]
        best = f"best is epoch {result['best_epoch']}"
        return StageState(State.DONE, f"{best}, validation mAP {result['validation_mAP']:.2f}")
    n_epochs = _count_lines(exps_dir / METRICS_JSONL)
    return StageState(State.HALF, f"{n_epochs} of {settings.total_epochs} epochs")


def _describe(
    exps_dir: Path,
    csv_of: Mapping[str, Path],
    settings: TrainingSettings,
    start: Path | None,
    device: str,
) -> dict[str, Any]:
    """Describe the run that `train` would begin or carry on."""
    from asdtune.core.tune.dataset import WindowDataset
    from asdtune.core.tune.planning import without_empty_curriculum
    from asdtune.core.tune.runs import as_before, describe_run
    from asdtune.core.tune.scoring import choose_device
    from asdtune.core.tune.settings import resolve_settings

    windows = {name: WindowDataset(path, settings.window_size) for name, path in csv_of.items()}
    is_chosen_here = settings.temporal_epochs is None
    settings = resolve_settings(settings, choose_device(device), is_scratch=start is None)
    settings = without_empty_curriculum(settings, windows["training"])
    describe = partial(describe_run, windows, dict(csv_of), start)
    return describe(as_before(exps_dir, settings, describe) if is_chosen_here else settings)


def state_of_report(
    report_dir: Path,
    csv_path: Path,
    contestants: Mapping[str, Path],
    *,
    toolkit_clips: int,
    window_size: int,
) -> StageState:
    """Say whether there is a report, and of this checkpoint, baseline and split.

    Args:
        report_dir: Where it is.
        csv_path: The split that is scored.
        contestants: The files of checkpoint and baseline, by these names.
        toolkit_clips: As for `evaluate`.
        window_size: Of the checkpoint.

    Raises:
        AsdtuneError: The split or the report is bad.
    """
    from asdtune.core.share.report import REPORT_HTML
    from asdtune.core.tune.dataset import WindowDataset
    from asdtune.core.tune.reports import REPORT_JSON, fingerprints_of, read_report, tells_all

    report = read_report(report_dir / REPORT_JSON)
    if not report:
        has_scores = any(report_dir.glob("scores_*.csv"))
        return StageState(State.HALF if has_scores else State.NOT_BEGUN)
    windows = WindowDataset(csv_path, window_size)
    expected = fingerprints_of(windows.fingerprint, window_size, toolkit_clips, contestants)
    if not tells_all(report, expected):
        return StageState(State.OUT_OF_DATE, "of another checkpoint, baseline, split or setting")
    if not (report_dir / REPORT_HTML).is_file():
        return StageState(State.HALF, f"{REPORT_HTML} is not there")
    mean = "none" if report["mAP"] is None else f"{report['mAP']:.2f}"
    text = f"mAP {mean} on {report['split']}"
    if report.get("failures"):
        return StageState(State.FAILURES, f"{text}; {'; '.join(report['failures'].values())}")
    return StageState(State.DONE, text)


def state_of_export(
    export_dir: Path, checkpoint: Path, report: Path, *, window_size: int
) -> StageState:
    """Say whether there is a folder to submit, with this checkpoint and what was found of it.

    Args:
        export_dir: Where it is.
        checkpoint: The checkpoint.
        report: The `report.json` of `evaluate`, where there is one.
        window_size: Of the checkpoint.

    Raises:
        AsdtuneError: A checkpoint or the report is bad.
    """
    from asdtune.core.share.card import MODEL_CARD, results_table
    from asdtune.core.share.provenance import read_results

    weights = _weights_in(export_dir)
    configs = sorted(export_dir.glob("configs/annotheia_pipeline_*.yaml"))
    if not weights and not configs:
        return StageState(State.NOT_BEGUN)
    if not weights or not configs or not (export_dir / "SHA256SUMS").is_file():
        return StageState(State.HALF)
    if not any(_are_same(each, checkpoint) for each in weights):
        return StageState(State.OUT_OF_DATE, f"it does not hold {checkpoint}")
    results = read_results(checkpoint, window_size, report)
    card = export_dir / MODEL_CARD
    told = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if results is not None and results_table(results) not in told:
        return StageState(State.OUT_OF_DATE, "evaluate has found something else since")
    return StageState(State.DONE, configs[0].name)


def link_in_export(export_dir: Path) -> str | None:
    """Give the download link in the folder to submit; None where it has none yet."""
    for path in sorted(export_dir.glob("configs/annotheia_pipeline_*.yaml")):
        found = re.search(r"# download: (http\S+)", path.read_text("utf-8", errors="replace"))
        if found is not None:
            return found[1]
    return None


def _weights_in(export_dir: Path) -> list[Path]:
    return sorted(export_dir.glob("modules/*/*/weights/*.pth"))


def _are_same(one: Path, other: Path) -> bool:
    """Tell whether two files hold the same weights, however these are laid out in them."""
    from asdtune.core.networks.checkpoints import read_state

    if not other.is_file():
        return False
    a, b = read_state(one), read_state(other)
    return a.keys() == b.keys() and all(bool(a[name].equal(b[name])) for name in a)


def _count_lines(path: Path) -> int:
    try:
        return len(path.read_bytes().splitlines())
    except FileNotFoundError:
        return 0


def _clips(number: int) -> str:
    return f"{number} clip{'s' * (number != 1)}"
