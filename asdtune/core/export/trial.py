"""A submission laid over a copy of an AnnoTheia checkout, where the toolkit's own detector scores.

The copy lies in a folder that is thrown away. The detector runs in a process of its own
(`probe.py`), with the Python of the toolkit's environment. Its loader runs code that a checkpoint
holds: what is tried must be known to be plain weights.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdtune.core.export.detector_module import DETECTORS_DIR, PLACES
from asdtune.errors import AsdtuneError, UsageError

ENGLISH = "configs/annotheia_pipeline_english.yaml"
_TASK = "tasks/detect_candidate_scenes_task.py"
_COPIED = ("modules", "tasks", "utils")  # of a checkout
_TIMEOUT_SECONDS = 600
_PYTHON = "name the Python of the toolkit's environment with --toolkit-python"
_FRESH = "name a fresh clone of https://github.com/joactr/AnnoTheia with --toolkit"
_BY_ITSELF = "see that the toolkit runs with a language file of its own; if it does, report this"


@dataclass(frozen=True)
class Submitted:
    """What a language file names.

    Attributes:
        folder: Of the submission.
        network: One of `networks.catalogue`.
        weights: The checkpoint, as seen from the folder.
        window_size: W.
    """

    folder: Path
    network: str
    weights: str
    window_size: int


def check_checkout(toolkit: Path) -> None:
    """See that a folder is a checkout of the toolkit.

    Raises:
        UsageError: It is not.
    """
    for name in (ENGLISH, _TASK, f"{DETECTORS_DIR}/__init__.py"):
        if not (toolkit / name).is_file():
            raise UsageError(
                f"not a checkout of AnnoTheia: it has no {name}", where=toolkit, fix=_FRESH
            )


def try_in_toolkit(submitted: Submitted, toolkit: Path, python: str) -> None:
    """Lay a submission over a copy of the toolkit, and let the toolkit's own detector score.

    Args:
        submitted: Its checkpoint is known to be plain weights.
        toolkit: A checkout; nothing is written there.
        python: Of the toolkit's environment.

    Raises:
        AsdtuneError: Something of it does not work.
    """
    with tempfile.TemporaryDirectory(prefix="asdtune-") as name:
        copy = Path(name, "toolkit")
        _lay_over(submitted, toolkit, copy)
        request = {
            "package": DETECTORS_DIR.replace("/", "."),
            "class_name": _register(submitted, copy),
            "checkpoint_path": submitted.weights,
            "window_size": submitted.window_size,
        }
        _score(request, copy, python)


def _lay_over(submitted: Submitted, toolkit: Path, copy: Path) -> None:
    left_out = shutil.ignore_patterns("weights", "__pycache__")
    place = PLACES[submitted.network]
    try:
        for part in _COPIED:
            if (toolkit / part).is_dir():
                shutil.copytree(toolkit / part, copy / part, ignore=left_out)
        for name in (submitted.weights, *([place.module] if place.sources else [])):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(submitted.folder / name, copy / name)
    except OSError as error:
        raise AsdtuneError(
            f"the checkout cannot be copied ({error})",
            fix="make room where TMPDIR leads; or name a fresh clone with --toolkit",
        ) from error


def _register(submitted: Submitted, copy: Path) -> str:
    """Name the class of the detector, which is registered if it is not yet."""
    place, task = PLACES[submitted.network], copy / _TASK
    known = re.compile(rf"\b{place.key}[\"']?\s*[=:]\s*(\w+)")
    if place.sources and not known.search(task.read_text(encoding="utf-8")):
        patch = (submitted.folder / place.patch).resolve()
        said = _error_of(["git", "apply", str(patch)], copy, fix="install git")
        if said is not None:
            raise AsdtuneError(f"{patch.name} does not apply: {said}", fix=_FRESH)
    found = known.search(task.read_text(encoding="utf-8"))
    if found is None:
        raise AsdtuneError(f"{_TASK} of the checkout has no detector {place.key}", fix=_FRESH)
    return found[1]


def _score(request: Mapping[str, Any], copy: Path, python: str) -> None:
    # A path as seen from here, but no link resolved: an environment is found by it.
    program = str(Path(python).absolute()) if Path(python).is_file() else python
    probe = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
    said = _error_of([program, "-c", probe, json.dumps(request)], copy, fix=_PYTHON)
    if said is not None:
        fix = _PYTHON if "No module named" in said else _BY_ITSELF
        raise AsdtuneError(said.splitlines()[-1].strip(), fix=fix)


def _error_of(command: Sequence[str], folder: Path, *, fix: str) -> str | None:
    """Run a program in a folder; give what it says where it ends with an error."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent.resolve())}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AsdtuneError(f"no answer within {_TIMEOUT_SECONDS} s", fix=_BY_ITSELF) from error
    except OSError as error:
        raise AsdtuneError(f"{command[0]} cannot be run ({error.strerror})", fix=fix) from error
    silent = f"its process ended with status {done.returncode} and said nothing"
    return (done.stderr.strip() or silent) if done.returncode else None
