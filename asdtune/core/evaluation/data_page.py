"""`data.html`: what data there is, and whether the crops show mouths, in one file.

In: the report of `splits`, the face crops and MFCC that it is about, and what the stages before it
failed at. Out: the page. It is read offline; a small script in it filters clips, and may be absent.

    page = render_page(report, Path("face_crops"), Path("mfccs"), failed={"crops": {}})
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from asdtune.core.arrays import data_shape, marks_in, read_npz, runs_of
from asdtune.core.corpus import Clip, Split, find_clips
from asdtune.core.evaluation import charts
from asdtune.core.evaluation.html import render
from asdtune.core.prepare.quality import has_speech, lips_in_sight
from asdtune.core.rates import MFCC_PER_FRAME, SAMPLES_PER_FRAME, seconds_of_frames
from asdtune.core.training.clips import ClipFiles
from asdtune.errors import AsdtuneError

_TEMPLATE = "data.html"
_MAX_CLIPS = 1000  # that are shown: 15 MB
_LEAST_USED = 100  # of them that are used, however many are left out
_N_PICTURES, _JPEG_QUALITY = 12, 60  # of a strip
_WIDTH = _N_PICTURES * charts.PICTURE_SIZE
_SOUND_STEP = 4  # pixels from one corner of an outline to the next
_NO_CROPS = "no face crops"
_DETAILS = re.compile(r":| in \d| of \d| for any| for this")  # of a problem begin here
_HIDDEN = {  # why lips cannot be read in a frame, by the array that tells
    "detected": "no face",
    "still": "still",
    "profile": "from the side",
    "mouth_outside": "mouth outside",
}

Marks = npt.NDArray[np.bool_]  # (T,), one per video frame


@dataclass(frozen=True)
class ClipOfPage:
    """A clip, and why it is left out.

    Attributes:
        clip: The clip.
        n_frames: T, 25 per second; 0 where no file tells.
        problem: Why it gives no windows; None if it gives some.
    """

    clip: Clip
    n_frames: int
    problem: str | None

    @property
    def seconds(self) -> str:
        """Its length."""
        return f"{seconds_of_frames(self.n_frames):.1f}"

    @property
    def reason(self) -> str:
        """The problem without its details, the same for all clips that have it."""
        return _DETAILS.split(self.problem or "")[0]


@dataclass(frozen=True)
class Row:
    """A clip as it looks and sounds; what cannot be drawn is empty."""

    of: ClipOfPage
    about: str  # shares of speech and of hidden lips
    pictures: str  # a JPEG in base64
    sound: str  # the corners of its outline
    speech: str  # an SVG path along the stretches with speech
    hidden: str  # and along those in which lips cannot be read


def render_page(
    report: Mapping[str, Any],
    face_crops_dir: Path,
    mfccs_dir: Path,
    *,
    failed: Mapping[str, Mapping[str, str]],
) -> str:
    """Write the page.

    Args:
        report: What `splits` tells of each split, as in its `report.json`.
        face_crops_dir: The face crops that it was made of.
        mfccs_dir: The MFCC.
        failed: By stage, why it made nothing of a video, by the video's path.

    Raises:
        AsdtuneError: The clips are gone.
    """
    clips = read_clips(report, face_crops_dir, mfccs_dir)
    left_out = [clip for clip in clips if clip.problem is not None]
    used = [clip for clip in clips if clip.problem is None]
    n_used = max(_MAX_CLIPS - len(left_out), _LEAST_USED)
    left_out.sort(key=lambda each: _share_in_sight(each, face_crops_dir))  # the worst first
    used.sort(key=lambda each: (each.clip.speaker, each.clip.name))
    shown = left_out[:_MAX_CLIPS], _even(used, n_used)
    files = ClipFiles()
    without_minutes = _without_minutes(failed, clips)
    return render(
        _TEMPLATE,
        funnel=funnel_table(clips, without_minutes),
        failed=without_minutes,
        speakers=speakers_table(report, clips),
        n_clips=len(clips),
        n_left_out=len(left_out),
        sheets={
            name: [_row(each, face_crops_dir, mfccs_dir, files) for each in some]
            for name, some in zip(("left out", "used"), shown, strict=True)
        },
        width=_WIDTH,
    )


def read_clips(
    report: Mapping[str, Any], face_crops_dir: Path, mfccs_dir: Path
) -> list[ClipOfPage]:
    """Give all clips that have face crops or MFCC, sorted, with what the report says of them."""
    problems = {
        each["clip"]: each["problem"]
        for of_split in report.values()
        for each in (*of_split["left_out"], *of_split["failed"])
    }
    cropped = find_clips(face_crops_dir, what="face crops", made_by="crops")
    heard = find_clips(mfccs_dir, what="MFCC", made_by="mfcc")
    without_crops = {*heard} - {*cropped}
    clips = [
        ClipOfPage(clip, _n_rows(clip.path(face_crops_dir)), problems.get(str(clip)))
        for clip in cropped
    ] + [
        ClipOfPage(clip, _n_rows(clip.path(mfccs_dir)) // MFCC_PER_FRAME, _NO_CROPS)
        for clip in without_crops
    ]
    return sorted(clips, key=lambda each: each.clip)


def funnel_table(
    clips: Sequence[ClipOfPage], without_minutes: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Tell minutes found, used, and left out by reason, and count what has no minutes."""
    found = sum(each.n_frames for each in clips)

    def row(name: str, some: Iterable[ClipOfPage]) -> list[str]:
        some = list(some)
        n_frames = sum(each.n_frames for each in some)
        share = 100 * n_frames / max(found, 1)
        return [name, f"{seconds_of_frames(n_frames) / 60:.1f}", f"{share:.0f} %", str(len(some))]

    rows = [row("found", clips), row("used", (each for each in clips if each.problem is None))]
    frames_by = Counter[str]()
    for each in clips:
        if each.problem is not None:
            frames_by[each.reason] += each.n_frames
    for reason, _ in frames_by.most_common():
        rows.append(row(f"left out: {reason}", (c for c in clips if c.reason == reason)))
    for stage in dict.fromkeys(stage for stage, *_ in without_minutes):
        n_videos = sum(each[0] == stage for each in without_minutes)
        rows.append([f"{stage} failed", "", "", str(n_videos)])
    return rows


def speakers_table(report: Mapping[str, Any], clips: Sequence[ClipOfPage]) -> list[list[str]]:
    """Tell what each speaker gives, those included who give nothing."""
    n_left_out: Counter[tuple[Split, str]] = Counter()
    for each in clips:
        n_left_out[each.clip.split, each.clip.speaker] += each.problem is not None
    rows = []
    for split, speaker in sorted(n_left_out):
        told = report.get(split.value, {}).get("speakers", {}).get(speaker, {})
        rows.append([
            speaker, split.value, f"{told.get('minutes', 0):.1f}", str(told.get("n_clips", 0)),
            str(told.get("n_windows", 0)), str(n_left_out[split, speaker]),
        ])  # fmt: skip
    return rows


def _without_minutes(
    failed: Mapping[str, Mapping[str, str]], clips: Sequence[ClipOfPage]
) -> list[list[str]]:
    """Give stage, video and problem of each video of which there is no clip, once."""
    found: dict[str, list[str]] = {}
    known = {str(each.clip) for each in clips}
    for stage, problems in failed.items():
        for video, problem in sorted(problems.items()):
            if str(PurePosixPath(video).with_suffix("")) not in known:
                found.setdefault(video, [stage, video, problem])
    return list(found.values())


def _row(of: ClipOfPage, face_crops_dir: Path, mfccs_dir: Path, files: ClipFiles) -> Row:
    """Draw a clip, as far as its files can be read."""
    crops_path, mfcc_path = of.clip.path(face_crops_dir), of.clip.path(mfccs_dir)
    pictures = sound = speech = hidden = ""
    about: list[str] = []
    if not of.n_frames:
        return Row(of, "no picture can be read", "", "", "", "")
    with suppress(AsdtuneError):
        crops = files.crops(crops_path)
        # Each picture is the one in the middle of the stretch of sound that is drawn below it.
        middles = (np.arange(_N_PICTURES) + 0.5) * len(crops) / _N_PICTURES
        shown = crops[middles.astype(int)].astype(np.uint8)
        pictures = charts.picture_strip(shown, n_pictures=_N_PICTURES, quality=_JPEG_QUALITY)
        hidden = _path_along(~lips_in_sight(crops_path, len(crops)), of.n_frames)
        about += list(_hidden_shares(crops_path, len(crops)))
    with suppress(AsdtuneError):
        is_speech = has_speech(mfcc_path)
        if is_speech is not None and len(is_speech):  # else it is not known
            speech = _path_along(is_speech, of.n_frames)
            about.insert(0, f"speech in {_percent(is_speech.mean())}")
        samples = files.waveform(mfcc_path)
        width = min(round(_WIDTH * len(samples) / (SAMPLES_PER_FRAME * of.n_frames)), _WIDTH)
        if width >= _SOUND_STEP:
            sound = charts.sound_outline(samples, width=width, step=_SOUND_STEP)
    return Row(of, "; ".join(about), pictures, sound, speech, hidden)


def _hidden_shares(crops_path: Path, n_frames: int) -> Iterator[str]:
    """Say in which share of the frames lips cannot be read, and why."""
    told = read_npz(crops_path, *_HIDDEN)
    for name, why in _HIDDEN.items():
        marks = marks_in(told, name, n_frames)
        if marks is not None:
            share = ((marks != 0) == (name != "detected")).mean()
            if share > 0:
                yield f"{why} in {_percent(share)}"


def _path_along(marks: Marks, n_frames: int) -> str:
    """Give an SVG path along the marked frames, as wide as a strip."""
    scale = _WIDTH / n_frames
    return "".join(f"M{scale * begin:.1f},0H{scale * end:.1f}" for begin, end in runs_of(marks))


def _share_in_sight(of: ClipOfPage, face_crops_dir: Path) -> float:
    """Give the share of frames in which lips can be read; -1 where no file tells."""
    with suppress(AsdtuneError):
        if of.n_frames:
            return float(lips_in_sight(of.clip.path(face_crops_dir), of.n_frames).mean())
    return -1


def _n_rows(path: Path) -> int:
    try:
        return data_shape(path)[0]
    except (AsdtuneError, IndexError):
        return 0


def _even(clips: Sequence[ClipOfPage], n_clips: int) -> list[ClipOfPage]:
    """Choose so many clips, or all if there are no more, evenly."""
    at = np.linspace(0, len(clips) - 1, min(n_clips, len(clips))).round().astype(int)
    return [clips[i] for i in at]


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
