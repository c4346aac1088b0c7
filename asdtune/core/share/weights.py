"""The two files of an export that hold the weights, and how they are read again.

`<name>.pth` is what the toolkit loads: `torch.save` of a plain dict of tensors.
`<name>.safetensors` beside it holds the same tensors in a format that cannot carry code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from asdtune.core.files import whole_file
from asdtune.core.networks.checkpoints import save_whole
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from torch import Tensor

TWIN = ".safetensors"


def write_weights(path: Path, state: Mapping[str, Tensor]) -> Path:
    """Write weights as `.pth` and as `.safetensors` beside it; give the path of the latter.

    Every tensor is copied first: one that is a part of a larger one would else bring all of that
    into the `.pth`, and safetensors takes none that share memory.
    """
    from safetensors.torch import save_file

    own = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    save_whole(path, own)
    twin = path.with_suffix(TWIN)
    with whole_file(twin) as beside:
        save_file(own, beside, metadata={"format": "pt"})
    return twin


def read_twin(path: Path) -> dict[str, Tensor]:
    """Read a `.safetensors` file.

    Raises:
        AsdtuneError: It is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise AsdtuneError(
            f"{path.name} is missing", where=path, fix="run asdtune export-config again"
        ) from error
    except SafetensorError as error:
        raise AsdtuneError(
            f"{path.name} is no readable safetensors file ({error})",
            where=path,
            fix="run asdtune export-config again",
        ) from error


def differing(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    """Name the tensors that two sets of weights do not have in common, bit by bit."""
    return [
        name
        for name in sorted({*a, *b})
        if name not in a
        or name not in b
        or a[name].dtype != b[name].dtype
        or a[name].shape != b[name].shape
        or not bool((a[name] == b[name]).all())
    ]
