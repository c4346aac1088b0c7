"""The numbers of each epoch for TensorBoard, where it is installed."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asdtune.core.training.reports import EpochReport
from asdtune.core.training.run_state import BOARD


def log_epoch(output_dir: Path, report: EpochReport) -> None:
    """Add the numbers of an epoch; do nothing without the extra `tensorboard`."""
    if find_spec("tensorboard") is None:
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(output_dir / BOARD)) as writer:
        for name, value in _numbers(asdict(report)):
            writer.add_scalar(name, value, report.epoch)


def _numbers(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """List what is a number, at any depth, by a name such as `validation_by_kind/positive/mAP`."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            found.append((f"{prefix}{name}", float(value)))
    return found
