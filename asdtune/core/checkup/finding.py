"""One line of a check-up, and how what stops a check becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from asdtune.errors import AsdtuneError


class Mark(str, Enum):
    """What a finding means for the user."""

    OK = "ok"
    NOTE = "note"  # good to know, and nothing stops
    PROBLEM = "problem"  # a command will stop on it

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Finding:
    """One line of a check-up.

    Attributes:
        name: What was looked at.
        mark: What it means.
        text: What was found.
        fix: How to mend it.
    """

    name: str
    mark: Mark
    text: str
    fix: str | None = None


def found(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Give what a check finds; what stops the check is a finding, too."""
    try:
        yield from check()
    except AsdtuneError as error:
        where = "" if error.where is None else f": {error.where}"
        yield Finding(name, Mark.PROBLEM, f"{error.problem}{where}", error.fix)
    except ImportError as error:  # of what was found broken before
        yield Finding(name, Mark.PROBLEM, f"cannot be told ({error})")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        where = "" if error.filename is None else f": {error.filename}"
        yield Finding(name, Mark.PROBLEM, f"{reason}{where}", "mend what the system refuses")
