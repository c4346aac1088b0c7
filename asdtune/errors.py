"""The exceptions for what a user can cause and mend."""

from __future__ import annotations

import errno
from pathlib import Path

_NO_SPACE = "free some space, or name a folder on another disk; then run it again to go on"
_NOT_ALLOWED = "name a folder that you may use, or get the permission; then run it again to go on"
_FIX_OF = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
    errno.ENAMETOOLONG: "give shorter names to files and folders",
    errno.EMFILE: "allow more open files (ulimit -n), or lower --workers",
}
_ANY_FIX = "check the path, its disk and its permissions; then run the same command again"


class AsdtuneError(Exception):
    """Say what is wrong, where, and how to mend it.

    Args:
        problem: What is wrong, with the value seen and the value expected.
        where: The file, row or setting at fault.
        fix: What the user can do about it.
    """

    exit_code = 1

    def __init__(
        self, problem: str, *, where: str | Path | None = None, fix: str | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = None if where is None else str(where)
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.problem]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.fix is not None:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between processes, and keyword arguments do not survive plain pickling.
        return _rebuild, (type(self), self.problem, self.where, self.fix)


class UsageError(AsdtuneError):
    """A flag or the project file is wrong: exit code 2."""

    exit_code = 2


def is_of_system(number: int | None) -> bool:
    """Tell whether an errno blames the system, and not the content of a file."""
    return number in _FIX_OF


def is_disk_full(error: OSError) -> bool:
    """Tell whether nothing more can be written."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def error_of_system(error: OSError, where: str | Path | None = None) -> AsdtuneError:
    """Say what the system refused.

    Args:
        error: Its error.
        where: The file at fault, if the error names none.
    """
    return AsdtuneError(
        (error.strerror or str(error)).lower(),
        where=error.filename or where,
        fix=_FIX_OF.get(error.errno or 0, _ANY_FIX),
    )


def _rebuild(
    kind: type[AsdtuneError], problem: str, where: str | None, fix: str | None
) -> AsdtuneError:
    return kind(problem, where=where, fix=fix)
