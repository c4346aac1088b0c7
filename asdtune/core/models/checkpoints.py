"""Checkpoints: plain state dicts, in and out, and the published ones to start from."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from asdtune.core.downloads import cached_path, fetch
from asdtune.core.files import content_hash, whole_file, write_json
from asdtune.core.models.registry import (
    ITS_START,
    LIGHT_ASD,
    LR_ASD,
    NOTHING,
    SCRATCH,
    STARTS,
    TALKNET,
    make_network,
)
from asdtune.errors import AsdtuneError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from asdtune.core.models.network import Network

_N_CHARACTERS = 400  # of what an error says of faulty keys


@dataclass(frozen=True)
class CheckpointInfo:
    """What a run tells of a checkpoint, in a JSON file of the same name beside it."""

    window_size: int
    epoch: int
    validation_mAP: float  # noqa: N815 -- the metric's name
    started_from: str
    asdtune: str
    network: str = TALKNET
    start_blake2b: str = ""  # of the file it started from; none for `scratch`


def find_checkpoint(name: str, *, flag: str = "--checkpoint") -> Path | None:
    """Give the file of a published checkpoint or of a path; None for `scratch`.

    `flag` is the one that named it, for the errors.

    Raises:
        AsdtuneError: There is no such file, or a published one cannot be downloaded.
    """
    if name == SCRATCH:
        return None
    if name in STARTS:
        return fetch(STARTS[name].file, instead=f"name another file with {flag} PATH")
    path = Path(name)
    if not path.is_file():
        raise AsdtuneError(
            "a folder is no checkpoint" if path.is_dir() else "no such checkpoint",
            where=path,
            fix=f"check the path; or name one of {', '.join(STARTS)} with {flag}; "
            "a project's own checkpoint is there once asdtune train has run",
        )
    return path


def checkpoint_file(name: str, *, flag: str = "--checkpoint") -> Path:
    """Give the file of a checkpoint that must have learned something.

    Raises:
        AsdtuneError: There is none of this name, or it is `scratch`.
    """
    path = find_checkpoint(name, flag=flag)
    if path is None:
        raise AsdtuneError(
            "scratch is no checkpoint: it has learned nothing",
            where=flag,
            fix="name the file that train wrote, such as exps/checkpoints/best.pth",
        )
    return path


def find_local(name: str) -> Path | None:
    """Give the file of a checkpoint if it is on this machine; None for `scratch`, too."""
    path = cached_path(STARTS[name].file) if name in STARTS else Path(name)
    return path if name != SCRATCH and path.is_file() else None


def baseline_of(checkpoint: Path, name: str) -> str | None:
    """Say what a checkpoint is compared with: a name, `start` of its run, or None for `none`."""
    if name != ITS_START:
        return None if name == NOTHING else name
    info = read_info(checkpoint)
    if info is None or info.started_from == SCRATCH:
        return None
    start = find_local(info.started_from)
    if start is None:
        problem = "is not found from here"
    elif info.start_blake2b not in ("", content_hash(start)):
        problem = "has changed since"
    else:
        return None if start.resolve() == checkpoint.resolve() else info.started_from
    logger.warning(
        "nothing to compare with: %s, which this checkpoint started from, %s; --baseline names "
        "another one",
        info.started_from,
        problem,
    )
    return None


def load_network(path: Path) -> tuple[str, Network]:
    """Make the network that a checkpoint is of, with its weights; give its name, too.

    Raises:
        AsdtuneError: As `load_weights`.
    """
    state = read_state(path)
    name = _network_of(state)
    network = make_network(name)
    _load(network, state, path)
    return name, network


def load_weights(network: Network, path: Path) -> None:
    """Load a checkpoint into a network, strictly.

    Raises:
        AsdtuneError: The file is no state dict, a key is missing, unknown or of another shape, or
            a weight is not a finite number.
    """
    _load(network, read_state(path), path)


def _load(network: Network, state: Mapping[str, Tensor], path: Path) -> None:
    name = _network_of(state)
    if name != _network_of(network.state_dict()):
        raise AsdtuneError(
            f"these are weights of {name}, not of the network that is to have them",
            where=path,
            fix=f"give --network {name}, or name another checkpoint",
        )
    problem = None
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # it names every key, one a line
        problem = shorten("; ".join(str(error).splitlines()[1:]), _N_CHARACTERS)
    for key, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            problem = problem or f"{key} is not finite"
    if problem is not None:
        raise AsdtuneError(
            f"not a checkpoint of this network: {problem}",
            where=path,
            fix="name a checkpoint of it as published, or as asdtune train writes it",
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a plain state dict; code that a file may carry is never run.

    A leading `module.`, as trainers on several GPUs write it, is taken off the names.

    Raises:
        AsdtuneError: The file is missing, damaged, or anything but tensors by name.
    """
    state = read_saved(path)
    if not isinstance(state, Mapping) or not state or not all(map(_is_weight, state.items())):
        raise AsdtuneError(
            "the file holds something else than weights by name",
            where=path,
            fix="save it with torch.save(network.state_dict(), path)",
        )
    return {name.removeprefix("module."): value for name, value in state.items()}


def read_saved(path: Path, *, fix: str = "copy or download it again") -> Any:
    """Read what `torch.save` wrote, as far as it is tensors and plain values.

    Raises:
        AsdtuneError: It is something else; `fix` says how to mend a damaged file.
    """
    import torch

    if path.is_file() and not _begins_as_saved(path):
        raise AsdtuneError(
            "not a file of network weights",
            where=path,
            fix="name a .pth or .model file of weights, or a published checkpoint",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise AsdtuneError("no such checkpoint", where=path, fix="check the path") from error
    except pickle.UnpicklingError as error:
        raise AsdtuneError(
            "the file is not plain weights: it asks to run code, which is refused",
            where=path,
            fix="save it again with torch.save(network.state_dict(), path)",
        ) from error
    except Exception as error:  # torch's unpickler trips over garbage in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise AsdtuneError(f"not a readable checkpoint ({reason})", where=path, fix=fix) from error


def _begins_as_saved(path: Path) -> bool:
    """Tell whether a file begins as an archive or a pickle does."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def save_weights(path: Path, state: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Write a state dict whole or not at all, and beside it a JSON file of what it is."""
    save_whole(path, {name: value.detach().cpu() for name, value in state.items()})
    write_json(path.with_suffix(".json"), asdict(info))


def save_whole(path: Path, value: Any) -> None:
    """`torch.save` to a file that appears whole or not at all."""
    import torch

    with whole_file(path) as beside:
        try:
            torch.save(value, beside)
        except RuntimeError as error:  # so its writer says that the disk is full
            raise AsdtuneError(
                f"the file cannot be written ({str(error).splitlines()[0]})",
                where=path,
                fix="make room on the disk, and run the same command again",
            ) from error


def read_info(checkpoint: Path) -> CheckpointInfo | None:
    """Read what a run told of a checkpoint; None for a bare one."""
    try:
        return CheckpointInfo(**json.loads(checkpoint.with_suffix(".json").read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise AsdtuneError(
            f"not the JSON that train writes beside a checkpoint ({error})",
            where=checkpoint.with_suffix(".json"),
            fix="delete it and give --window-size",
        ) from error


def _network_of(state: Mapping[str, Tensor]) -> str:
    """Name the network that weights are of, by a part that only it has."""
    for name, part in {LIGHT_ASD: "model.GRU.", LR_ASD: "model.fusion."}.items():
        if any(key.startswith(part) for key in state):
            return name
    return TALKNET


def _is_weight(item: tuple[object, object]) -> bool:
    import torch

    name, value = item
    return isinstance(name, str) and isinstance(value, torch.Tensor)
