"""Things that are verified one after the other, some of which need others to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from asdtune.errors import AsdtuneError


@dataclass(frozen=True)
class Check:
    """Something that was verified, or could not be.

    Attributes:
        name: What must hold.
        problem: What is wrong; None where it holds.
        fix: How to mend it.
        left_out: Why it was not verified; None where it was.
    """

    name: str
    problem: str | None = None
    fix: str | None = None
    left_out: str | None = None


@dataclass(frozen=True)
class Step:
    """How something is verified.

    Attributes:
        name: What must hold.
        do: Raises an `AsdtuneError` where it does not.
        needs: Names of what must hold before.
    """

    name: str
    do: Callable[[], object]
    needs: tuple[str, ...] = ()


def run_steps(steps: Iterable[Step]) -> Iterator[Check]:
    """Verify one after the other, but nothing that needs what does not hold."""
    unfit: set[str] = set()
    for step in steps:
        missing = [name for name in step.needs if name in unfit]
        if missing:
            unfit.add(step.name)
            yield Check(step.name, left_out=f'only where "{missing[0]}" holds')
            continue
        try:
            step.do()
        except AsdtuneError as error:
            unfit.add(step.name)
            yield Check(step.name, error.problem, error.fix)
        else:
            yield Check(step.name)
