"""Face crops and MFCC to window-level splits.

In: face crops and MFCC laid out as `<split>/<speaker>/<clip>.npz`. Out: `training.csv`,
`validation.csv` and `test.csv` with one row per window (see `asdtune.core.windows`), and
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asdtune.core.corpus import Clip, Split, find_clips
from asdtune.core.files import relative, settings_hash, write_json
from asdtune.core.locks import HIDDEN_DIR, stage_lock
from asdtune.core.prepare.candidates import Candidate, Candidates, read_candidates
from asdtune.core.prepare.sampling import sample_windows, share_out
from asdtune.core.prepare.silent_faces import SILENT_FACES_DIR, sample_silent_faces
from asdtune.core.prepare.split_report import describe, errors_of
from asdtune.core.rates import check_window_size
from asdtune.core.windows import DATA_HTML, REPORT_JSON, Window, write_windows
from asdtune.errors import AsdtuneError, UsageError

_VERSION = 4  # raise it when the same settings begin to give other windows
_HELD_OUT_SHARE = 0.3  # of n_samples, for validation and for test
_RECORD = f"{HIDDEN_DIR}/splits.json"


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
    """The CSV of a split, its part of `report.json`, and whether an earlier run made it."""

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
    settings, (clips, heard) = Settings(**values), _find_all(face_crops_dir, mfccs_dir)
    with stage_lock(output_dir, "splits"):
        inputs = _inputs(settings, {face_crops_dir: clips, mfccs_dir: heard}, output_dir)
        report = None if overwrite else _fresh_report(inputs, output_dir)
        if report is not None:
            for name, of_split in report["splits"].items():
                yield SplitResult(Split(name), output_dir / f"{name}.csv", of_split, is_fresh=True)
            return
        # All that can stop it is found out before anything that is there is touched.
        candidates = {
            split: _find_candidates(split, of_split, face_crops_dir, mfccs_dir, settings)
            for split in Split
            if (of_split := [clip for clip in clips if clip.split is split])
        }
        _delete_earlier(output_dir)
        report = {"settings": asdict(settings), "splits": {}}
        for split, found in candidates.items():
            windows, notes = _sample_split(
                split, found.usable, face_crops_dir, mfccs_dir, output_dir, settings
            )
            faceless = [str(c) for c in sorted({*heard} - {*clips}) if c.split is split]
            if faceless:
                notes.append(f"without face crops, so left out: {', '.join(faceless)}")
            path = output_dir / f"{split.value}.csv"
            write_windows(path, windows)
            report["splits"][split.value] = describe(windows, found, output_dir, notes)
            yield SplitResult(split, path, report["splits"][split.value], is_fresh=False)
        write_json(output_dir / REPORT_JSON, report)
        paths = [output_dir / f"{name}.csv" for name in report["splits"]]
        paths += [output_dir / REPORT_JSON, *(output_dir / SILENT_FACES_DIR).rglob("*.npz")]
        outputs = _stamps(paths, output_dir)
        write_json(output_dir / _RECORD, {"inputs": inputs, "outputs": outputs})


def find_fresh_splits(
    face_crops_dir: Path, mfccs_dir: Path, output_dir: Path, **values: Any
) -> dict[str, Any] | None:
    """Give the report of `make_splits` if that has nothing to do; arguments and errors are its."""
    clips, heard = _find_all(face_crops_dir, mfccs_dir)
    found = {face_crops_dir: clips, mfccs_dir: heard}
    return _fresh_report(_inputs(Settings(**values), found, output_dir), output_dir)


def _find_all(face_crops_dir: Path, mfccs_dir: Path) -> tuple[list[Clip], list[Clip]]:
    return (
        find_clips(face_crops_dir, what="face crops", made_by="crops"),
        find_clips(mfccs_dir, what="MFCC", made_by="mfcc"),
    )


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


def _fresh_report(inputs: str, output_dir: Path) -> dict[str, Any] | None:
    """Give the report of an earlier run if it holds for these inputs and all is still there."""
    try:
        record = json.loads((output_dir / _RECORD).read_bytes())
        outputs = record["outputs"]
        now = _stamps((output_dir / name for name in outputs), output_dir)
        if record["inputs"] != inputs or outputs != now:
            return None
        report: dict[str, Any] = json.loads((output_dir / REPORT_JSON).read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report


def _delete_earlier(output_dir: Path) -> None:
    """Delete what an earlier run has made; the record first, which says that the rest is whole."""
    for name in (_RECORD, REPORT_JSON, DATA_HTML, *(f"{split.value}.csv" for split in Split)):
        (output_dir / name).unlink(missing_ok=True)
    shutil.rmtree(output_dir / SILENT_FACES_DIR, ignore_errors=True)


def _inputs(settings: Settings, clips: Mapping[Path, Sequence[Clip]], output_dir: Path) -> str:
    """Hash the settings, and size and time of every clip."""
    stamps = _stamps((clip.path(root) for root in clips for clip in clips[root]), output_dir)
    return settings_hash({"version": _VERSION, **asdict(settings), "files": stamps})


def _stamps(paths: Iterable[Path], output_dir: Path) -> dict[str, list[int] | None]:
    """Give size and time of files; None of those that are not there."""
    stamps: dict[str, list[int] | None] = {}
    for path in paths:
        try:
            stat = path.stat()
            stamps[relative(path, output_dir)] = [stat.st_size, stat.st_mtime_ns]
        except FileNotFoundError:
            stamps[relative(path, output_dir)] = None
    return stamps
