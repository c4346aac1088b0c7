"""Verify a submission folder, by itself and over a copy of an AnnoTheia checkout.

In: the folder that `export-config` wrote, and perhaps a checkout. Out: a `Check` for everything
that must hold. Only once all else holds, so that no code of the folder runs, the toolkit's own
detector loads the checkpoint (`trial.py`).

    for check in check_export(Path("export"), toolkit=Path("AnnoTheia"), python="python"):
        print(check.name, check.problem)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asdtune.core.export.annotheia import PLACES
from asdtune.core.export.detector_module import detector_files
from asdtune.core.export.folder import SUMS, read_sums
from asdtune.core.export.provenance import open_marks
from asdtune.core.export.trial import ENGLISH, Submitted, check_checkout, try_in_toolkit
from asdtune.core.files import sha256
from asdtune.core.models.checkpoints import load_weights
from asdtune.core.models.registry import make_network
from asdtune.errors import AsdtuneError

CHECKSUMS = f"all files are as {SUMS} says"
WEIGHTS = "the checkpoint is plain weights, with exactly the tensors of its network"
CODE = "detector module and patch are those that asdtune writes"
KEYS = "the language file has the keys of the toolkit's own"
TOOLKIT = "the toolkit's detector loads it, and scores a clip"
_PTH = re.compile(r"(\./)?modules/[\w/]+\.pth")  # nothing outside the folder, nothing of code
_N_NAMED = 3
_AGAIN = "run asdtune export-config again"


@dataclass(frozen=True)
class Check:
    """What must hold, what is wrong with it and how to mend it, or why it was not verified."""

    name: str
    problem: str | None = None
    fix: str | None = None
    left_out: str | None = None


def check_export(folder: Path, *, toolkit: Path | None, python: str) -> Iterator[Check]:
    """Verify a submission folder.

    Args:
        folder: As `export-config` wrote it.
        toolkit: An AnnoTheia checkout, where nothing is written; None for checks without it.
        python: The Python of the toolkit's environment.

    Raises:
        AsdtuneError: There is no such folder, or the checkout is none.
    """
    if not folder.is_dir():
        fix = "run asdtune export-config first, or name its folder"
        raise AsdtuneError("no such folder", where=folder, fix=fix)
    if toolkit is not None:
        check_checkout(toolkit)
    checks = [
        _run(CHECKSUMS, lambda: _check_sums(folder)),
        _run(WEIGHTS, lambda: _check_weights(_submitted(folder))),
        _run(CODE, lambda: _check_code(_submitted(folder))),
    ]
    yield from checks
    if toolkit is None:
        yield from (Check(name, left_out="needs --toolkit CHECKOUT") for name in (KEYS, TOOLKIT))
        return
    checks.append(_run(KEYS, lambda: _check_keys(folder, toolkit)))
    yield checks[-1]
    if any(check.problem for check in checks):
        yield Check(TOOLKIT, left_out="only once all of the above holds")
    else:
        yield _run(TOOLKIT, lambda: try_in_toolkit(_submitted(folder), toolkit, python))


def still_asked(folder: Path) -> dict[str, list[str]]:
    """Give what the files of a submission folder still ask a person for, each with the files."""
    paths = {name: folder / name for name in read_sums(folder) if "modules/" not in name}
    return open_marks({name: path.read_bytes() for name, path in paths.items() if path.is_file()})


def _run(name: str, step: Callable[[], None]) -> Check:
    try:
        step()
    except AsdtuneError as error:
        return Check(name, error.problem, error.fix)
    return Check(name)


def _check_sums(folder: Path) -> None:
    sums = read_sums(folder)
    if not sums:
        raise AsdtuneError(f"{SUMS} is missing or damaged", fix=f"delete it, and {_AGAIN}")
    _refuse(
        f"{name} {'has another checksum' if (folder / name).is_file() else 'is missing'}"
        for name, digest in sums.items()
        if not (folder / name).is_file() or sha256(folder / name) != digest
    )


def _check_weights(submitted: Submitted) -> None:
    (network,) = (name for name, place in PLACES.items() if place == submitted.place)
    load_weights(make_network(network), submitted.folder / submitted.weights)


def _check_code(submitted: Submitted) -> None:
    _refuse(
        f"{path.name} is not as this version writes it"
        for name, text in detector_files(submitted.place).items()
        if not (path := submitted.folder / name).is_file() or path.read_bytes() != text.encode()
    )


def _check_keys(folder: Path, toolkit: Path) -> None:
    """Compare the language file with the English one of the checkout."""
    ours, theirs = {*_keys(_config(folder))}, {*_keys(_read(toolkit / ENGLISH))}
    problems = [f"{key} is missing" for key in sorted(theirs - ours)]
    problems += [f"{key} is unknown" for key in sorted(ours - theirs)]
    _refuse(problems, fix=f"{_AGAIN}; if the toolkit has other keys now, asdtune must learn them")


def _submitted(folder: Path) -> Submitted:
    """Read what the language file names; the checkpoint must lie in the folder."""
    config = _config(folder)
    key = str(config.get("active_speaker_detection"))
    place = next((place for place in PLACES.values() if place.key == key), None)
    if place is None:
        raise AsdtuneError(f"active_speaker_detection is {key}, unknown to asdtune", fix=_AGAIN)
    try:
        weights = str(config["active_speaker_detection_conf"]["checkpoint_path"])
        size = int(config["pipeline_conf"]["window_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise AsdtuneError("no checkpoint_path or window_size", fix=_AGAIN) from error
    if not _PTH.fullmatch(weights) or not (folder / weights).is_file():
        raise AsdtuneError(
            f"checkpoint_path is {weights}, and no such file is in the folder", fix=_AGAIN
        )
    return Submitted(folder, place, weights, size)


def _config(folder: Path) -> dict[str, Any]:
    """Read the language file that the checksums name."""
    names = [name for name in read_sums(folder) if name.startswith("configs/")]
    if len(names) != 1:
        raise AsdtuneError(
            f"{SUMS} names {len(names)} files in configs/ instead of one", fix=_AGAIN
        )
    return _read(folder / names[0])


def _read(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise AsdtuneError(f"{path.name} cannot be read ({reason})", fix=_AGAIN) from error
    if not isinstance(config, dict):
        raise AsdtuneError(f"{path.name} holds no keys", fix=_AGAIN)
    return config


def _keys(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Give the keys of a language file, as `above.key`."""
    for key, value in config.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}.")


def _refuse(found: Iterable[str], *, fix: str = _AGAIN) -> None:
    """Raise an error that names problems, if there are any."""
    problems = [*found]
    if problems:
        more = len(problems) - _N_NAMED
        named = "; ".join(problems[:_N_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise AsdtuneError(named, fix=fix)
