"""One line of a check-up, and how what stops a check becomes one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from asdtune.errors import AsdtuneError

logger = logging.getLogger(__name__)

_Seen = TypeVar("_Seen")
_BROKEN = "mend the packages named above; if none is, this is a bug: please report it"


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


def found(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Give what a check finds; what stops the check is a finding, too."""
    try:
        yield from check()
    except Exception as error:  # of broken packages come errors of all kinds
        yield _stopped(name, error)


def attempt(name: str, look: Callable[[], _Seen]) -> _Seen | Finding:
    """Give what a look sees, or the finding that it was stopped by something."""
    try:
        return look()
    except Exception as error:
        return _stopped(name, error)


def reason(error: Exception) -> str:
    """Give the first line of an error, or what kind it is where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _stopped(name: str, error: Exception) -> Finding:
    if isinstance(error, AsdtuneError):
        where = "" if error.where is None else f": {error.where}"
        return Finding(name, Mark.PROBLEM, f"{error.problem}{where}", error.fix)
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f": {error.filename}"
        text = f"{(error.strerror or str(error)).lower()}{where}"
        return Finding(name, Mark.PROBLEM, text, "mend what the system refuses")
    logger.info("looking at %s", name, exc_info=error)
    return Finding(name, Mark.PROBLEM, f"cannot be told ({reason(error)})", _BROKEN)
