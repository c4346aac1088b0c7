"""Commands from a network to the folder that is submitted, and all of them in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asdtune.commands.options import (
    AsJson,
    Device,
    ProjectFile,
    finish,
    load_settings,
    one_of,
)
from asdtune.errors import UsageError


def export_config(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="The folder; the same as --output-dir."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="English name, own name or ISO 639 code.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint; default: the best of the last run.")
    ] = None,
    checkpoint_url: Annotated[
        str | None, typer.Option(help="Where the checkpoint can be downloaded.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the folder goes.")] = None,
    window_size: Annotated[
        int | None, typer.Option(help="Only for a bare checkpoint that no run describes.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; verify the folder that is there.")
    ] = False,
    toolkit: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKOUT", help="With --check: try it on a copy of this AnnoTheia checkout."
        ),
    ] = None,
    toolkit_python: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON", help="With --toolkit: the Python of its environment; default: this."
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Say what would be uploaded to this repository on Hugging Face; see --yes.",
        ),
    ] = None,
    is_sure: Annotated[
        bool, typer.Option("--yes", help="With --push-to-hub: upload it, for everybody to see.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Move files that you edited to NAME.before, and write them anew."
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Export a network, too, that evaluate found to be worse."),
    ] = False,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the folder that is laid over an AnnoTheia checkout and opened as a pull request.

    All of it is written anew each time; what only you know stands in the table [export-config] of
    the project file. With --check nothing is written: it says of the folder that is there what
    holds and what does not, and exits with 1 if anything does not. With --push-to-hub the
    checkpoint and its card are uploaded, once --yes is given, and the link is filled in.
    """
    from asdtune import stages

    for flag, needed, is_wrong in (
        ("--toolkit", "--check", toolkit is not None and not check),
        ("--toolkit-python", "--toolkit", toolkit_python is not None and toolkit is None),
        ("--yes", "--push-to-hub", is_sure and push_to_hub is None),
    ):
        if is_wrong:
            raise UsageError(f"it is for {needed}", where=flag, fix=f"give {needed}, too")
    if folder is not None and output_dir is not None:
        raise UsageError("FOLDER and --output-dir are the same", fix="give one of them")
    if check and push_to_hub is not None:
        raise UsageError("--check writes nothing", where="--push-to-hub", fix="give one of them")
    written = {
        "--checkpoint": checkpoint,
        "--checkpoint-url": checkpoint_url,
        "--force": force or None,
        "--language": language,
        "--overwrite": overwrite or None,
        "--window-size": window_size,
    }
    for flag, value in written.items():
        if check and value is not None:
            raise UsageError(
                "--check writes nothing and takes the folder as it is",
                where=flag,
                fix=f"leave {flag} away; or run without --check first, which writes the folder",
            )
    if push_to_hub is not None and checkpoint_url is not None:
        raise UsageError(
            "the link is that of the repository with --push-to-hub",
            where="--checkpoint-url",
            fix="give one of them",
        )
    settings = load_settings(
        project,
        {
            "project.language": language,
            "paths.export_dir": output_dir if folder is None else folder,
            "export-config.checkpoint_url": checkpoint_url,
        },
    )
    if check:
        summary = stages.check_export(settings, toolkit=toolkit, toolkit_python=toolkit_python)
        finish(summary, as_json)
        return
    if push_to_hub is not None:
        summary = stages.push_to_hub(
            settings, push_to_hub, checkpoint=checkpoint, window_size=window_size,
            force=force, overwrite=overwrite, is_sure=is_sure,
        )  # fmt: skip
        finish(summary, as_json)
        return
    summary = stages.export_config(
        settings,
        checkpoint=checkpoint,
        window_size=window_size,
        force=force,
        overwrite=overwrite,
        is_link_given=checkpoint_url is not None,
    )
    finish(summary, as_json)


def preview(
    videos: Annotated[list[Path], typer.Argument(help="Any videos, of one person or several.")],
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint; default: the best of the last run.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where the previews go.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="From which score on somebody speaks; default: what evaluate found."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="As for crops.", autocompletion=one_of("crops.detector"))
    ] = None,
    detector_model: Annotated[Path | None, typer.Option(help="As for crops.")] = None,
    window_size: Annotated[
        int | None, typer.Option(help="Only for a bare checkpoint that no run describes.")
    ] = None,
    device: Device = None,
    project: ProjectFile = None,
    as_json: AsJson = False,
) -> None:
    """Show who is speaking in videos: boxes, scores over time, and a CSV.

    Out: NAME_preview.mp4, with a box around every face, green while its person speaks, and
    NAME_preview.csv with a row for every face in every frame.
    """
    from asdtune import stages

    settings = load_settings(
        project,
        {
            "paths.preview_dir": output_dir,
            "crops.detector": detector,
            "crops.detector_model": detector_model,
            "train.device": device,
        },
    )
    summary = stages.preview(
        settings, videos, checkpoint=checkpoint, window_size=window_size, threshold=threshold
    )
    finish(summary, as_json)
