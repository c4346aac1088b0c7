"""What a stage could not do, in `failed.csv` beside its outputs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from asdtune.core.csv_files import read_csv
from asdtune.core.files import write_text
from asdtune.core.prepare.jobs import JobResult
from asdtune.errors import AsdtuneError

_FAILED_CSV = "failed.csv"


def keep_failures(results: Iterable[JobResult], output_dir: Path) -> Iterator[JobResult]:
    """Pass results on; after the last one, write which failed.

    A stage looks again at what failed whenever it runs: the list is whole, and replaces the last.
    """
    rows = []
    for result in results:
        if result.error is not None:
            rows.append([result.name, result.error.problem])
        yield result
    path = output_dir / _FAILED_CSV
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["video", "problem"], *sorted(rows)])
    write_text(path, text.getvalue())


def read_failures(output_dir: Path) -> dict[str, str]:
    """Read why the last run of a stage made nothing of a video, by its path below its folder.

    Nothing where nothing failed, or where somebody has made another file of it.
    """
    path = output_dir / _FAILED_CSV
    try:
        table = read_csv(path, ("video", "problem"), fix="", is_ours=True)
    except AsdtuneError:
        return {}
    return {row["video"]: row["problem"] for _, row in table.records()}
