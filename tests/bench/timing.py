"""How the benchmarks take time."""

from __future__ import annotations

import time
from collections.abc import Callable

REPEATS = 3


def best(run: Callable[[], object]) -> float:
    """Give the seconds of the fastest of some runs."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
