"""A submission laid over a copy of an AnnoTheia checkout, and tried there.

The copy lies in a folder that is thrown away. The toolkit's detector runs in a process of its own
(`probe.py`), with the Python of the toolkit's environment, and is given up after ten minutes.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from asdtune.core.share.checks import Step
from asdtune.core.share.copying import copy_light, told_what_is_copied
from asdtune.core.share.detector import DETECTORS_DIR
from asdtune.core.share.exported import DETECTOR, Exported, differences, read_config
from asdtune.errors import AsdtuneError, UsageError

TRIED = KEYS, DETECTS, LOADS, SCORES = (
    "its keys are those of the language files in the checkout",
    "the checkout has the detector that it names",
    "that detector loads the checkpoint, strictly",
    "that detector scores a clip: W x 2 probabilities for every window",
)
_ENGLISH = Path("configs/annotheia_pipeline_english.yaml")
_TASK = Path("tasks/detect_candidate_scenes_task.py")
_CHOICES = "active_speaker_detection_choices"
_TIMEOUT_SECONDS = 600
_FRESH = "name a fresh clone of https://github.com/joactr/AnnoTheia with --toolkit"
_OTHER_PYTHON = "name the Python of the toolkit's environment with --toolkit-python"
_BY_ITSELF = (
    "see that the toolkit runs with a language file of its own; if it does, run asdtune "
    "export-config again, and check once more"
)


@dataclass(frozen=True)
class Trial:
    """A folder, a checkout, and an empty folder to lay one over a copy of the other."""

    exported: Exported
    toolkit: Path
    work_dir: Path
    python: str

    def __post_init__(self) -> None:
        for name in (_ENGLISH, _TASK, Path(DETECTORS_DIR) / "__init__.py"):
            if not (self.toolkit / name).is_file():
                raise UsageError(
                    f"not a checkout of AnnoTheia: it has no {name.as_posix()}",
                    where=self.toolkit,
                    fix="name with --toolkit what git clone https://github.com/joactr/AnnoTheia "
                    "made",
                )

    @property
    def copy(self) -> Path:
        """Where the copy lies."""
        return self.work_dir / "toolkit"


def trial_steps(trial: Trial, safe: tuple[str, ...], *, readable: str) -> list[Step]:
    """List what can be verified with a checkout.

    Args:
        trial: Of which folder, in which checkout.
        safe: What must hold before code of the toolkit reads a file of the folder.
        readable: What must hold before the language file is compared.
    """
    return [
        Step(KEYS, partial(_compare_keys, trial), (readable,)),
        Step(DETECTS, partial(_lay_over, trial), safe),
        Step(LOADS, partial(_load, trial), (DETECTS,)),
        Step(SCORES, partial(_answer, trial, "score"), (LOADS,)),
    ]


def _compare_keys(trial: Trial) -> None:
    theirs = read_config(trial.toolkit / _ENGLISH, fix=_FRESH)
    problems = [*differences(trial.exported.config(), theirs)]
    if problems:
        raise AsdtuneError("; ".join(problems), fix=f"make them those of {_ENGLISH.as_posix()}")


def _lay_over(trial: Trial) -> None:
    """Copy the checkout, put the submission over it, and see that its detector is registered."""
    exported, folder = trial.exported, trial.exported.folder
    copy_light(trial.toolkit, trial.copy, is_left=_is_not_of_toolkit)
    place = exported.place()
    paths = [exported.config_path(), exported.weights_path()]
    if place.sources:
        paths.append(folder / place.module)
        if place.key not in _choices(trial.copy):
            _apply(folder / place.patch, trial.copy)
    with told_what_is_copied(folder, trial.copy):
        for path in paths:
            target = trial.copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    known = _choices(trial.copy)
    if place.key not in known:
        raise AsdtuneError(
            f"{_CHOICES} of {_TASK} has {', '.join(known) or 'none'}, not {place.key}",
            fix=_FRESH,
        )


def _is_not_of_toolkit(path: Path) -> bool:
    """Tell what lies in a checkout and is not of it: hidden things, environments of Python."""
    is_environment = (path / "pyvenv.cfg").is_file() or (path / "conda-meta").is_dir()
    return path.name.startswith(".") or path.name == "__pycache__" or is_environment


def _apply(patch: Path, folder: Path) -> None:
    """Apply a patch in a folder that is no repository."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent.resolve())}
    try:
        done = subprocess.run(
            ["git", "apply", str(patch.resolve())],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise AsdtuneError(
            "git is not installed, which applies the patch",
            fix=f"install git; or make the edits of {patch.name} by hand in the checkout",
        ) from error
    if done.returncode:
        raise AsdtuneError(
            f"{patch.name} does not apply: {' '.join(done.stderr.split())}",
            fix="make its edits by hand in the checkout, and check again",
        )


def _choices(checkout: Path) -> dict[str, str]:
    """Give the classes of the detectors that a checkout has, by the key of the language file.

    Read from the source: to import it would import the whole pipeline, recognisers and all.

    Raises:
        AsdtuneError: The source is none.
    """
    try:
        tree = ast.parse((checkout / _TASK).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise AsdtuneError(f"{_TASK} of the checkout is no Python ({error})", fix=_FRESH) from error
    for node in ast.walk(tree):
        names = {each.id for each in getattr(node, "targets", []) if isinstance(each, ast.Name)}
        if isinstance(node, ast.Assign) and _CHOICES in names:
            return dict(_named_classes(node.value))
    return {}


def _named_classes(tree: ast.expr) -> Iterator[tuple[str, str]]:
    """Give what `dict(key=Class)` and `{"key": Class}` name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict":
            for keyword in node.keywords:
                if keyword.arg is not None and isinstance(keyword.value, ast.Name):
                    yield keyword.arg, keyword.value.id
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Name):
                    yield str(key.value), value.id


def _load(trial: Trial) -> None:
    """Let the toolkit's detector load and score; say how loading went."""
    exported = trial.exported
    request = {
        "package": DETECTORS_DIR.replace("/", "."),
        "class": _choices(trial.copy)[exported.place().key],
        "conf": {**exported.section(f"{DETECTOR}_conf"), "device": "cpu"},
        "window_size": exported.section("pipeline_conf")["window_size"],
    }
    paths = [trial.work_dir / "request.json", trial.work_dir / "answers.json"]
    paths[0].write_text(json.dumps(request), encoding="utf-8")
    paths[1].write_text("{}", encoding="utf-8")
    program = Path(__file__).with_name("probe.py")
    try:
        done = subprocess.run(
            [_absolute(trial.python), str(program), *map(str, paths)],
            cwd=trial.copy, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        ended = f"no answer within {_TIMEOUT_SECONDS} s"
    except OSError as error:
        raise AsdtuneError(
            f"{trial.python} cannot be run ({error.strerror})",
            fix=_OTHER_PYTHON,
        ) from error
    else:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        ended = f"its process ended with status {done.returncode} and said: {said}"
    (trial.work_dir / "ended.txt").write_text(ended, encoding="utf-8")
    _answer(trial, "load")


def _absolute(program: str) -> str:
    """Give a path as seen from everywhere, but no link resolved: an environment is found by it."""
    return str(Path(program).absolute()) if Path(program).is_file() else program


def _answer(trial: Trial, step: str) -> None:
    """Raise what the process found wrong in a step, or how it ended before it answered."""
    ended = (trial.work_dir / "ended.txt").read_text(encoding="utf-8")
    found = _answers(trial).get(step, {"problem": ended})
    if found["problem"] is not None:
        missing = found.get("missing_module") and "No module named" in found["problem"]
        raise AsdtuneError(found["problem"], fix=_OTHER_PYTHON if missing else _BY_ITSELF)


def _answers(trial: Trial) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((trial.work_dir / "answers.json").read_bytes())
    return answers
