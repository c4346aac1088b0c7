"""One process of several that train together under torchrun, or the only one.

Each takes its share of every batch; gradients are averaged by `DistributedDataParallel`, batch
norms on GPUs see all shares. The first alone writes.

    torchrun --nproc-per-node 2 --no-python asdtune train
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from asdtune.core.training.dataset import Rows
from asdtune.core.training.devices import choose_device
from asdtune.errors import AsdtuneError, UsageError

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=7)  # for the first: features of a large corpus take hours


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

    def share(self, rows: Rows) -> Rows:
        """Give this process's part of a batch; all have as many, what is over is left out.

        Examples:
            >>> import numpy as np
            >>> [Ranks(i, 3, torch.device("cpu")).share(np.arange(7)) for i in range(3)]
            [array([0, 3]), array([1, 4]), array([2, 5])]
        """
        return rows[: len(rows) // self.n_ranks * self.n_ranks][self.rank :: self.n_ranks]

    def parallel(self, objective: nn.Module) -> nn.Module:
        """Let gradients be the mean over all processes."""
        if self.n_ranks == 1:
            return objective
        # TalkNet has weights that it never uses.
        return nn.parallel.DistributedDataParallel(objective, find_unused_parameters=True)

    def sum(self, values: Tensor) -> Tensor:
        """Add up the values of all processes, in place."""
        if self.n_ranks > 1:
            dist.all_reduce(values)
        return values

    def any(self, claim: bool) -> bool:
        """Tell whether any process claims it."""
        if self.n_ranks == 1:
            return claim
        return bool(self.sum(torch.tensor(float(claim), device=self.device)))

    def run_on_first(self, work: Callable[[], T]) -> T:
        """Let the first process work while the others wait; give its result, or its error, in all.

        Raises:
            AsdtuneError: The first met it.
        """
        done: list[Any] = [None, None]
        if self.is_first:
            try:
                done[0] = work()
            except AsdtuneError as error:
                done[1] = error
        if self.n_ranks > 1:
            dist.broadcast_object_list(done, src=0)
        if done[1] is not None:
            raise done[1]
        return cast("T", done[0])

    def wait(self) -> None:
        """Wait until all are here."""
        if self.n_ranks > 1:
            dist.barrier()


@contextmanager
def join_ranks(device: str, batch_size: int) -> Iterator[Ranks]:
    """Join the processes that torchrun has started; without it, be the only one.

    Args:
        device: As for `choose_device`; under torchrun, `auto` and `cuda` are the process's GPU.
        batch_size: Windows a step, of all processes.

    Raises:
        AsdtuneError: There is no such device.
        UsageError: The processes cannot share devices or batches.
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
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    try:
        n_ranks = dist.get_world_size()
        if batch_size < n_ranks:
            raise UsageError(
                f"{n_ranks} processes cannot share batches of {batch_size} windows",
                where="--batch-size",
                fix=f"give at least {n_ranks}, or start fewer processes",
            )
        yield Ranks(dist.get_rank(), n_ranks, chosen)
    finally:
        dist.destroy_process_group()
