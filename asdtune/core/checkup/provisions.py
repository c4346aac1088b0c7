"""What the work ahead needs: published files, disk, memory. Nothing is downloaded or changed."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asdtune.core.checkup.finding import Finding, Mark
from asdtune.core.downloads import PublishedFile, cached_path, matches
from asdtune.core.networks.catalogue import LIGHT_ASD, LR_ASD, SCRATCH, STARTS, TALKNET
from asdtune.core.rates import CROP_SIZE, MFCC_PER_FRAME, N_MFCC, SAMPLES_PER_FRAME, VIDEO_FPS
from asdtune.errors import AsdtuneError

_GB = 1e9
_N_SAMPLED = 8  # videos whose headers are read to guess the length of all
_CROP_BYTES = CROP_SIZE**2  # of a video frame
_MFCC_BYTES = 4 * MFCC_PER_FRAME * N_MFCC + 2 * SAMPLES_PER_FRAME  # ... with its sound
_FEATURE_BYTES = {TALKNET: 1_000, LIGHT_ASD: 13_000, LR_ASD: 13_000}  # of a frame, or of a window
_WEIGHT_BYTES = {TALKNET: 63e6, LIGHT_ASD: 4.1e6, LR_ASD: 3.4e6}
_N_WEIGHTS = 5  # best, last, and a training state of three times as much
# Peak memory as the README has it, in bfloat16: of the process, and per frame of a batch.
_BASE_BYTES = 0.4e9
_BATCH_BYTES = {TALKNET: 4.7e6, LIGHT_ASD: 5.6e6, LR_ASD: 3.7e6}
_FROZEN_BATCH_BYTES = 0.1e6


@dataclass(frozen=True)
class Footage:
    """How much video there is.

    Attributes:
        n_videos: How many files.
        n_bytes: Their size.
        seconds: Their length; None where nothing tells.
        n_measured: Of how many of them the length is known; that of the others is guessed.
    """

    n_videos: int
    n_bytes: int
    seconds: float | None
    n_measured: int


def measure_footage(videos: Sequence[Path], known_frames: Mapping[Path, int]) -> Footage:
    """Say how long videos are: known ones as they are, others by the bytes of a few.

    Args:
        videos: The files.
        known_frames: Frames at 25 per second of those that were counted before.
    """
    size_of = {path: path.stat().st_size for path in videos}
    seconds_of = {path: n / VIDEO_FPS for path, n in known_frames.items() if path in size_of}
    unknown = [path for path in videos if path not in seconds_of]
    step = max(1, len(unknown) // _N_SAMPLED)
    seconds_of |= _seconds_by_header(unknown[::step][:_N_SAMPLED] if not seconds_of else ())
    n_bytes, n_known_bytes = sum(size_of.values()), sum(size_of[path] for path in seconds_of)
    seconds = sum(seconds_of.values()) * n_bytes / n_known_bytes if n_known_bytes else None
    return Footage(len(videos), n_bytes, seconds, len(seconds_of))


def _seconds_by_header(videos: Iterable[Path]) -> dict[Path, float]:
    from asdtune.core.prepare.media import probe

    seconds_of = {}
    for path in videos:
        try:
            seconds_of[path] = probe(path).seconds
        except AsdtuneError:  # collect-chunk will name it
            continue
    return {path: seconds for path, seconds in seconds_of.items() if seconds > 0}


def needed_disk(
    footage: Footage,
    shares: Mapping[str, float],
    *,
    network: str,
    n_windows: int,
    is_frozen: bool,
) -> float:
    """Estimate the bytes that stages will write.

    Args:
        footage: What they work on.
        shares: Of each stage, how much of its work is still to be done, 0 to 1.
        network: Which one is trained.
        n_windows: How many it learns from.
        is_frozen: Whether features are kept on disk.
    """
    n_frames = (footage.seconds or 0) * VIDEO_FPS
    n_features = n_frames if network == TALKNET else n_windows
    features = _FEATURE_BYTES[network] * n_features * is_frozen
    clips = (_CROP_BYTES + _MFCC_BYTES) * n_frames
    of_stage = {
        "collect-chunk": footage.n_bytes,
        "crops": _CROP_BYTES * n_frames,
        "mfcc": _MFCC_BYTES * n_frames,
        "train": clips + features + _N_WEIGHTS * _WEIGHT_BYTES[network],
        "export-config": _WEIGHT_BYTES[network],
    }
    return sum(share * of_stage.get(stage, 0) for stage, share in shares.items())


def needed_memory(network: str, *, batch_size: int, window_size: int, is_frozen: bool) -> float:
    """Estimate the bytes of memory that training takes at its peak, in bfloat16."""
    of_frame = _FROZEN_BATCH_BYTES if is_frozen else _BATCH_BYTES[network]
    return _BASE_BYTES + of_frame * batch_size * window_size


def check_disk(folder: Path, needed: float, *, what_for: str) -> Finding:
    """Compare the free disk with what is needed; `what_for` may be empty."""
    free = shutil.disk_usage(existing(folder)).free
    amount = f"about {needed / _GB:.1f}" if needed > _GB / 10 else "less than 0.1"
    text = f"{free / _GB:.1f} GB free"
    if what_for:
        text += f"; {amount} GB more needed, for {what_for}"
    if needed <= free:
        return Finding("disk", Mark.OK, text)
    return Finding("disk", Mark.PROBLEM, text, "make room, or move the project to another disk")


def check_memory(needed: float, free: int | None, *, what_for: str) -> Finding:
    """Compare the free memory, of the GPU that trains or of the machine, with what it takes."""
    told = "free memory unknown" if free is None else f"{free / _GB:.1f} GB free"
    text = f"{told}; training takes about {needed / _GB:.1f} GB with {what_for}"
    if free is None or needed <= free:
        return Finding("memory", Mark.OK, text)
    fix = "a smaller --batch-size, or --freeze visual-frontend; asdtune train --dry-run measures it"
    return Finding("memory", Mark.NOTE, text, fix)


def free_memory() -> int | None:
    """Count the bytes of memory that are free; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # no such file, name, or function
        return None


def check_detector(detector: str, model: Path | None) -> Iterator[Finding]:
    """Look for the file of a face detector: named, in the cache, or to be downloaded."""
    from asdtune.core.prepare.faces import RETINAFACE, YUNET

    name = "detector"
    if detector == "haar":
        yield Finding(name, Mark.OK, "haar, which comes with OpenCV")
        return
    if detector == "retinaface" and importlib.util.find_spec("retinaface") is None:
        fix = 'python -m pip install ".[retinaface]" in the checkout, or --detector yunet'
        yield Finding(name, Mark.PROBLEM, "retinaface is not installed", fix)
        return
    published = YUNET if detector == "yunet" else RETINAFACE
    if model is None:
        instead = "name it with --detector-model, or use --detector haar"
        yield check_published(name, detector, published, instead=instead)
    elif not model.is_file():
        yield Finding(name, Mark.PROBLEM, f"no such file: {model}", "check --detector-model")
    elif published.check and not matches(model, published.check):
        yield Finding(name, Mark.NOTE, f"{model} is not the published {detector}, but may work")
    else:
        yield Finding(name, Mark.OK, f"{detector}, {model}")


def local_detector(detector: str, model: Path | None) -> tuple[Path | None, bool]:
    """Give a detector's file if it is on this machine, and whether that is all there is to know."""
    from asdtune.core.prepare.faces import RETINAFACE, YUNET

    if detector == "haar":
        return None, True
    path = model or cached_path(YUNET if detector == "yunet" else RETINAFACE)
    return (path, True) if path.is_file() else (None, False)


def check_start(name: str, network: str, *, flag: str = "--checkpoint") -> Iterator[Finding]:
    """Look for weights to start from, or to compare with: in the cache, a file, or to download."""
    is_start = flag == "--checkpoint"
    what = "weights" if is_start else "baseline"
    if name == SCRATCH and is_start:
        yield Finding(what, Mark.OK, "scratch: drawn, nothing to download")
    elif name in STARTS:
        instead = f"name another file with {flag}"
        yield check_published(what, name, STARTS[name].file, instead=instead)
    else:
        from asdtune.core.networks.catalogue import make_network
        from asdtune.core.networks.checkpoints import checkpoint_file, load_network, load_weights

        path = checkpoint_file(name, flag=flag)
        if is_start:
            load_weights(make_network(network), path)
        else:
            load_network(path)
        yield Finding(what, Mark.OK, f"{path}, whole and of a network that asdtune knows")


def check_published(what: str, name: str, published: PublishedFile, *, instead: str) -> Finding:
    """Look for a published file in the cache, and check it."""
    path = cached_path(published)
    if not path.is_file():
        text = f"{name} is not on this machine yet: the first use downloads it"
        fix = f"without a network: put {published.url} at {path}, or {instead}"
        return Finding(what, Mark.NOTE, text, fix)
    if published.check and not matches(path, published.check):
        fix = "nothing to do with a network: it is downloaded anew; else copy it there again"
        return Finding(what, Mark.NOTE, f"{path} is damaged, or another file", fix)
    return Finding(what, Mark.OK, f"{name}, in the cache{', checked' * bool(published.check)}")


def check_cache(published: PublishedFile) -> Finding:
    """Say where downloads are kept, and whether they can be."""
    folder = cached_path(published).parent
    if os.access(existing(folder), os.W_OK):
        return Finding("cache", Mark.OK, str(folder))
    return Finding(
        "cache", Mark.NOTE, f"{folder} cannot be written to",
        "mend its permissions, or name another in the environment variable XDG_CACHE_HOME",
    )  # fmt: skip


def existing(path: Path) -> Path:
    """Give a path, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
