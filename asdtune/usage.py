"""How commands are called: their help at any width, and one form for every mistake in calling."""

from __future__ import annotations

import errno
import os
import re
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from asdtune.errors import AsdtuneError, UsageError
from asdtune.terminal import show_error, stderr

_INTERRUPTED = 130  # the shell's exit code for Ctrl-C
_PIPE_CLOSED = 141  # ... and for a reader that went away
_GLOBAL_FLAGS = ("--quiet", "--verbose")
_FULL_MEMORY = re.compile("out of memory|allocate memory", re.IGNORECASE)  # as torch says it
_PERMISSIONS = "check who may read and write there, or name another folder"
_FIX_OF = {  # of errors of the system
    errno.ENOSPC: "free some space, or name a folder on another disk; then run it again to go on",
    errno.EDQUOT: "free some of the space you may use, or name a folder on another disk",
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: "nothing can be written there: name a folder on another disk",
    errno.ENOENT: "check the path: it, or the folder it is in, is not there",
    errno.ENOTDIR: "check the path: a file is where a folder should be",
    errno.EISDIR: "check the path: a folder is where a file should be",
    errno.ENAMETOOLONG: "give the file, or the folders it is in, shorter names",
    errno.EMFILE: "allow more open files (ulimit -n), or lower --workers",
    errno.EIO: "check the disk, and whether it is still connected",
}
_ANY_FIX = "check the path and its disk; then run the same command again"
_TypersUsageError: type[Exception] = typer.BadParameter.mro()[1]  # Typer gives it no other name
_BAD_VALUE = re.compile(r"Invalid value for '?([^':]+)'?(?: / '[^']+')*: (.+)", re.DOTALL)

_WIDEST = 100  # columns of help; longer lines are hard to read
_WIDE = 72  # from here on names and what they mean stand side by side
_NAME_COLUMNS, _INDENT = 26, 4


def examples(*commands: str) -> str:
    """Give the end of a command's help: how it is called."""
    return "\n\n".join(["Example:" if len(commands) == 1 else "Examples:", *commands])


class Command(TyperCommand):
    """A command whose help loses no name of an option, however narrow the terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        del formatter  # which knows one width, and no colours
        _print_help(self, ctx, ())


class Commands(TyperGroup):
    """All commands, and the one place where an error becomes a message and an exit code."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, the commands first."""
        del formatter
        commands = ((name, self.commands[name]) for name in self.list_commands(ctx))
        _print_help(
            self,
            ctx,
            [(name, _first_paragraph(each)) for name, each in commands if not each.hidden],
        )

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse what stands before the command."""
        try:
            return super().make_context(*args, **kwargs)
        except _TypersUsageError as error:
            raise _shown(error, "asdtune") from error

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--quiet` and `--verbose` after the command as well as before it."""
        return super().parse_args(ctx, sorted(args, key=lambda arg: arg not in _GLOBAL_FLAGS))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn what a user can mend into its message and exit code."""
        try:
            return super().invoke(ctx)
        except _TypersUsageError as error:
            raise _shown(error, _path(ctx)) from error
        except UsageError as error:
            fix = error.fix or _how_to_call(_path(ctx))
            show_error(UsageError(error.problem, where=error.where, fix=fix))
            raise typer.Exit(error.exit_code) from error
        except AsdtuneError as error:
            show_error(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            where, how = error.args or ("", "")
            stderr().print(
                f"stopped{where}; what is done stays done: to go on, run the same command{how}"
            )
            raise typer.Exit(_INTERRUPTED) from error
        except typer.Abort as error:  # Ctrl-C or Ctrl-D instead of an answer
            stderr().print("\nstopped; nothing was written")
            raise typer.Exit(_INTERRUPTED) from error
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not _FULL_MEMORY.search(str(error)):
                raise
            show_error(AsdtuneError("not enough memory", fix="lower --batch-size, or --workers"))
            raise typer.Exit(AsdtuneError.exit_code) from error
        except BrokenPipeError as error:  # whoever read along (head, less) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_PIPE_CLOSED) from error
        except OSError as error:
            if error.errno is None:
                raise  # no file and no disk is behind it: a bug
            problem = (error.strerror or str(error)).lower()
            fix = _FIX_OF.get(error.errno, _ANY_FIX)
            show_error(AsdtuneError(problem, where=error.filename, fix=fix))
            raise typer.Exit(AsdtuneError.exit_code) from error


def _shown(error: Any, path: str) -> Exception:
    """Show what Typer has found wrong as our own errors are shown; give how to end."""
    if type(error).__name__ == "NoArgsIsHelpError":  # which has shown the help already
        return typer.Exit(error.exit_code)
    message = error.format_message().rstrip(".")
    if bad_value := _BAD_VALUE.fullmatch(message):
        problem = f"{bad_value[1]}: {_uncapitalised(bad_value[2])}"
    else:
        problem = _uncapitalised(message)
    show_error(UsageError(problem, fix=_how_to_call(path)))
    return typer.Exit(UsageError.exit_code)


def _path(ctx: Any) -> str:
    """Name the command that was called, as far as it is known."""
    return " ".join(["asdtune", *filter(None, [ctx.invoked_subcommand])])


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _how_to_call(command_path: str) -> str:
    return f"see {command_path} --help"


def _print_help(command: Any, ctx: Any, commands: Iterable[tuple[str, str]]) -> None:
    """Print usage, what the command does, its parameters, and its examples."""
    console = Console(highlight=False)
    width = min(console.width, _WIDEST)
    records = [
        (each.param_type_name, each.get_help_record(ctx)) for each in command.get_params(ctx)
    ]
    sections = {
        "Commands": list(commands),
        "Arguments": [record for kind, record in records if kind == "argument" and record],
        "Options": [record for kind, record in records if kind == "option" and record],
    }
    console.print(_wrapped(command.get_usage(ctx), width), markup=False, soft_wrap=True)
    for paragraph in (command.help or "").split("\n\n"):
        console.print(f"\n{_wrapped(paragraph, width)}", markup=False, soft_wrap=True)
    for title, entries in sections.items():
        if entries:
            console.print(f"\n[bold]{title}:[/]")
        for name, text in entries:
            console.print(_entry(name, text, width), soft_wrap=True)
    title, *lines = (command.epilog or "").split("\n\n")
    if title:
        console.print(f"\n[bold]{title}[/]")
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)  # to be copied: never broken


def _entry(name: str, text: str, width: int) -> Text:
    """Lay out a name and what it means, side by side where there is room."""
    indent = _NAME_COLUMNS + 2 if width >= _WIDE else _INDENT
    lines = textwrap.wrap(text, width - indent, break_on_hyphens=False)
    head = f"  {name}"
    if len(head) + 2 <= indent and lines:
        entry = Text(head.ljust(indent), style="cyan")
        entry.append(lines.pop(0), style="default")
    else:
        entry = Text(head, style="cyan")
    for line in lines:
        entry.append(f"\n{' ' * indent}{line}", style="default")
    return entry


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(" ".join(text.split()), width, break_on_hyphens=False)


def _first_paragraph(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())
