"""The exceptions for what a user can cause and mend."""

from __future__ import annotations

from pathlib import Path


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


def _rebuild(
    kind: type[AsdtuneError], problem: str, where: str | None, fix: str | None
) -> AsdtuneError:
    return kind(problem, where=where, fix=fix)
