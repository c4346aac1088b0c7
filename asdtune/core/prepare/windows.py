"""Face crops and MFCC to window-level splits.

In: face crops and MFCC laid out as `<split>/<speaker>/<clip>.npz`. Out: `training.csv`,
`validation.csv` and `test.csv` with one row per window (see `asdtune.core.splits`), and
`report.json`, which tells what the windows are like and what was left out.

Half of all windows are positive: pictures and sound of one moment, with speech in at
least half of it. Each negative shows the pictures of a positive with other sound: of the same clip
where it overlaps the pictures by at most half, of another clip of the same speaker, or of another
speaker, a third each. That sound has as much speech in it as the positive had. So neither pictures
nor silence nor padding tell the label. Every window lies inside its clip, on frames with a face and
on sound that is its own.

    for result in make_splits(Path("face_crops"), Path("mfccs"), Path("splits"), ...):
        print(result.split, result.count(), result.left_out)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.corpus import Clip, Split, find_clips
from asdtune.core.files import relative, write_json
from asdtune.core.prepare.candidates import Candidate, Candidates, read_candidates
from asdtune.core.prepare.drawing import draw_windows, spread
from asdtune.core.prepare.split_report import (
    describe,
    errors_of,
    forget,
    fresh_report,
    inputs_mark,
    remember,
)
from asdtune.core.rates import check_window_size
from asdtune.core.splits import REPORT_JSON, Window, write_windows
from asdtune.errors import AsdtuneError, UsageError

_VERSION = 2  # raise it when the same settings begin to give other windows
_MAX_SILENCE_POINTS = 2  # between positives and a kind of negative
_HELD_OUT_SHARE = 0.3  # of n_samples, for validation and for test


@dataclass(frozen=True)
class _Settings:
    """What decides which windows there are; see `make_splits`."""

    window_size: int
    windows_per_sample: int | None
    n_samples: int | None
    min_speech_share: float
    all_clips: bool
    seed: int


@dataclass(frozen=True)
class SplitResult:
    """The windows of one split.

    Attributes:
        split: Which split.
        path: The CSV.
        report: What its windows are like, as `report.json` has it.
        is_fresh: Whether an earlier run made it.
    """

    split: Split
    path: Path
    report: dict[str, Any]
    is_fresh: bool

    @property
    def left_out(self) -> dict[str, AsdtuneError]:
        """Clips that are not fit for windows, each with the reason."""
        return errors_of(self.report["left_out"])

    @property
    def failed(self) -> dict[str, AsdtuneError]:
        """Clips whose files cannot be used."""
        return errors_of(self.report["failed"])

    @property
    def notes(self) -> list[str]:
        """What a user should know, such as a kind that cannot be made of this corpus."""
        return list(self.report["notes"])

    def count(self) -> Counter[str]:
        """Count the windows of each kind."""
        return Counter({name: kind["n_windows"] for name, kind in self.report["kinds"].items()})


def make_splits(
    face_crops_dir: Path,
    mfccs_dir: Path,
    output_dir: Path,
    *,
    window_size: int,
    windows_per_sample: int | None,
    n_samples: int | None,
    seed: int,
    min_speech_share: float,
    all_clips: bool,
    overwrite: bool,
) -> Iterator[SplitResult]:
    """Draw the windows of every split that has clips, and write them; nothing if all is as it was.

    Args:
        face_crops_dir: The face crops.
        mfccs_dir: The MFCC.
        output_dir: Where the CSVs go.
        window_size: W, in video frames; odd, so that a window has a centre.
        windows_per_sample: Windows of every clip; None where `n_samples` says how many.
        n_samples: Windows for training; 0.3 times as many for validation and for test.
        seed: Same seed, same bytes.
        min_speech_share: Share of a window's frames that must have speech, 0..1.
        all_clips: Take clips with several people or too few faces too.
        overwrite: Draw them again.

    Yields:
        One result per split.

    Raises:
        UsageError: The window size is even, or both or neither number of windows is given.
        AsdtuneError: There are no clips, a speaker is in two splits, or no window fits.
    """
    settings = _Settings(
        window_size, windows_per_sample, n_samples, min_speech_share, all_clips, seed
    )
    check_window_size(window_size)
    if (windows_per_sample is None) == (n_samples is None):
        raise UsageError("give either --windows-per-sample or --n-samples")
    found = find_clips(face_crops_dir, what="face crops", made_by="crops")
    heard = find_clips(mfccs_dir, what="MFCC", made_by="mfcc")
    mark = _mark(face_crops_dir, found, mfccs_dir, heard, output_dir, settings)
    report = None if overwrite else fresh_report(output_dir, REPORT_JSON, mark)
    if report is not None:
        for name, of_split in report["splits"].items():
            yield SplitResult(Split(name), output_dir / f"{name}.csv", of_split, is_fresh=True)
        return
    # All that can stop it is found out before anything that is there is touched.
    candidates = {
        split: _find_candidates(split, clips, face_crops_dir, mfccs_dir, settings)
        for split in Split
        if (clips := [clip for clip in found if clip.split is split])
    }
    forget(output_dir)
    report = {"settings": asdict(settings), "splits": {}}
    with_crops = set(found)
    for split in Split:
        path = output_dir / f"{split.value}.csv"
        if split not in candidates:
            path.unlink(missing_ok=True)  # of an earlier run on other clips
            continue
        of_split = _make_split(split, candidates[split], face_crops_dir, mfccs_dir, path, settings)
        faceless = [str(c) for c in heard if c.split is split and c not in with_crops]
        if faceless:
            of_split["notes"].append(f"without face crops, so left out: {', '.join(faceless)}")
        report["splits"][split.value] = of_split
        yield SplitResult(split, path, of_split, is_fresh=False)
    write_json(output_dir / REPORT_JSON, report)
    remember(output_dir, mark, [REPORT_JSON, *(f"{name}.csv" for name in report["splits"])])


def find_fresh_splits(
    face_crops_dir: Path, mfccs_dir: Path, output_dir: Path, **settings: Any
) -> dict[str, Any] | None:
    """Give the report of `make_splits` if it has nothing to do; nothing is changed.

    Args:
        face_crops_dir: The face crops.
        mfccs_dir: The MFCC.
        output_dir: Where the CSVs go.
        settings: Those of `make_splits`, but `overwrite`.

    Raises:
        AsdtuneError: There are no clips, or a speaker is in two splits.
    """
    found = find_clips(face_crops_dir, what="face crops", made_by="crops")
    heard = find_clips(mfccs_dir, what="MFCC", made_by="mfcc")
    mark = _mark(face_crops_dir, found, mfccs_dir, heard, output_dir, _Settings(**settings))
    return fresh_report(output_dir, REPORT_JSON, mark)


def _mark(
    face_crops_dir: Path,
    found: Sequence[Clip],
    mfccs_dir: Path,
    heard: Sequence[Clip],
    output_dir: Path,
    settings: _Settings,
) -> str:
    return inputs_mark(
        {"version": _VERSION, **asdict(settings)},
        {face_crops_dir: found, mfccs_dir: heard},
        relative_to=output_dir,
    )


def _find_candidates(
    split: Split,
    clips: Sequence[Clip],
    face_crops_dir: Path,
    mfccs_dir: Path,
    settings: _Settings,
) -> Candidates:
    """Find the clips of one split that give windows."""
    found = read_candidates(
        clips,
        face_crops_dir,
        mfccs_dir,
        window_size=settings.window_size,
        min_speech_share=settings.min_speech_share,
        all_clips=settings.all_clips,
    )
    if not found.usable:
        unusable = {**found.left_out, **found.failed}
        reasons = "\n".join(f"{name}: {error.problem}" for name, error in unusable.items())
        raise AsdtuneError(
            f"no clip of {split} holds a window of {settings.window_size} frames\n{reasons}",
            where=face_crops_dir / split.value,
            fix="give a smaller --window-size or --min-speech-share, longer videos, or --all-clips",
        )
    return found


def _make_split(
    split: Split,
    candidates: Candidates,
    face_crops_dir: Path,
    mfccs_dir: Path,
    path: Path,
    settings: _Settings,
) -> dict[str, Any]:
    """Write the windows of one split and give its report."""
    rng = np.random.default_rng([settings.seed, list(Split).index(split)])
    windows, notes = draw_windows(
        candidates.usable,
        _count_windows(split, candidates.usable, settings, rng),
        window_size=settings.window_size,
        rng=rng,
        face_crops_dir=relative(face_crops_dir, path.parent),
        mfccs_dir=relative(mfccs_dir, path.parent),
    )
    n_unknown = sum(not candidate.knows_speech for candidate in candidates.usable)
    if n_unknown:
        notes.append(f"{n_unknown} clips do not tell where there is speech: all their sound counts")
    if len({window.label for window in windows}) < 2:
        notes.append("it has not both labels: ask for more windows, or add clips")
    write_windows(path, windows)
    report = describe(windows, candidates, notes)
    report["notes"] += _warnings(report, windows)
    return report


def _warnings(report: dict[str, Any], windows: Sequence[Window]) -> list[str]:
    """Say what may spoil the training."""
    warnings = []
    positive, *negatives = report["kinds"].items()
    for name, kind in negatives:
        shares = kind["silence_percent"], positive[1]["silence_percent"]
        if None not in shares and abs(shares[0] - shares[1]) > _MAX_SILENCE_POINTS:
            warnings.append(
                f"{name} has {shares[0]:.1f} % silence, positive {shares[1]:.1f} %: more than "
                f"{_MAX_SILENCE_POINTS} points apart, so silence may tell them; add longer clips"
            )
    shown = [(w.video_path, w.video_window_center) for w in windows if w.label]
    if (n_repeated := len(shown) - len(set(shown))) > 0:
        warnings.append(
            f"{n_repeated} of {len(shown)} positive windows repeat others: the clips hold no more"
        )
    return warnings


def _count_windows(
    split: Split, clips: Sequence[Candidate], settings: _Settings, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Tell how many windows each clip gives, shape (n_clips,)."""
    if settings.n_samples is None:
        return np.full(len(clips), settings.windows_per_sample)
    share = 1.0 if split is Split.TRAINING else _HELD_OUT_SHARE
    return spread(round(settings.n_samples * share), len(clips), rng)
