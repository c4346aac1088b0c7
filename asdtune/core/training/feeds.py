"""What a network is fed with: crops and MFCC, or what its frozen parts made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asdtune.core.models.network import StemNetwork
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.embeddings import (
    AUDIO,
    VISUAL,
    EmbeddingWindows,
    store_audio,
    store_visual,
)
from asdtune.core.training.features import ARRAYS, FeatureWindows, count_frames, store_features
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.scoring import Windows
from asdtune.core.training.stores import Distinct, FeatureReport, mark_name

if TYPE_CHECKING:
    from asdtune.core.models.network import Network


def store_frozen(
    network: Network, windows: WindowDataset, folder: Path, *, freeze: Freeze, precision: str
) -> Iterator[FeatureReport]:
    """Store what the frozen parts of a network make of windows; delete what is of no use.

    A pass that was interrupted goes on where it was; what other weights or windows left is written
    anew. The files are float16 after computing in bf16, else float32.

    Args:
        network: Is used as it is.
        windows: What goes through it.
        folder: Where the files go.
        freeze: Which parts are frozen.
        precision: `fp32` or `bf16`.

    Yields:
        How much is done.
    """
    remove_frozen(folder, but=_stored(network, freeze))
    if freeze is Freeze.NONE:
        return
    features = None
    if isinstance(network, StemNetwork):
        yield from store_features(network, windows, folder, precision=precision)
        features = FeatureWindows(windows, folder, reach=network.stem_reach)
    if features is None or freeze is Freeze.FRONTENDS:
        yield from store_visual(
            network, windows, folder, freeze=freeze, precision=precision, features=features
        )
    if freeze is Freeze.FRONTENDS:
        yield from store_audio(network, windows, folder, precision=precision)


def open_frozen(
    network: Network, windows: WindowDataset, folder: Path, *, freeze: Freeze
) -> Windows:
    """Open what `store_frozen` has written; without frozen parts, the windows themselves."""
    if freeze is Freeze.NONE:
        return windows
    if freeze is Freeze.VISUAL and isinstance(network, StemNetwork):
        return FeatureWindows(windows, folder, reach=network.stem_reach)
    return EmbeddingWindows(windows, folder, has_audio=freeze is Freeze.FRONTENDS)


def _stored(network: Network, freeze: Freeze) -> list[tuple[str, ...]]:
    """List the arrays that are stored together, for what is frozen."""
    is_stem = isinstance(network, StemNetwork)
    wanted = {
        ARRAYS: is_stem and freeze is not Freeze.NONE,
        (VISUAL,): freeze is Freeze.FRONTENDS or (freeze is Freeze.VISUAL and not is_stem),
        (AUDIO,): freeze is Freeze.FRONTENDS,
    }
    return [names for names, is_wanted in wanted.items() if is_wanted]


def remove_frozen(folder: Path, *, but: Sequence[tuple[str, ...]] = ()) -> None:
    """Delete what is stored, and nothing else that lies there."""
    for names in {ARRAYS, (VISUAL,), (AUDIO,)} - {*but}:
        for name in (mark_name(names), *(f"{name}.npy" for name in names)):
            (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def count_encoded_frames(network: Network, windows: WindowDataset) -> int:
    """Count the frames that go through the visual front-end so that all is stored."""
    if isinstance(network, StemNetwork):
        return count_frames(windows, reach=network.stem_reach)
    return len(Distinct(windows.video_paths, windows.video_starts).row) * windows.window_size
