"""Face crops and MFCC to window-level splits.

In: face crops and MFCC laid out as `<split>/<speaker>/<clip>.npz`. Out: `training.csv`,
`validation.csv` and `test.csv` with one row per window (see `asdtune.core.splits`), and
`report.json`, which tells what the windows are like and what was left out.

Some windows show silent faces (see `silent_faces`). Of the others half are positive: pictures and
sound of one moment, with speech in at least half of it. Each mismatch shows the pictures of a
positive with other sound: of the same clip where it overlaps the pictures by at most half, of
another clip of the same speaker, or of another speaker, a third each. That sound has as much speech
in it as the positive had. So among them neither pictures nor silence nor padding tell the label.
Every window lies inside its clip, on frames with a face and on sound that is its own.

    for result in make_splits(Path("face_crops"), Path("mfccs"), Path("splits"), ...):
        print(result.split, result.count(), result.left_out)
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asdtune.core.corpus import Clip, Split, find_clips
from asdtune.core.files import relative, write_json
from asdtune.core.prepare.candidates import Candidate, Candidates, read_candidates
from asdtune.core.prepare.sampling import draw_windows, spread
from asdtune.core.prepare.silent_faces import (
    MIN_PAUSE_FRAMES,
    SILENT_FACES_DIR,
    draw_silent_faces,
    find_pauses,
)
from asdtune.core.prepare.split_report import (
    describe,
    errors_of,
    forget,
    fresh_report,
    inputs_mark,
    remember,
)
from asdtune.core.rates import check_window_size
from asdtune.core.splits import MISMATCHES, REPORT_JSON, Window, WindowKind, write_windows
from asdtune.errors import AsdtuneError, UsageError

_VERSION = 3  # raise it when the same settings begin to give other windows
_MAX_SILENCE_POINTS = 2  # between positives and a kind of negative
_HELD_OUT_SHARE = 0.3  # of n_samples, for validation and for test


@dataclass(frozen=True)
class _Settings:
    """What decides which windows there are; see `make_splits`."""

    window_size: int
    windows_per_sample: int | None
    n_samples: int | None
    silent_face_share: float
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
    silent_face_share: float,
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
        windows_per_sample: Windows of every clip, in the mean over a split; None where `n_samples`
            says how many.
        n_samples: Windows for training; 0.3 times as many for validation and for test.
        seed: Same seed, same bytes.
        silent_face_share: Share of all windows that show silent faces, 0..1, as far as there are
            pauses; 0 gives the four kinds of the AnnoTheia tutorial.
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
        window_size, windows_per_sample, n_samples, silent_face_share, min_speech_share, all_clips,
        seed,
    )  # fmt: skip
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
    clips = candidates.usable
    n_windows = _count_windows(split, len(clips), settings)
    silent = _make_silent_faces(split, clips, n_windows, path.parent, settings)
    rng = np.random.default_rng([settings.seed, list(Split).index(split)])
    windows, notes = draw_windows(
        clips,
        spread(n_windows - len(silent), len(clips), rng),
        window_size=settings.window_size,
        rng=rng,
        face_crops_dir=relative(face_crops_dir, path.parent),
        mfccs_dir=relative(mfccs_dir, path.parent),
    )
    notes += _few_pauses(round(n_windows * settings.silent_face_share), len(silent), clips)
    windows += silent
    n_unknown = sum(not candidate.knows_speech for candidate in candidates.usable)
    if n_unknown:
        notes.append(f"{n_unknown} clips do not tell where there is speech: all their sound counts")
    if len({window.label for window in windows}) < 2:
        notes.append("it has not both labels: ask for more windows, or add clips")
    write_windows(path, windows)
    report = describe(windows, candidates, path.parent, notes)
    report["notes"] += _warnings(report, windows)
    return report


def _make_silent_faces(
    split: Split,
    clips: Sequence[Candidate],
    n_windows: int,
    output_dir: Path,
    settings: _Settings,
) -> list[Window]:
    """Draw the windows of silent faces; looped pauses of an earlier run make room for theirs."""
    shutil.rmtree(output_dir / SILENT_FACES_DIR / split.value, ignore_errors=True)
    return draw_silent_faces(
        clips,
        round(n_windows * settings.silent_face_share),
        # A source of its own: without silent faces, the windows are those of the tutorial.
        rng=np.random.default_rng([settings.seed, list(Split).index(split), 1]),
        output_dir=output_dir,
    )


def _warnings(report: dict[str, Any], windows: Sequence[Window]) -> list[str]:
    """Say what may spoil the training."""
    warnings = []
    silence_of = {name: kind["silence_percent"] for name, kind in report["kinds"].items()}
    of_positives = silence_of[WindowKind.POSITIVE]
    for kind in MISMATCHES:
        shares = silence_of[kind], of_positives
        if None not in shares and abs(shares[0] - shares[1]) > _MAX_SILENCE_POINTS:
            warnings.append(
                f"{kind} has {shares[0]:.1f} % silence, positive {shares[1]:.1f} %: more than "
                f"{_MAX_SILENCE_POINTS} points apart, so silence may tell them; add longer clips"
            )
    shown = [(w.video_path, w.video_window_center) for w in windows if w.label]
    if (n_repeated := len(shown) - len(set(shown))) > 0:
        warnings.append(
            f"{n_repeated} of {len(shown)} positive windows repeat others: the clips hold no more"
        )
    return warnings


def _few_pauses(n_wanted: int, n_drawn: int, clips: Sequence[Candidate]) -> list[str]:
    """Say where pauses are too few for the silent faces that were asked for."""
    if n_drawn >= n_wanted:
        return []
    if not any(clip.knows_speech for clip in clips):
        why = "the MFCC do not tell where there is speech; run mfcc again"
    else:
        pauses = find_pauses(clips)
        n_speakers = len({pause.clip.clip.speaker for pause in pauses})
        why = (
            f"{len(pauses)} pauses of {MIN_PAUSE_FRAMES} frames or more, of {n_speakers} speakers; "
            "keep the moments in which speakers listen"
        )
    return [f"only {n_drawn} of {n_wanted} windows are {WindowKind.SILENT}: {why}"]


def _count_windows(split: Split, n_clips: int, settings: _Settings) -> int:
    """Tell how many windows a split gets."""
    if settings.n_samples is None:
        assert settings.windows_per_sample is not None
        return settings.windows_per_sample * n_clips
    share = 1.0 if split is Split.TRAINING else _HELD_OUT_SHARE
    return round(settings.n_samples * share)
