"""Face crops and MFCC to window-level splits.

In: face crops and MFCC laid out as `<split>/<speaker>/<clip>.npz`. Out: `training.csv`,
`validation.csv` and `test.csv` with one row per window (see `asdtune.core.splits`), and
`report.json`, which tells what the windows are like and what was left out.

Some windows show silent faces (see `silent_faces`). Of the others half are positive: pictures and
sound of one moment, with speech in at least half of it. Each mismatch shows the pictures of a
positive with other sound: of the same clip where it overlaps the pictures by at most half, of
another clip of the same speaker, or of another speaker, a third each. That sound has as much speech
in it as the positive had (see `sampling`). So neither pictures nor silence nor padding tell the
label. Every window lies inside its clip, on frames with a face and on sound that is its own.

    for result in make_splits(Path("face_crops"), Path("mfccs"), Path("splits"), ...):
        print(result.split, result.count(), result.left_out)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asdtune.core.corpus import Clip, Split, find_clips
from asdtune.core.files import relative, settings_hash, write_json
from asdtune.core.prepare.candidates import Candidate, Candidates, read_candidates
from asdtune.core.prepare.records import RECORDS_DIR, stage_lock
from asdtune.core.prepare.sampling import sample_windows, share_out
from asdtune.core.prepare.silent_faces import SILENT_FACES_DIR, sample_silent_faces
from asdtune.core.prepare.split_report import describe, errors_of
from asdtune.core.rates import check_window_size
from asdtune.core.splits import REPORT_JSON, Window, write_windows
from asdtune.errors import AsdtuneError, UsageError

_VERSION = 4  # raise it when the same settings begin to give other windows
_HELD_OUT_SHARE = 0.3  # of n_samples, for validation and for test
_RECORD = f"{RECORDS_DIR}/splits.json"


@dataclass(frozen=True)
class Settings:
    """What decides which windows there are.

    Attributes:
        window_size: W, in video frames; odd, so that a window has a centre.
        windows_per_sample: Windows of every clip, in the mean over a split; None where `n_samples`
            says how many.
        n_samples: Windows for training; 0.3 times as many for validation and for test. Short clips
            give fewer of them, rather than the same ones again.
        silent_face_share: Share of all windows that show silent faces, 0..1, as far as there are
            pauses; 0 gives the four kinds of the AnnoTheia tutorial.
        min_speech_share: Share of a window's frames that must have speech, 0..1.
        all_clips: Take clips with several people or too few faces too.
        seed: Same seed, same bytes.

    Raises:
        UsageError: The window size is even, or both or neither number of windows is given.
    """

    window_size: int
    windows_per_sample: int | None
    n_samples: int | None
    silent_face_share: float
    min_speech_share: float
    all_clips: bool
    seed: int

    def __post_init__(self) -> None:
        """Check what can be wrong."""
        check_window_size(self.window_size)
        if (self.windows_per_sample is None) == (self.n_samples is None):
            raise UsageError("give either --windows-per-sample or --n-samples")

    def n_windows(self, split: Split, n_clips: int) -> int:
        """Tell how many windows a split gets."""
        if self.n_samples is None:
            return (self.windows_per_sample or 0) * n_clips
        return round(self.n_samples * (1 if split is Split.TRAINING else _HELD_OUT_SHARE))


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


def make_splits(
    face_crops_dir: Path, mfccs_dir: Path, output_dir: Path, *, overwrite: bool, **values: Any
) -> Iterator[SplitResult]:
    """Sample the windows of every split that has clips and write them, unless nothing changed.

    Args:
        face_crops_dir: The face crops.
        mfccs_dir: The MFCC.
        output_dir: Where the CSVs go.
        overwrite: Sample them again.
        values: Those of `Settings`.

    Yields:
        One result per split.

    Raises:
        UsageError: The settings are wrong.
        AsdtuneError: There are no clips, a speaker is in two splits, no window fits, or another
            process works on the folder.
    """
    settings = Settings(**values)
    clips = _find_all(face_crops_dir, mfccs_dir)
    with stage_lock(output_dir, "splits"):
        report = None if overwrite else _fresh_report(settings, clips, output_dir)
        if report is not None:
            for name, of_split in report["splits"].items():
                yield SplitResult(Split(name), output_dir / f"{name}.csv", of_split, is_fresh=True)
            return
        # All that can stop it is found out before anything that is there is touched.
        candidates = {
            split: _find_candidates(split, of_split, face_crops_dir, mfccs_dir, settings)
            for split in Split
            if (of_split := [clip for clip in clips[face_crops_dir] if clip.split is split])
        }
        _delete_earlier(output_dir)
        report = {"settings": asdict(settings), "splits": {}}
        for split, found in candidates.items():
            windows, notes = _sample_split(
                split, found.usable, face_crops_dir, mfccs_dir, output_dir, settings
            )
            notes += _without_crops(split, clips[face_crops_dir], clips[mfccs_dir])
            path = output_dir / f"{split.value}.csv"
            write_windows(path, windows)
            report["splits"][split.value] = describe(windows, found, output_dir, notes)
            yield SplitResult(split, path, report["splits"][split.value], is_fresh=False)
        write_json(output_dir / REPORT_JSON, report)
        write_json(output_dir / _RECORD, _fingerprint(settings, clips, output_dir, report))


def find_fresh_splits(
    face_crops_dir: Path, mfccs_dir: Path, output_dir: Path, **values: Any
) -> dict[str, Any] | None:
    """Give the report of `make_splits` if that has nothing to do; arguments and errors are its."""
    clips = _find_all(face_crops_dir, mfccs_dir)
    return _fresh_report(Settings(**values), clips, output_dir)


def _find_all(face_crops_dir: Path, mfccs_dir: Path) -> dict[Path, list[Clip]]:
    return {
        face_crops_dir: find_clips(face_crops_dir, what="face crops", made_by="crops"),
        mfccs_dir: find_clips(mfccs_dir, what="MFCC", made_by="mfcc"),
    }


def _find_candidates(
    split: Split,
    clips: Sequence[Clip],
    face_crops_dir: Path,
    mfccs_dir: Path,
    settings: Settings,
) -> Candidates:
    """Find the clips of one split that give windows; it is an error if none does."""
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


def _sample_split(
    split: Split,
    clips: Sequence[Candidate],
    face_crops_dir: Path,
    mfccs_dir: Path,
    output_dir: Path,
    settings: Settings,
) -> tuple[list[Window], list[str]]:
    """Sample the windows of one split, and write the looped pauses; with notes for the user."""
    n_windows = settings.n_windows(split, len(clips))
    limits = np.full(len(clips), n_windows)
    if settings.n_samples is not None:
        limits = np.array([2 * len(clip.positive_centres) for clip in clips])  # none shown twice
    seed = [settings.seed, list(Split).index(split)]
    silent, notes = sample_silent_faces(
        clips,
        round(n_windows * settings.silent_face_share),
        # A source of its own: without silent faces, the windows are those of the tutorial.
        rng=np.random.default_rng([*seed, 1]),
        output_dir=output_dir,
    )
    rng = np.random.default_rng(seed)
    windows, more_notes = sample_windows(
        clips,
        share_out(n_windows - len(silent), limits, rng),
        rng=rng,
        face_crops_dir=relative(face_crops_dir, output_dir),
        mfccs_dir=relative(mfccs_dir, output_dir),
    )
    return windows + silent, more_notes + notes


def _without_crops(split: Split, found: Sequence[Clip], heard: Sequence[Clip]) -> list[str]:
    with_crops = set(found)
    names = [str(clip) for clip in heard if clip.split is split and clip not in with_crops]
    return [f"without face crops, so left out: {', '.join(names)}"] if names else []


def _delete_earlier(output_dir: Path) -> None:
    """Delete the splits of an earlier run, beginning with the record that says they are fresh."""
    (output_dir / _RECORD).unlink(missing_ok=True)
    for split in Split:
        (output_dir / f"{split.value}.csv").unlink(missing_ok=True)
    shutil.rmtree(output_dir / SILENT_FACES_DIR, ignore_errors=True)


def _fresh_report(
    settings: Settings, clips: Mapping[Path, Sequence[Clip]], output_dir: Path
) -> dict[str, Any] | None:
    """Give the report of an earlier run if it holds for these inputs and all is still there."""
    try:
        report: dict[str, Any] = json.loads((output_dir / REPORT_JSON).read_bytes())
        record = json.loads((output_dir / _RECORD).read_bytes())
        is_fresh = record == _fingerprint(settings, clips, output_dir, report)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report if is_fresh else None


def _fingerprint(
    settings: Settings,
    clips: Mapping[Path, Sequence[Clip]],
    output_dir: Path,
    report: Mapping[str, Any],
) -> str:
    """Hash the settings, and size and time of every file that was read or written."""
    paths = [clip.path(root) for root, found in clips.items() for clip in found]
    paths += [output_dir / name for name in (REPORT_JSON, *(f"{s}.csv" for s in report["splits"]))]
    paths += sorted((output_dir / SILENT_FACES_DIR).rglob("*.npz"))
    files = [[relative(path, output_dir), *_size_and_time(path)] for path in paths]
    return settings_hash({"version": _VERSION, **asdict(settings), "files": files})


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:  # a link that leads nowhere: its clip fails by name
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
