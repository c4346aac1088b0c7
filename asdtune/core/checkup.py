"""What a machine can do: packages, device, published files, disk. Nothing is changed or downloaded.

for finding in check_packages():
    print(finding.mark, finding.name, finding.text)
"""

from __future__ import annotations

import logging
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING

from asdtune import __version__
from asdtune.errors import AsdtuneError, error_of_system

if TYPE_CHECKING:  # any package may be broken: what needs one is imported when it is used
    from asdtune.core.downloads import PublishedFile

logger = logging.getLogger(__name__)

_IMPORTED_AS = {"opencv-python-headless": "cv2", "pyyaml": "yaml", "scikit-learn": "sklearn"}
_FIRST = ("numpy", "torch")  # what others are built on
_SHOWN = ("torch", "torchaudio", "cv2", "av")  # with their versions
_GB = 1e9
_LEAST_FREE_BYTES = 0.5e9


class Mark(str, Enum):
    """What a finding means for the user."""

    OK = "ok"
    NOTE = "note"  # good to know, and nothing stops
    PROBLEM = "problem"  # a command will stop on it

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Finding:
    """One line of a check: what was looked at, what was found, and how to mend it."""

    name: str
    mark: Mark
    text: str
    fix: str | None = None


def attempt(name: str, look: Callable[[], Finding]) -> Finding:
    """Give what a look finds; where an error stops it, that is the finding."""
    try:
        return look()
    except Exception as error:
        return Finding(name, Mark.PROBLEM, *explain(error))


def explain(error: Exception) -> tuple[str, str | None]:
    """Say in one line what an error says, and how to mend it."""
    if isinstance(error, OSError) and error.errno is not None:
        error = error_of_system(error)
    if isinstance(error, AsdtuneError):
        where = "" if error.where is None else f": {error.where}"
        return f"{'; '.join(error.problem.splitlines())}{where}", error.fix
    logger.info("unexpected error", exc_info=error)
    return f"unexpected error ({_first_line(error)})", "this is a bug: please report it"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def check_packages() -> Iterator[Finding]:
    """Import every package that asdtune needs; give a problem for each that does not load."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("asdtune", Mark.OK, f"{__version__}, {python}")
    needed = [each for each in requires("asdtune") or () if ";" not in each]  # no extras
    name_of = {each: re.split(r"[^\w.-]", each)[0] for each in needed}
    is_whole = True
    for requirement in sorted(needed, key=lambda each: name_of[each] not in _FIRST):
        name = name_of[requirement]
        try:
            import_module(_IMPORTED_AS.get(name, name.replace("-", "_")))
        except Exception as error:  # a broken package raises anything
            is_whole = False
            fix = f'python -m pip install --force-reinstall "{requirement}"'
            yield Finding(name, Mark.PROBLEM, f"cannot be imported ({_first_line(error)})", fix)
    if is_whole:
        yield attempt("packages", lambda: _versions(len(needed)))


def _versions(n_packages: int) -> Finding:
    import_module("asdtune.core.prepare.detectors")  # which tells a mixture of two OpenCVs
    versions = (f"{name} {import_module(name).__version__}" for name in _SHOWN)
    return Finding("packages", Mark.OK, f"all {n_packages} load: {', '.join(versions)}")


def check_device(device: str, precision: str) -> str:
    """Compute something where training would; say where and how that is.

    Raises:
        AsdtuneError: There is no such device, or it does not compute.
    """
    import torch

    from asdtune.core.training.devices import choose_device, choose_precision

    chosen = choose_device(device)
    try:
        ones = torch.ones(8, 8, device=chosen)
        if float((ones @ ones).sum()) != 8**3:
            raise RuntimeError("it multiplies wrongly")
    except RuntimeError as error:
        raise AsdtuneError(
            f"torch does not compute on {chosen} ({_first_line(error)})",
            fix="update the driver; or install a torch built for this GPU; or give --device cpu",
        ) from error
    name = f" ({torch.cuda.get_device_name(chosen)})" if chosen.type == "cuda" else ""
    return f"training computes on {chosen}{name} in {choose_precision(precision, chosen)}"


def check_gpu() -> Iterator[Finding]:
    """Note an NVIDIA GPU that torch cannot use."""
    import torch

    is_seen = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()
    if is_seen and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
        text = f"an NVIDIA GPU is here that torch, built for {built}, cannot use"
        fix = "update the NVIDIA driver; or install torch and torchaudio built for its CUDA"
        yield Finding("GPU", Mark.NOTE, text, fix)


def check_download(name: str, published: PublishedFile) -> Finding | None:
    """Say of a published file that is not in the cache where to get it; None where it is."""
    from asdtune.core.downloads import cached_path, matches

    path = cached_path(published)
    if path.is_file() and (not published.check or matches(path, published.check)):
        return None
    why = "is damaged, or another file" if path.is_file() else "is not on this machine yet"
    text = f"{path.name} {why}: the first use downloads it"
    return Finding(name, Mark.NOTE, text, f"without a network, put {published.url} at {path}")


def check_disk(folder: Path, n_bytes: float) -> Finding:
    """Compare the free disk with what will be written, as far as that is known."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / _GB:.1f} GB free"
    if n_bytes:
        text += f"; the stages ahead write about {n_bytes / _GB:.1f} GB"
    if free > max(n_bytes, _LEAST_FREE_BYTES):
        return Finding("disk", Mark.OK, text)
    mark = Mark.NOTE if free > _LEAST_FREE_BYTES else Mark.PROBLEM
    return Finding("disk", mark, text, "make room, or move the project to another disk")
