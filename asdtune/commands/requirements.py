"""What a project needs before its stages can work: `run` asks for all of it, `doctor` tells it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from asdtune.commands.train import training_settings
from asdtune.core.checkup import check_device
from asdtune.core.downloads import PublishedFile
from asdtune.core.models.registry import ITS_START, NOTHING, STARTS, make_network
from asdtune.errors import UsageError
from asdtune.project import Project


def requirements(project: Project) -> dict[str, Callable[[], str]]:
    """Give, by name, what looks for each thing that is needed, and says what it has found.

    Each raises an `AsdtuneError` where a stage would stop, and downloads what is not there yet.
    """
    return {
        "language": lambda: _find_language(project),
        "detector": lambda: _find_detector(project),
        "settings": lambda: _check_settings(project),
        "weights": lambda: _find_weights(project),
        "baseline": lambda: _find_baseline(project),
        "device": lambda: check_device(project.train.device, project.train.precision),
    }


def downloads(project: Project) -> dict[str, PublishedFile]:
    """Give the published files that a project uses, by the names of requirements."""
    from asdtune.core.prepare.detectors import RETINAFACE, YUNET

    files = {}
    if project.crops.detector_model is None:
        if project.crops.detector == "yunet":
            files["detector"] = YUNET
        elif project.crops.detector == "retinaface" and find_spec("retinaface") is not None:
            files["detector"] = RETINAFACE
    starts = {"weights": project.recipe.checkpoint, "baseline": project.evaluate.baseline}
    return files | {what: STARTS[name].file for what, name in starts.items() if name in STARTS}


def project_language(project: Project) -> str:
    """Give the language of a project, as it is written there.

    Raises:
        UsageError: It has none.
    """
    if project.project.language is None:
        raise UsageError(
            "no language is given",
            where="--language",
            fix="give --language, or write it into the table [project] of the project file",
        )
    return project.project.language


def _find_language(project: Project) -> str:
    from asdtune.core.export.languages import find_language

    language = find_language(project_language(project))
    return f"{language.title} ({language.code})"


def _find_detector(project: Project) -> str:
    from asdtune.core.prepare.detectors import find_detector_model

    find_detector_model(project.crops.detector, project.crops.detector_model)
    return project.crops.detector


def _check_settings(project: Project) -> str:
    from asdtune.core.training.settings import check_settings

    check_settings(training_settings(project))
    return f"{project.model.network}, windows of {project.project.window_size} frames"


def _find_weights(project: Project) -> str:
    from asdtune.core.models.checkpoints import find_checkpoint, load_weights

    start = find_checkpoint(project.recipe.checkpoint)
    if start is not None:
        load_weights(make_network(project.model.network), start)
    return project.recipe.checkpoint


def _find_baseline(project: Project) -> str:
    from asdtune.core.models.checkpoints import checkpoint_file, load_network

    baseline = project.evaluate.baseline
    if baseline not in (ITS_START, NOTHING):
        load_network(checkpoint_file(baseline, flag="--baseline"))
    return baseline
