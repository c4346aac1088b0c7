"""One process of several that train together under torchrun, or the only one.

Each rank takes its share of every batch; batch statistics, gradients and losses are those of the
whole batch, and whether to stop is decided by all. Rank 0 alone writes.

    torchrun --nproc-per-node 2 --no-python asdtune train
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from asdtune.core.training.dataset import Rows
from asdtune.core.training.scoring import choose_device
from asdtune.errors import AsdtuneError, UsageError

if TYPE_CHECKING:
    from asdtune.core.models.network import Network

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=7)  # of ranks for the first: features of a large corpus take hours


@dataclass(frozen=True)
class Ranks:
    """Which process this is of how many, and its device."""

    rank: int
    n_ranks: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, rows: Rows) -> slice:
        """Give the part of a batch that is this rank's: equal parts, the first ones larger by 1.

        Examples:
            >>> import numpy as np
            >>> [Ranks(i, 3, torch.device("cpu")).share(np.arange(7)) for i in range(3)]
            [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
        """
        n_each, n_larger = divmod(len(rows), self.n_ranks)
        begin = self.rank * n_each + min(self.rank, n_larger)
        return slice(begin, begin + n_each + (self.rank < n_larger))

    def sum(self, values: Tensor) -> Tensor:
        """Add up the values of all ranks, in place."""
        if self.n_ranks > 1:
            dist.all_reduce(values)
        return values

    def any(self, claim: bool) -> bool:
        """Tell whether any rank claims it."""
        if self.n_ranks == 1:
            return claim
        return bool(self.sum(torch.tensor(float(claim), device=self.device)))

    def gathered(self, part: T) -> list[T]:
        """Give the parts of all ranks, in their order."""
        if self.n_ranks == 1:
            return [part]
        parts: list[Any] = [None] * self.n_ranks
        dist.all_gather_object(parts, part)
        return parts

    def from_first(self, value: T) -> T:
        """Give what rank 0 has."""
        values: list[Any] = [value]
        if self.n_ranks > 1:
            dist.broadcast_object_list(values, src=0)
        first: T = values[0]
        return first

    def of_first(self, work: Callable[[], T]) -> T:
        """Let rank 0 work while the others wait, and give its result, or raise its error, in all.

        Raises:
            AsdtuneError: Rank 0 met it.
        """
        done: tuple[T | None, AsdtuneError | None] = (None, None)
        if self.is_first:
            try:
                done = work(), None
            except AsdtuneError as error:
                done = None, error
        result, problem = self.from_first(done)
        if problem is not None:
            raise problem
        return cast("T", result)

    def wait(self) -> None:
        """Wait until all are here."""
        if self.n_ranks > 1:
            dist.barrier()


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun has started; without it, be the only one.

    Args:
        device: As for `choose_device`; under torchrun, `auto` and `cuda` are the GPU of the rank.

    Raises:
        AsdtuneError: There is no such device.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks(0, 1, choose_device(device))
        return
    if device.startswith("cuda:"):
        raise UsageError(
            f"all processes of this machine would take the one GPU {device}",
            where="--device",
            fix="give cuda, or auto: each process takes a GPU of its own",
        )
    has_gpus = device in ("auto", "cuda") and torch.cuda.is_available()
    chosen = choose_device(f"cuda:{os.environ['LOCAL_RANK']}" if has_gpus else device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_LONGEST_WAIT)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def share_batch_statistics(network: Network, ranks: Ranks) -> None:
    """Let batch norms take the mean and variance over the windows of all ranks."""
    if ranks.n_ranks == 1:
        return
    if ranks.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, _SharedBatchNorm(child))


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What `nn.SyncBatchNorm`, which is for GPUs only, does; on any device."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        for name, value in norm.named_buffers():
            setattr(self, name, value)
        self.train(norm.training)

    def _check_input_dim(self, x: Tensor) -> None:
        """Take all."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        over = [i for i in range(x.ndim) if i != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        exact = x.double()  # sums of squares lose digits
        count = torch.full((1,), x.numel() / x.shape[1], dtype=exact.dtype, device=x.device)
        sums = torch.cat([exact.sum(over), exact.square().sum(over), count])
        sums = _AllSum.apply(sums)
        total, squares, n = sums[: x.shape[1]], sums[x.shape[1] : -1], sums[-1].detach()
        mean = total / n
        variance = squares / n - mean.square()
        with torch.no_grad():
            self.num_batches_tracked += 1
            momentum = self.momentum or 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            unbiased = variance * n / (n - 1).clamp(min=1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        normed: Tensor = exact * scale.view(shape) + shift.view(shape)
        return normed.to(x.dtype)


class _AllSum(torch.autograd.Function):
    """Sum over the ranks; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
