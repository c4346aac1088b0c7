"""Verify a submission folder, by itself and over a copy of an AnnoTheia checkout.

In: the folder that `export-config` wrote, and perhaps a checkout. Out: a `Check` for everything
that must hold. Files are only read, until they are known to be plain weights and our own code; then
the toolkit's own detector loads and scores, in a process of its own.

    for check in check_export(Path("export"), toolkit=Path("AnnoTheia"), python="python"):
        print(check.name, check.problem)
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from asdtune.core.files import sha256
from asdtune.core.networks.catalogue import make_network
from asdtune.core.networks.checkpoints import load_weights, read_state
from asdtune.core.share.annotheia import CITATION, MODEL_CARD, PULL_REQUEST, SUMS, ZENODO
from asdtune.core.share.checks import Check, Step, run_steps
from asdtune.core.share.detector import PLACES, detector_module, registering_patch
from asdtune.core.share.exported import (
    DETECTOR,
    RECOGNISER,
    Exported,
    comment_problems,
    differences,
    known_config,
)
from asdtune.core.share.findings import open_marks
from asdtune.core.share.languages import WHISPER_CODES
from asdtune.core.share.trial import TRIED, Trial, trial_steps
from asdtune.core.share.weights import TWIN, differing, read_twin
from asdtune.errors import AsdtuneError

CHECKSUMS = f"all files are as {SUMS} says"
READABLE = "the language file can be read"
KEYS = "it has the keys, values and comments of the toolkit's own"
NUMBERS = "window size and threshold are possible ones"
RECOGNISED = "the recogniser knows the language"
PATH = "checkpoint_path leads to the checkpoint"
PLAIN = "the checkpoint is plain weights, without code"
STRICT = "it has exactly the tensors of its network"
SAME = "the safetensors file holds the same tensors"
REFERENCES = "card, pull request and YAML name no other checkpoint or link"
METADATA = "the metadata of card, citation and deposit can be read"
CODE = "detector module and patch are those that asdtune writes"
_AGAIN = "run asdtune export-config again: what you have edited stays"
_N_NAMED = 3
_SIZE_IN_NAME = re.compile(r"_(\d+)frames\.pth$")
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def check_export(folder: Path, *, toolkit: Path | None, python: str) -> Iterator[Check]:
    """Verify a submission folder.

    Args:
        folder: As `export-config` wrote it.
        toolkit: An AnnoTheia checkout; nothing is written there. None for what needs none.
        python: The Python of the toolkit's environment.

    Yields:
        One for everything that must hold, at once when it is known.

    Raises:
        AsdtuneError: There is no such folder, or the checkout is none.
    """
    if not folder.is_dir():
        raise AsdtuneError(
            "no such folder",
            where=folder,
            fix="run asdtune export-config first, or name its folder",
        )
    exported = Exported(folder)
    if toolkit is None:
        yield from run_steps(_steps(exported))
        yield from (Check(name, left_out="needs --toolkit CHECKOUT") for name in TRIED)
        return
    with tempfile.TemporaryDirectory(prefix="asdtune-") as name:
        trial = Trial(exported, toolkit, Path(name), python)
        safe = (KEYS, NUMBERS, PLAIN, CODE)
        yield from run_steps([*_steps(exported), *trial_steps(trial, safe, readable=READABLE)])


def still_asked(folder: Path) -> list[str]:
    """Name what the files of a submission folder still ask a person for, and where."""
    configs = (path.relative_to(folder).as_posix() for path in folder.glob("configs/*.yaml"))
    asked = open_marks(folder, [*configs, MODEL_CARD, CITATION, ZENODO, PULL_REQUEST])
    return [f"{what}: {', '.join(names)}" for what, names in asked.items()]


def _steps(exported: Exported) -> list[Step]:
    """List what can be verified without a checkout."""
    return [
        Step(CHECKSUMS, partial(_check_sums, exported.folder)),
        Step(READABLE, exported.config),
        Step(KEYS, partial(_check_keys, exported), (READABLE,)),
        Step(NUMBERS, partial(_check_numbers, exported), (READABLE,)),
        Step(RECOGNISED, partial(_check_recogniser, exported), (READABLE,)),
        Step(PATH, exported.weights_path, (READABLE,)),
        Step(PLAIN, lambda: read_state(exported.weights_path()), (PATH,)),
        Step(STRICT, partial(_check_strict, exported), (PLAIN,)),
        Step(SAME, partial(_check_twin, exported), (PLAIN,)),
        Step(REFERENCES, exported.check_references, (PATH,)),
        Step(METADATA, exported.check_metadata),
        Step(CODE, partial(_check_code, exported), (READABLE,)),
    ]


def _check_sums(folder: Path) -> None:
    try:
        text = (folder / SUMS).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise AsdtuneError(
            f"{SUMS} is missing or damaged",
            where=folder,
            fix="delete it, if it is there, and run asdtune export-config again, which writes it",
        ) from error
    found = [_SUM.fullmatch(line) for line in text.splitlines()]
    sums = {match[2]: match[1] for match in found if match is not None}
    problems = [] if sums and all(found) else [f"{SUMS} has lines that are no checksums"]
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif sha256(path) != expected:
            problems.append(f"{name} has another checksum")
    laid_over = (path for part in ("configs", "modules") for path in (folder / part).rglob("*"))
    names = sorted(p.relative_to(folder).as_posix() for p in laid_over if p.is_file())
    unlisted = [f"{name} has no checksum" for name in names if name not in sums]
    fix = f"move or delete what has no checksum, and {_AGAIN}" if unlisted else _AGAIN
    _raise(problems + unlisted, fix=fix)


def _check_keys(exported: Exported) -> None:
    text = exported.config_path().read_text(encoding="utf-8")
    problems = differences(exported.config(), yaml.safe_load(known_config()))
    _raise([*problems, *comment_problems(text)], fix="set it back, as the toolkit has it")


def _check_numbers(exported: Exported) -> None:
    settings = exported.section("pipeline_conf")
    size, threshold = settings.get("window_size"), settings.get("threshold")
    named = _SIZE_IN_NAME.search(str(exported.section(f"{DETECTOR}_conf").get("checkpoint_path")))
    problems = []
    # YAML's true and false are numbers to Python.
    if isinstance(size, bool) or not isinstance(size, int) or size < 1 or size % 2 == 0:
        problems.append(f"window_size is {size!r}, which is no odd number of frames")
    elif named is not None and int(named[1]) != size:
        problems.append(f"window_size is {size}, but the checkpoint is named {named[0]}")
    is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if threshold is None or not is_number or not 0 <= threshold < 1:
        problems.append(f"threshold is {threshold!r}, which is no number from 0 to below 1")
    _raise(problems, fix="set it back in the YAML, as export-config wrote it")


def _check_recogniser(exported: Exported) -> None:
    code = exported.section(f"{RECOGNISER}_conf").get("lang")
    is_known = isinstance(code, str) and code in WHISPER_CODES
    if exported.config().get(RECOGNISER) == "whisper" and not is_known:
        raise AsdtuneError(
            f"Whisper does not know the language {code!r}",
            fix=f"name another recogniser in {RECOGNISER} of the YAML: PULL_REQUEST.md tells how",
        )


def _check_strict(exported: Exported) -> None:
    place = exported.place()
    (name,) = (name for name, each in PLACES.items() if each is place)
    load_weights(make_network(name), exported.weights_path())


def _check_twin(exported: Exported) -> None:
    path = exported.weights_path()
    names = differing(read_state(path), read_twin(path.with_suffix(TWIN)))
    _raise([f"{name} is another" for name in names], fix=_AGAIN)


def _check_code(exported: Exported) -> None:
    """See that no code would be laid over the toolkit that asdtune did not write."""
    place = exported.place()
    ours = {}
    if place.sources:
        ours = {place.module: detector_module(place), place.patch: registering_patch(place)}
    folder = exported.folder
    problems = [
        f"{name} is not as this version writes it"
        for name, text in ours.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]
    code = sorted(folder.rglob("*.py"))
    names = (path.relative_to(folder).as_posix() for path in code)
    problems += [f"{name} is not of asdtune" for name in names if name not in ours]
    _raise(problems, fix="read it; then delete it and run asdtune export-config again")


def _raise(problems: list[str], *, fix: str) -> None:
    if problems:
        more = len(problems) - _N_NAMED
        named = "; ".join(problems[:_N_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise AsdtuneError(named, fix=fix)
