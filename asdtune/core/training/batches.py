"""The batches of an epoch: which windows, loaded, and changed as the recipe says."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from asdtune.core.training.augment import (
    change_pictures,
    draw_changes,
    draw_masks,
    mask_sound,
    mix_sound,
)
from asdtune.core.training.dataset import Batch, Rows, WindowDataset
from asdtune.core.training.devices import to_device
from asdtune.core.training.distributed import Ranks
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.schedule import EpochPlan, order_of_epoch
from asdtune.core.training.scoring import Windows
from asdtune.core.training.settings import TrainingSettings

_N_AHEAD = 3  # batches that are loaded before a GPU asks for them


def batches_of_epoch(
    windows: WindowDataset, plan: EpochPlan, settings: TrainingSettings, ranks: Ranks
) -> list[Rows]:
    """Give this process's rows of each batch; a last one with fewer than processes is left out."""
    order = order_of_epoch(windows, plan, settings.seed, balance_speakers=settings.balance_speakers)
    starts = range(0, len(order), settings.batch_size)
    shares = [ranks.share(order[start : start + settings.batch_size]) for start in starts]
    return [rows for rows in shares if len(rows)]


def inputs_of(
    batch: Batch,
    rows: Rows,
    windows: WindowDataset,
    plan: EpochPlan,
    settings: TrainingSettings,
    device: torch.device,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring pictures, sound and labels to the device, and augment them."""
    pictures, sound, labels = (
        to_device(each, device) for each in (batch.pictures, batch.sound, batch.labels)
    )
    if settings.augment:
        changes = draw_changes(windows, rows, rng)
        if plan.freeze is Freeze.NONE:  # else they are features
            pictures = change_pictures(pictures, to_device(changes.affine, device))
        sound = mix_sound(sound, windows, rows, changes)
    if settings.time_mask_frames:
        masks = draw_masks(len(rows), settings.window_size, settings.time_mask_frames, rng)
        sound = mask_sound(sound, masks)
    return pictures, sound, labels


def loaded(feed: Windows, batches: Sequence[Rows], ranks: Ranks) -> Iterator[tuple[Rows, Batch]]:
    """Give the rows of each batch, and its windows; for a GPU, some are loaded ahead."""
    loaded = ((rows, feed.batch(rows)) for rows in batches)
    return loaded if ranks.device.type == "cpu" else _ahead(loaded)


def _ahead(batches: Iterator[tuple[Rows, Batch]]) -> Iterator[tuple[Rows, Batch]]:
    """Take from an iterator in a thread of its own, a few items ahead."""
    waiting: queue.Queue[tuple[Rows, Batch] | BaseException | None] = queue.Queue(_N_AHEAD)
    is_over = threading.Event()

    def put(item: tuple[Rows, Batch] | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def fill() -> None:
        try:
            for item in batches:
                put(item)
                if is_over.is_set():
                    return
            put(None)
        except BaseException as error:  # is raised where the batches are used
            put(error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        is_over.set()
        thread.join()
