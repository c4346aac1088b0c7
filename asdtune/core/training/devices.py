"""Where a network computes, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import nn

from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from asdtune.core.models.network import Network


def choose_device(name: str) -> torch.device:
    """Give the device of a name, or the best there is for `auto`.

    Raises:
        AsdtuneError: There is no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AsdtuneError(
            f"this machine has no device {name}",
            where="--device",
            fix="use --device cpu, or auto for the best there is",
        ) from error
    return device


def to_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Bring an array to a device, without waiting for it there."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def choose_precision(name: str, device: torch.device) -> str:
    """Give `fp32` or `bf16`; `auto` is bf16 where the processor or GPU computes in it."""
    if name != "auto":
        return name
    return "bf16" if _has_bf16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    found: dict[str, bool | str] = getattr(torch.cpu, "get_capabilities", dict)()  # not in all
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def prepare_network(network: Network, precision: str, device: torch.device) -> None:
    """Bring a network to its device; for bf16, lay its convolutions out for the faster kernels.

    With fp32, all is computed as the reference does, on a GPU too (no TF32).
    """
    network.to(device)
    if precision == "fp32":
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)


@contextmanager
def in_use(network: Network) -> Iterator[None]:
    """Put a network into eval mode within the block, and each part back into its own after it."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def computing(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Compute in this precision within the block; weights and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def device_of(network: Network) -> torch.device:
    """Give where a network's weights are."""
    return next(network.parameters()).device


@contextmanager
def inference(network: Network, precision: str) -> Iterator[None]:
    """Compute without learning, as the network is used."""
    with in_use(network), torch.inference_mode(), computing(precision, device_of(network)):
        yield
