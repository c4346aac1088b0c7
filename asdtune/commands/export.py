"""The command that writes, checks and uploads what is submitted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asdtune.commands.command import WindowSize
from asdtune.commands.requirements import project_language
from asdtune.console import Summary, display
from asdtune.errors import AsdtuneError, UsageError
from asdtune.project import Project

if TYPE_CHECKING:
    from asdtune.core.export.export import Export

Folder = Annotated[
    Path | None, typer.Argument(metavar="[FOLDER]", help="The folder; the same as --output-dir.")
]
CheckpointFile = Annotated[
    Path | None, typer.Option("--checkpoint", help="Checkpoint; default: the best of the last run.")
]
Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; verify the folder that is there.")
]
Toolkit = Annotated[
    Path | None,
    typer.Option(
        metavar="CHECKOUT", help="With --check: try it on a copy of this AnnoTheia checkout."
    ),
]
ToolkitPython = Annotated[
    str | None,
    typer.Option(
        metavar="PYTHON", help="With --toolkit: the Python of its environment; default: this."
    ),
]
Repository = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/NAME",
        help="Say what would be uploaded to this repository on Hugging Face; see --yes.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="With --push-to-hub: upload it, for everybody to see.")
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Move files that you edited to NAME.before, and write them anew."
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Export a network, too, that evaluate found to be worse.")
]


def export_config(
    project: Project,
    *,
    folder: Folder = None,
    checkpoint: CheckpointFile = None,
    window_size: WindowSize = None,
    check: Check = False,
    toolkit: Toolkit = None,
    toolkit_python: ToolkitPython = None,
    push_to_hub: Repository = None,
    is_sure: Yes = False,
    overwrite: Overwrite = False,
    force: Force = False,
) -> Summary:
    """Write the folder that is laid over an AnnoTheia checkout and opened as a pull request.

    All of it is written anew each time; what only you know stands in the table [export-config] of
    the project file. With --check nothing is written: it says of the folder that is there what
    holds and what does not, and exits with 1 if anything does not. With --push-to-hub the
    checkpoint and its card are uploaded, once --yes is given, and the link is filled in.
    """
    project = project.override({"paths.export_dir": folder})
    _refuse_contradictions(
        check=check, toolkit=toolkit, toolkit_python=toolkit_python, is_sure=is_sure,
        push_to_hub=push_to_hub, checkpoint=checkpoint, force=force, overwrite=overwrite,
        window_size=window_size,
    )  # fmt: skip
    if check:
        return _check(project, toolkit=toolkit, toolkit_python=toolkit_python)
    if push_to_hub is None:
        return _write(project, checkpoint, window_size, force=force, overwrite=overwrite)
    return _push(
        project, push_to_hub, checkpoint, window_size,
        force=force, overwrite=overwrite, is_sure=is_sure,
    )  # fmt: skip


def _refuse_contradictions(**given: Any) -> None:
    """Refuse flags that say two things."""
    flags = {f"--{name.replace('_', '-')}" for name, value in given.items() if value}
    for flag, needed in (("--toolkit", "--check"), ("--toolkit-python", "--toolkit"),
                         ("--is-sure", "--push-to-hub")):  # fmt: skip
        if flag in flags and needed not in flags:
            name = "--yes" if flag == "--is-sure" else flag
            raise UsageError(f"{name} says how {needed} works", where=name, fix=f"add {needed}")
    writes = flags - {"--check", "--toolkit", "--toolkit-python"}
    if "--check" in flags and writes:
        flag = min(writes)
        raise UsageError(
            "--check writes nothing and takes the folder as it is", where=flag,
            fix=f"leave {flag} away; or run without --check first, which writes the folder",
        )  # fmt: skip


def _write(
    project: Project, checkpoint: Path | None, window_size: int | None, *,
    force: bool, overwrite: bool,
) -> Summary:  # fmt: skip
    """Write the submission folder."""
    from asdtune.core.export.folder import SUMS, write_folder

    folder = project.paths.export_dir
    with display() as drawn:
        drawn.show("writing the folder", 0, None)
        export = _make_export(project, checkpoint, window_size, force=force)
        moved = write_folder(export.files, folder, overwrite=overwrite)
    names = [*export.files, SUMS]
    language = export.submission.language
    data = {
        "language": language.title,
        "lang": language.code,
        "output_dir": folder.as_posix(),
        "files": names,
        "to_do": export.to_do,
        "moved": moved,
    }
    notes = [*_moved(moved), *(f"to fill in: {item}" for item in export.to_do), *export.notes]
    line = f"{len(names)} files for {language.title} -> {folder}"
    next_command = f"asdtune export-config --check {shlex.quote(str(folder))}"
    return Summary("export-config", line, data, notes=notes, next_command=next_command)


def _push(
    project: Project, repository: str, checkpoint: Path | None, window_size: int | None, *,
    force: bool, overwrite: bool, is_sure: bool,
) -> Summary:  # fmt: skip
    """Say what would be uploaded; if told so upload it, and write the folder with its link."""
    from asdtune.core.export.folder import refuse_edited, write_folder
    from asdtune.core.export.hub import HUB, check_repository, files_for_hub, link_of, upload
    from asdtune.core.export.provenance import open_marks

    check_repository(repository)
    folder = project.paths.export_dir
    export = _make_export(project, checkpoint, window_size, force=force)
    link = link_of(repository, export.submission.weights)
    export = replace(export, submission=replace(export.submission, link=link))
    files = files_for_hub(export)
    moved: list[str] = []
    if is_sure:
        if not overwrite:
            refuse_edited(export.files, folder)
        with display() as drawn:
            drawn.show(f"uploading to {repository}", 0, None)
            upload(files, repository)
        moved = write_folder(export.files, folder, overwrite=overwrite)
    sizes = {name: len(content) for name, content in files.items()}
    to_do = [f"{what}: {', '.join(names)}" for what, names in open_marks(files).items()]
    data = {"repository": repository, "link": link, "is_uploaded": is_sure, "files": sizes,
            "to_do": to_do, "moved": moved}  # fmt: skip
    notes = [*_moved(moved), *(f"to fill in first: {item}" for item in to_do), *export.notes]
    if is_sure:
        line = f"{len(sizes)} files uploaded -> {HUB}/{repository}"
        if project.export_config.checkpoint_url != link:
            notes.append(_kept(link))
    else:
        line = f"nothing is uploaded: these {len(sizes)} files would go to {HUB}/{repository}"
        notes.append("to upload them, for everybody to see, run the same command with --yes")
    rows = [["file", "KB"], *([name, f"{size / 1000:.1f}"] for name, size in sizes.items())]
    return Summary("export-config", line, data, tables=[rows], notes=notes)


def _check(project: Project, *, toolkit: Path | None, toolkit_python: str | None) -> Summary:
    """Verify the submission folder, and say line by line what holds."""
    from asdtune.core.checkup import Finding, Mark
    from asdtune.core.export.check import check_export, still_asked

    folder = project.paths.export_dir
    python = sys.executable if toolkit_python is None else toolkit_python
    findings, data = [], []
    failures: dict[str, AsdtuneError] = {}
    with display() as drawn:
        for done in check_export(folder, toolkit=toolkit, python=python):
            data.append(asdict(done))
            if done.problem is not None:
                failures[done.name] = AsdtuneError(done.problem, fix=done.fix)
            elif done.left_out is not None:
                text = f"{done.name} ({done.left_out})"
                findings.append(Finding("not verified", Mark.NOTE, text))
            else:
                findings.append(Finding("verified", Mark.OK, done.name))
            drawn.show("things that must hold", len(data), None)
    to_do = [f"{what}: {', '.join(names)}" for what, names in still_asked(folder).items()]
    n_left_out = sum(each["left_out"] is not None for each in data)
    n_held = len(data) - len(failures) - n_left_out
    line = f"{n_held} ok, {len(failures)} failed, {n_left_out} not verified: {folder}"
    return Summary(
        "export-config", line, {"folder": folder.as_posix(), "checks": data, "to_do": to_do},
        findings=findings, failures=failures, notes=[f"to fill in: {item}" for item in to_do],
    )  # fmt: skip


def _make_export(
    project: Project, checkpoint: Path | None, window_size: int | None, *, force: bool
) -> Export:
    from asdtune.core.evaluation.reports import REPORT_JSON, report_name
    from asdtune.core.export.export import make_export
    from asdtune.core.export.provenance import CardMetadata, ReportPaths
    from asdtune.core.training.run_state import BEST

    paths, told = project.paths, project.export_config.model_dump(exclude={"checkpoint_url"})
    return make_export(
        checkpoint or paths.exps_dir / BEST,
        language=project_language(project),
        checkpoint_url=project.export_config.checkpoint_url,
        window_size=window_size,
        reports=ReportPaths(
            evaluation=paths.report_dir / REPORT_JSON,
            labels=paths.report_dir / report_name(of_labels=True),
            splits=paths.splits_dir / REPORT_JSON,
        ),
        metadata=CardMetadata(**told),
        force=force,
    )


def _moved(names: Sequence[str]) -> list[str]:
    return [f"moved aside, as no export wrote it so: {name}" for name in names]


def _kept(link: str | None) -> str:
    return f'to keep the link, write into [export-config]: checkpoint_url = "{link}"'
