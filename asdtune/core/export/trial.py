"""A submission laid over a copy of an AnnoTheia checkout, where the toolkit's own detector scores.

The copy lies in a folder that is thrown away. The detector runs in a process of its own, with the
Python of the toolkit's environment. Its loader runs code that a checkpoint holds: what is tried
must be known to be plain weights.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asdtune.core.export.annotheia import DETECTORS_DIR, Place
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
    """What a language file names: the network, its checkpoint as seen from the folder, and W."""

    folder: Path
    place: Place
    weights: str
    window_size: int


def check_checkout(toolkit: Path) -> None:
    """Refuse a folder that is no checkout of the toolkit with a `UsageError`."""
    for name in (ENGLISH, _TASK, f"{DETECTORS_DIR}/__init__.py"):
        if not (toolkit / name).is_file():
            raise UsageError(
                f"not a checkout of AnnoTheia: it has no {name}", where=toolkit, fix=_FRESH
            )


def try_in_toolkit(submitted: Submitted, toolkit: Path, python: str) -> None:
    """Lay a submission over a copy of the toolkit, and let the toolkit's own detector score.

    Raises:
        AsdtuneError: Something of it does not work.
    """
    with tempfile.TemporaryDirectory(prefix="asdtune-") as name:
        copy = Path(name, "toolkit")
        _lay_over(submitted, toolkit, copy)
        _register(submitted, copy)
        # Absolute, but no link resolved: an environment is found by it.
        program = str(Path(python).absolute()) if Path(python).is_file() else python
        call = f"{inspect.getsource(score_noise)}\nimport json, sys\n"
        call += "score_noise(*json.loads(sys.argv[1]))"
        arguments = ["modules.active_speaker_detection", submitted.place.detector_class,
                     submitted.weights, submitted.window_size]  # fmt: skip
        said = _error_of([program, "-c", call, json.dumps(arguments)], copy, fix=_PYTHON)
        if said is not None:
            fix = _PYTHON if "No module named" in said else _BY_ITSELF
            raise AsdtuneError(said.splitlines()[-1].strip(), fix=fix)


def score_noise(package: str, class_name: str, checkpoint_path: str, window_size: int) -> None:
    """Build the toolkit's detector, and let it score a clip of noise window by window.

    The text of this function runs in the toolkit's environment, which has nothing of asdtune. Where
    something is wrong it exits with a line that says what.
    """
    import sys
    from importlib import import_module

    import numpy as np

    detector_class = getattr(import_module(package), class_name)
    detector = detector_class(checkpoint_path=checkpoint_path, device="cpu")
    n_frames = 2 * window_size + 3
    rng = np.random.default_rng(0)
    waveform = (rng.standard_normal(n_frames * 640) * 3000).astype(np.int16)
    crops = rng.integers(0, 256, (n_frames, 112, 112), dtype=np.uint8)
    for centre in range(0, n_frames + window_size + 1, window_size):
        window = detector.preprocess_input(waveform, crops, centre, window_size, n_frames)
        scores = np.asarray(detector.get_asd_scores(*window))
        if scores.shape != (window_size, 2):
            sys.exit(f"scores have the shape {scores.shape} instead of ({window_size}, 2)")
        if not (scores >= 0).all() or not np.allclose(scores.sum(1), 1, atol=1e-3):
            sys.exit(f"scores around frame {centre} are no probabilities")


def _lay_over(submitted: Submitted, toolkit: Path, copy: Path) -> None:
    left_out = shutil.ignore_patterns("weights", "__pycache__")
    place = submitted.place
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


def _register(submitted: Submitted, copy: Path) -> None:
    """Apply the patch that registers the detector, unless the checkout has it."""
    known = (copy / DETECTORS_DIR / "__init__.py").read_text(encoding="utf-8")
    if submitted.place.detector_class not in known:
        patch = (submitted.folder / submitted.place.patch).resolve()
        said = _error_of(["git", "apply", str(patch)], copy, fix="install git")
        if said is not None:
            raise AsdtuneError(f"{patch.name} does not apply: {said}", fix=_FRESH)


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
