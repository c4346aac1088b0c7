"""The command line: every command with its flags and examples, and what becomes of errors."""

from __future__ import annotations

import inspect
import os
import re
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from asdtune import __version__, console
from asdtune.commands import demo, doctor, evaluate, export, prepare, project, run, train
from asdtune.commands.command import with_settings
from asdtune.errors import AsdtuneError, UsageError, error_of_system
from asdtune.project import keys_called

_INTERRUPTED = 130  # the shell's exit code for Ctrl-C
_PIPE_CLOSED = 141  # ... and for a reader that went away
_GLOBAL_FLAGS = ("--quiet", "--verbose")
_FULL_MEMORY = re.compile("out of memory|allocate memory", re.IGNORECASE)  # as torch says it
_TypersUsageError: type[Exception] = typer.BadParameter.mro()[1]  # Typer gives it no other name


class Commands(TyperGroup):
    """All commands, and the one place where an error becomes a message and an exit code."""

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
        except AsdtuneError as error:
            if isinstance(error, UsageError) and error.fix is None:
                error.fix = f"see {_path(ctx)} --help"
            console.show_error(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            where, how = error.args or ("", "")
            console.stderr().print(
                f"stopped{where}; what is done stays done: to go on, run the same command{how}"
            )
            raise typer.Exit(_INTERRUPTED) from error
        except BrokenPipeError as error:  # whoever read along (head, less) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_PIPE_CLOSED) from error
        except (MemoryError, RuntimeError, OSError) as error:
            console.show_error(_of_machine(error))
            raise typer.Exit(AsdtuneError.exit_code) from error


def _path(ctx: Any) -> str:
    """Name the command that was called, as far as it is known."""
    return " ".join(["asdtune", *filter(None, [ctx.invoked_subcommand])])


def _of_machine(error: MemoryError | RuntimeError | OSError) -> AsdtuneError:
    """Say what the machine refused; what it had no part in is a bug, and raised as it is."""
    if isinstance(error, OSError) and error.errno is not None:
        return error_of_system(error)
    if isinstance(error, MemoryError) or _FULL_MEMORY.search(str(error)):
        return AsdtuneError("not enough memory", fix="lower --batch-size, or --workers")
    raise error


def _shown(error: Any, path: str) -> Exception:
    """Show what Typer has found wrong as our own errors are shown; give how to end."""
    if type(error).__name__ == "NoArgsIsHelpError":  # which has shown the help already
        return typer.Exit(error.exit_code)
    is_bad_value = type(error) is typer.BadParameter and error.param is not None
    message = (error.message if is_bad_value else error.format_message()).rstrip(".")
    flag = f"{error.param.opts[0]}: " if is_bad_value else ""
    is_unknown = type(error).__name__ == "NoSuchOption"  # a flag that it once was, perhaps
    keys = keys_called(error.option_name) if is_unknown else []
    fix = " or ".join(f"give --set {key}=VALUE" for key in keys) or f"see {path} --help"
    console.show_error(UsageError(f"{flag}{message[:1].lower()}{message[1:]}", fix=fix))
    return typer.Exit(UsageError.exit_code)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"asdtune {__version__}")
        raise typer.Exit


@app.callback(
    epilog=_examples(
        "asdtune init my-project --language swahili",
        "asdtune run --project my-project",
        "asdtune doctor",
    )
)
def main(
    ctx: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no warnings.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more of what is done.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Teach active speaker detection a new language: from vlogs to an AnnoTheia language folder.

    All settings have defaults; a project file changes them (asdtune init writes one), and a flag
    wins over both. A command that is run again does only what is missing or has changed.
    """
    console.set_up(ctx.invoked_subcommand, quiet=quiet, verbose=verbose)


def _add(name: str, function: Any, *examples: str) -> None:
    text = inspect.cleandoc(function.__doc__ or "")
    first = " ".join(text.split("\n\n")[0].split())
    app.command(name, help=text, short_help=first, epilog=_examples(*examples))(function)


_WORK = ("project.workers", "project.scheduler")
_DETECTOR = ("crops.detector", "crops.detector_model")

_add(
    "init", project.init,
    "asdtune init my-project --language swahili",
    "asdtune init my-project --language sw --set export-config.license=CC-BY-4.0",
)  # fmt: skip
_add(
    "collect-chunk",
    with_settings(
        prepare.collect_chunk, "paths.video_dir", "collect-chunk.chunk_seconds",
        "collect-chunk.min_chunk_seconds", "collect-chunk.split_ratio", "project.audio_track",
        "project.seed", *_WORK,
    ),
    "asdtune collect-chunk", "asdtune collect-chunk raw --split-ratio 0.8,0.1,0.1",
)  # fmt: skip
_add(
    "crops",
    with_settings(
        prepare.crops, "paths.video_dir", *_DETECTOR, "crops.detection_size", *_WORK,
        face_crops_output_dir="paths.face_crops_dir",
    ),
    "asdtune crops", "asdtune crops --detector haar --workers 2",
)  # fmt: skip
_add(
    "mfcc",
    with_settings(
        prepare.mfcc, "paths.video_dir", "paths.face_crops_dir", "project.audio_track", *_WORK,
        mfccs_output_dir="paths.mfccs_dir",
    ),
    "asdtune mfcc", "asdtune mfcc --video-dir videos --mfccs-output-dir mfccs",
)  # fmt: skip
_add(
    "splits",
    with_settings(
        prepare.splits, "paths.face_crops_dir", "paths.mfccs_dir", "splits.windows_per_sample",
        "splits.n_samples", "splits.kinds", "splits.min_speech_share", "splits.all_clips",
        "project.window_size", "project.seed", splits_output_dir="paths.splits_dir",
    ),
    "asdtune splits", "asdtune splits --windows-per-sample 20 --window-size 25",
)  # fmt: skip
_add(
    "train",
    with_settings(
        train.train, "model.network", "train.checkpoint", "project.window_size",
        "train.learning_rate", "train.lr_decay", "train.total_epochs", "train.batch_size",
        "train.freeze", "train.head_epochs", "train.distillation", "train.precision",
        "train.device", "project.seed",
        output_dir="paths.exps_dir",
    ),
    "asdtune train --network lr-asd", "asdtune train --freeze visual-frontend --batch-size 16",
    "asdtune train --resume", "asdtune train --set train.patience=3",
)  # fmt: skip
_add(
    "evaluate",
    with_settings(
        evaluate.evaluate, "evaluate.baseline", "evaluate.batch_size", "evaluate.toolkit_clips",
        "paths.face_crops_dir", "paths.mfccs_dir", "train.device", output_dir="paths.report_dir",
    ),
    "asdtune evaluate --baseline english", "asdtune evaluate --labels labels.csv",
)  # fmt: skip
_add(
    "export-config",
    with_settings(
        export.export_config, "export-config.checkpoint_url", "project.language",
        output_dir="paths.export_dir",
    ),
    "asdtune export-config",
    "asdtune export-config --checkpoint-url https://zenodo.org/records/1234567",
)  # fmt: skip
_add(
    "preview",
    with_settings(
        evaluate.preview, *_DETECTOR, "train.device", output_dir="paths.preview_dir"
    ),
    "asdtune preview raw/anna/talk.mp4", "asdtune preview raw/*/*.mp4 --threshold 0.5",
)  # fmt: skip
_add(
    "run",
    with_settings(
        run.run, "paths.source", "project.language", *_DETECTOR, "model.network",
        "train.checkpoint", "project.window_size", "train.device", *_WORK,
    ),
    "asdtune run", "asdtune run --source VIDEOS --language swahili --network lr-asd",
)  # fmt: skip
_add("demo", demo.demo, "asdtune demo")
_add("doctor", doctor.doctor, "asdtune doctor", "asdtune doctor --project my-project")
