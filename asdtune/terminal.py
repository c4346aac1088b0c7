"""What the user sees: progress on stderr, results on stdout, errors in one form."""

from __future__ import annotations

import json
import logging
import os
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from asdtune.core.checkup import Finding

_SECONDS_BETWEEN_LINES = 10.0  # of progress where there is no terminal to draw a bar on


@dataclass(frozen=True)
class Summary:
    """How a command ended.

    Attributes:
        stage: The command.
        line: Its last line: what was done and where it is.
        data: The same and more, for `--json`.
        tables: The closing tables, each its rows, the header first.
        failures: What failed, by name.
        left_out: What was not used for a good reason, by name: no failure.
        findings: What a check-up found.
        notes: What the user should know.
        next_command: What to run next.
    """

    stage: str
    line: str
    data: dict[str, Any] = field(default_factory=dict)
    tables: Sequence[Sequence[Sequence[str]]] = ()
    failures: dict[str, AsdtuneError] = field(default_factory=dict)
    left_out: dict[str, AsdtuneError] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    notes: Sequence[str] = ()
    next_command: str | None = None


class Display:
    """Draws the progress of one command: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = stderr()
        self._is_quiet = console.quiet
        self._has_bar = console.is_terminal and not console.quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not self._has_bar,
        )
        self._task: TaskID | None = None
        self._label = ""
        self._printed = self._started = time.monotonic()

    def begin(self, label: str, total: int | None) -> None:
        """Begin to count towards a total."""
        self.end()
        self._label = label
        self._printed = self._started = time.monotonic()
        self._task = self._progress.add_task(label, total=total, speed="")
        self._progress.start()

    def update(self, n_done: int, total: int | None, speed: str) -> None:
        """Say how far it is and how fast it goes."""
        assert self._task is not None
        self._progress.update(self._task, completed=n_done, total=total, speed=speed)
        now = time.monotonic()
        if (
            not self._has_bar
            and not self._is_quiet
            and (now - self._printed > _SECONDS_BETWEEN_LINES)
        ):
            self._printed = now
            left = ""
            if total and n_done:
                left = f", {duration((now - self._started) * (total - n_done) / n_done)} left"
            of = f" of {total}" if total else ""
            speed = f", {speed}" if speed else ""
            stderr().print(f"{self._label}: {n_done}{of}{speed}{left}", highlight=False)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, highlight=False, markup=False)

    def end(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.stop()
            self._progress.remove_task(self._task)
            self._task = None


_state: dict[str, Console] = {}


def stderr() -> Console:
    """Give the console for progress, log and errors."""
    return _state.get("stderr") or Console(stderr=True)


def is_first_rank() -> bool:
    """Tell whether this process speaks for all that torchrun has started, or is the only one."""
    return os.environ.get("RANK", "0") == "0"


def set_up(*, quiet: bool, verbose: bool) -> None:
    """Set up logging and the consoles, once per command."""
    quiet = quiet or not is_first_rank()
    _state["stderr"] = Console(stderr=True, quiet=quiet)
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger("asdtune")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level, text = self.format(record).split(":", 1)
        stderr().print(f"{level.lower()}:{text}", highlight=False, markup=False)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM be a question that the block answers; the second one ends it.

    Yields:
        A function that tells whether there was one.
    """
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        stderr().print("stopping after this step; once more stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals are handled by the main thread only
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def display() -> Iterator[Display]:
    """Draw progress while the block runs, and leave nothing of it behind."""
    drawn = Display()
    try:
        yield drawn
    finally:
        drawn.end()


def ask(question: str) -> str:
    """Ask the user for a line, which may be empty; stdout stays for results."""
    answer: str = typer.prompt(question, default="", show_default=False, err=True)
    return answer.strip()


def show_error(error: AsdtuneError) -> None:
    """Print an error in the one form all errors have."""
    Console(stderr=True, soft_wrap=True).print(
        f"[bold red]error:[/] {escape(str(error))}", highlight=False
    )


def finish(summary: Summary, *, as_json: bool) -> None:
    """Print how a command ended; exit with 1 where something failed, or has to be mended."""
    if not is_first_rank():
        return
    if as_json:
        print(json.dumps(_as_json(summary), ensure_ascii=False))
    else:
        show_summary(summary)
    if summary.failures or any(each.mark == "problem" for each in summary.findings):
        raise typer.Exit(1)


def show_summary(summary: Summary) -> None:
    """Print the closing table, what failed and why, and what to run next."""
    console = Console(soft_wrap=True)
    for i_table, (header, *rows) in enumerate(summary.tables):
        if i_table:
            console.print()
        _show_table(console, header, rows)
    for finding in summary.findings:
        _show_finding(console, finding)
    for name, error in summary.left_out.items():
        console.print(
            f"[yellow]left out[/] {escape(name)}: {escape(error.problem)}", highlight=False
        )
    for fix in dict.fromkeys(error.fix for error in summary.left_out.values()):
        console.print(f"       {fix}", highlight=False, markup=False)
    for note in summary.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    for name, error in summary.failures.items():
        console.print(f"[red]failed[/] {escape(name)}: {escape(error.problem)}", highlight=False)
        if error.fix:
            console.print(f"       fix: {error.fix}", highlight=False, markup=False)
    console.print(summary.line, highlight=False, markup=False)
    if summary.next_command is not None:
        console.print(f"next: {summary.next_command}", highlight=False, markup=False)


_MARK_COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


def _show_finding(console: Console, finding: Finding) -> None:
    """Print a line of a check-up, and below it how to mend what it found."""
    mark = finding.mark.value
    text = f"{finding.name}: {finding.text}"
    if console.is_terminal:  # else it is one line, for programs that read lines
        width = max(console.width - 9, 20)
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
        text = text.replace("\n", f"\n{' ' * 9}")
    colour = _MARK_COLOURS[mark]
    console.print(f"[{colour}]{mark:<7}[/]  {escape(text)}", highlight=False)
    if finding.fix:
        console.print(f"         fix: {finding.fix}", highlight=False, markup=False)


def _show_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; on a terminal too narrow for it, a line for each row and its values below."""
    from rich.table import Table

    columns = zip(header, *rows, strict=True)
    if sum(2 + max(map(len, column)) for column in columns) - 2 <= console.width:
        table = Table(box=None, pad_edge=False)
        for name in header:
            table.add_column(name, no_wrap=True)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
        return
    for first, *values in rows:
        console.print(f"[bold]{escape(header[0])} {escape(first)}[/]", highlight=False)
        named = (f"{name} {value}" for name, value in zip(header[1:], values, strict=True) if value)
        console.print(f"  {', '.join(named)}", highlight=False, markup=False)


def show_stage(summary: Summary, seconds: float) -> None:
    """Print how one stage of several ended."""
    console = Console(soft_wrap=True)
    console.rule(f"{summary.stage}, {duration(seconds)}", align="left", characters="-")
    show_summary(replace(summary, next_command=None))


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "stage": summary.stage,
        "summary": summary.line,
        **summary.data,
        "failed": _as_list(summary.failures),
        "left_out": _as_list(summary.left_out),
        "notes": list(summary.notes),
        "next": summary.next_command,
    }


def _as_list(errors: dict[str, AsdtuneError]) -> list[dict[str, str | None]]:
    return [
        {"name": name, "problem": error.problem, "where": error.where, "fix": error.fix}
        for name, error in errors.items()
    ]


def duration(seconds: float) -> str:
    """Write minutes and seconds, and hours where there are.

    Examples:
        >>> duration(75), duration(4000)
        ('1:15', '1:06:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
