"""What the user sees: progress on stderr, results on stdout, errors in one form."""

from __future__ import annotations

import json
import logging
import os
import signal
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
_MARK_COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}
_consoles: dict[str, Console] = {}


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
        findings: What a check found.
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

    def show(self, label: str, n_done: int, total: int | None, speed: str = "") -> None:
        """Say how far it is and how fast it goes; a new label begins to count anew."""
        if label != self._label:
            self.end()
            self._label = label
            self._printed = self._started = time.monotonic()
            self._task = self._progress.add_task(label, total=total, speed="")
            self._progress.start()
        if self._task is not None:
            self._progress.update(self._task, completed=n_done, total=total, speed=speed)
        now = time.monotonic()
        if self._has_bar or self._is_quiet or now - self._printed < _SECONDS_BETWEEN_LINES:
            return
        self._printed = now
        parts = [f"{label}: {n_done}{f' of {total}' if total else ''}", *filter(None, [speed])]
        if total and n_done:
            parts.append(f"{duration((now - self._started) * (total - n_done) / n_done)} left")
        stderr().print(", ".join(parts), highlight=False)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, highlight=False, markup=False)

    def end(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.stop()
            self._progress.remove_task(self._task)
            self._task = None


@contextmanager
def display() -> Iterator[Display]:
    """Draw progress while the block runs, and leave nothing of it behind."""
    drawn = Display()
    try:
        yield drawn
    finally:
        drawn.end()


def stderr() -> Console:
    """Give the console for progress, log and errors."""
    return _consoles.get("stderr") or Console(stderr=True)


def is_silent(command: str | None) -> bool:
    """Tell whether a command has nothing to say: a `train` of torchrun's, but for the first."""
    is_rank = "TORCHELASTIC_RUN_ID" in os.environ  # as torch.distributed tells it
    return is_rank and command == "train" and os.environ.get("RANK", "0") != "0"


def set_up(command: str | None, *, quiet: bool, verbose: bool) -> None:
    """Set up logging and the consoles, once per command."""
    quiet = quiet or is_silent(command)
    _consoles["stderr"] = Console(stderr=True, quiet=quiet)
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger("asdtune")
    root.handlers[:] = [handler]
    root.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
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


def show_error(error: AsdtuneError) -> None:
    """Print an error in the one form all errors have."""
    Console(stderr=True, soft_wrap=True).print(
        f"[bold red]error:[/] {escape(str(error))}", highlight=False
    )


def finish(summary: Summary, *, as_json: bool) -> None:
    """Print how a command ended; exit with 1 where something failed, or has to be mended."""
    if not is_silent(summary.stage):
        if as_json:
            print(json.dumps(_as_json(summary), ensure_ascii=False))
        else:
            show_summary(summary)
    if summary.failures or any(each.mark == "problem" for each in summary.findings):
        raise typer.Exit(1)


def show_stage(summary: Summary, seconds: float) -> None:
    """Print how one stage of several ended."""
    console = Console(soft_wrap=True)
    console.rule(f"{summary.stage}, {duration(seconds)}", align="left", characters="-")
    show_summary(replace(summary, next_command=None))


def show_summary(summary: Summary) -> None:
    """Print the closing tables, what failed and why, and what to run next."""
    console = Console(soft_wrap=True)

    def say(text: str, mark: str = "", colour: str = "") -> None:
        marked = f"[{colour}]{mark}[/] " if mark else ""
        console.print(f"{marked}{escape(text)}", highlight=False)

    for i_table, table in enumerate(summary.tables):
        if i_table:
            console.print()
        _show_table(*table)
    for each in summary.findings:
        mark = each.mark.value
        say(f"{each.name}: {each.text}", f"{mark:<8}", _MARK_COLOURS[mark])
        if each.fix:
            say(f"         fix: {each.fix}")
    for name, error in summary.left_out.items():
        say(f"{name}: {error.problem}", "left out", "yellow")
    for fix in dict.fromkeys(error.fix for error in summary.left_out.values() if error.fix):
        say(f"       {fix}")
    for note in summary.notes:
        say(f"note: {note}")
    for name, error in summary.failures.items():
        say(f"{name}: {error.problem}", "failed", "red")
        if error.fix:
            say(f"       fix: {error.fix}")
    say(summary.line)
    if summary.next_command is not None:
        say(f"next: {summary.next_command}")


def _show_table(header: Sequence[str], *rows: Sequence[str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


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
