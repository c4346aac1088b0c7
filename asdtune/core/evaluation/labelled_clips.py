"""Whole clips in which somebody has marked who speaks when, scored frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asdtune.core.arrays import content_mark, n_video_frames, read_marks
from asdtune.core.corpus import Clip, Split, find_clips
from asdtune.core.evaluation.evaluation_sets import PRECISION, Progress, Scoring, SplitWindows
from asdtune.core.evaluation.labels import clips_called, label_files, read_spans
from asdtune.core.evaluation.scores_csv import write_frames
from asdtune.core.evaluation.spans import UNKNOWN, Span, check_spans, label_frames
from asdtune.core.evaluation.track_scoring import TrackScorer
from asdtune.core.evaluation.tracks import MAX_FRAMES, Track, take_turns
from asdtune.core.files import text_hash
from asdtune.core.rates import MFCC_PER_FRAME, seconds_of_frames
from asdtune.core.training.clips import ClipFiles
from asdtune.core.training.scoring import Scores
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from asdtune.core.models.network import Network

_N_NAMED = 3  # clips of which none can be used
_TOLERANCE_SECONDS = 0.5  # by which marks may go beyond the end
LABELS = "labels"  # the name of this evaluation set, which is no split


@dataclass(frozen=True)
class LabelledClip:
    """A clip and the label of each of its frames (n,).

    That is 1, 0, or -1 where nothing is marked, no face is seen, or the sound is not its own.
    """

    clip: Clip
    crops_path: Path
    mfcc_path: Path
    labels: npt.NDArray[np.int64]


class LabelledClips:
    """Whole clips in which somebody has marked who speaks when; every frame is judged by itself.

    It has the attributes of `SplitWindows`, with W = 1, N judged frames, and no kinds.
    """

    window_size = 1
    name = LABELS

    def __init__(
        self, labels: Path, face_crops_dir: Path, mfccs_dir: Path, *, scored_frames: int
    ) -> None:
        """Find the clips and label their frames; the network sees windows of `scored_frames`.

        Raises:
            AsdtuneError: The labels are bad, or are of no clip that is there.
        """
        self.scored_frames = scored_frames
        self.failures: dict[str, AsdtuneError] = {}
        self.clips: list[LabelledClip] = []
        self._files = ClipFiles()
        known = find_clips(face_crops_dir, what="face crops", made_by="crops")
        for clip, spans in self._read_spans(labels, known).items():
            try:
                check_spans(spans, clip=clip.name, where=labels)
                self.clips.append(self._labelled(clip, spans, face_crops_dir, mfccs_dir))
            except AsdtuneError as error:
                self.failures[str(clip)] = error
        if not self.clips:
            raise _none_of(self.failures, labels)
        self._frames = [np.flatnonzero(each.labels != UNKNOWN) for each in self.clips]
        self.labels = np.concatenate(
            [each.labels[rows] for each, rows in zip(self.clips, self._frames, strict=True)]
        )
        self.frame_labels = self.labels[:, None]
        self.speakers = self._of_frames([each.clip.speaker for each in self.clips])
        self.kinds = np.full(len(self.labels), "")

    @cached_property
    def fingerprint(self) -> str:
        """Tell the labels and the content of the files."""
        marks = [
            f"{each.clip} {content_mark(each.crops_path)} {content_mark(each.mfcc_path)} "
            f"{text_hash(each.labels.tobytes().hex())}"
            for each in self.clips
        ]
        return text_hash("\n".join(marks))

    def score(self, network: Network, role: str, batch_size: int) -> Scoring:
        """Score every clip as a whole, (N, 1); see `TrackScorer`. Nothing is stored."""
        scorer = TrackScorer(network, self.scored_frames, PRECISION, batch_size)
        parts, n_clips = [], len(self.clips)
        for i, each in enumerate(self.clips):
            crops, mfcc = self._files.crops(each.crops_path), self._files.mfcc(each.mfcc_path)
            scores = scorer.score(crops, np.arange(len(each.labels)), np.asarray(mfcc))
            parts.append(scores[each.labels != UNKNOWN])
            yield Progress(f"clips of the {role}", i + 1, n_clips)
        return np.concatenate(parts)[:, None]

    def tracks(self, n_clips: int) -> Iterator[Track]:
        """Give clips as they are; speakers take turns."""
        for each in take_turns(self.clips, lambda each: each.clip.speaker)[:n_clips]:
            crops = np.asarray(self._files.crops(each.crops_path)[:MAX_FRAMES])
            mfcc = np.asarray(self._files.mfcc(each.mfcc_path))
            n = min(len(each.labels), MAX_FRAMES)
            yield Track(each.crops_path, crops[:n], mfcc, each.labels[:n])

    def write_scores(self, path: Path, scores: Scores) -> None:
        """Write `clip`, `frame`, `label` and `score`."""
        clips = self._of_frames([str(each.clip) for each in self.clips])
        columns = {"clip": clips, "frame": np.concatenate(self._frames), "label": self.labels}
        write_frames(pd.DataFrame(columns), scores, path)

    def about(self) -> dict[str, Any]:
        """Say what was scored."""
        splits = {each.clip.split.value for each in self.clips}
        about = {"of": LABELS, "split": LABELS, "n_clips": len(self.clips)}
        about["splits_of_clips"] = [split.value for split in Split if split.value in splits]
        return {**about, "n_windows": len(self.labels), "n_frames": len(self.labels)}

    def _of_frames(self, of_clips: list[str]) -> npt.NDArray[np.str_]:
        """Repeat a word of each clip for each of its judged frames, (N,)."""
        return np.repeat(of_clips, [len(rows) for rows in self._frames])

    def _read_spans(self, labels: Path, known: list[Clip]) -> dict[Clip, list[Span]]:
        """Read all files of labels; a bad file of a folder, or a clip unknown, stops no other."""
        spans_of: dict[Clip, list[Span]] = {}
        for path in label_files(labels):
            try:
                found = read_spans(path, known)
            except AsdtuneError as error:
                if path == labels:
                    raise
                self.failures[path.relative_to(labels).as_posix()] = error
                continue
            for name, spans in found.items():
                try:
                    spans_of.setdefault(_named(name, known, path), []).extend(spans)
                except AsdtuneError as error:
                    self.failures[name] = error
        return spans_of

    def _labelled(
        self, clip: Clip, spans: list[Span], face_crops_dir: Path, mfccs_dir: Path
    ) -> LabelledClip:
        crops_path, mfcc_path = clip.path(face_crops_dir), clip.path(mfccs_dir)
        crops, mfcc = self._files.crops(crops_path), self._files.mfcc(mfcc_path)
        n = n_video_frames(crops, mfcc)
        ends = [span.end_second for span in spans if isfinite(span.end_second)]
        last, length = max(ends, default=0.0), seconds_of_frames(n)
        if last > length + _TOLERANCE_SECONDS:
            raise AsdtuneError(
                f"it is marked up to {last:g} s, and ends at {length:g} s",
                where=crops_path, fix="count seconds from the beginning of the clip, not of the "
                "video it was cut from",
            )  # fmt: skip
        labels = label_frames(spans, n)
        detected = read_marks(crops_path, "detected", len(crops))
        if detected is not None:
            labels[detected[:n] == 0] = UNKNOWN
        padded = read_marks(mfcc_path, "padded", len(mfcc))
        if padded is not None:
            of_frames = padded[: MFCC_PER_FRAME * n].reshape(n, MFCC_PER_FRAME)
            labels[(of_frames != 0).any(1)] = UNKNOWN
        if (labels == UNKNOWN).all():
            raise AsdtuneError(
                "nothing of what is marked lies within the clip, or no face is seen there, or its "
                "sound has ended",
                where=crops_path, fix="check start_second and end_second: they count from the "
                "beginning of the clip",
            )  # fmt: skip
        return LabelledClip(clip, crops_path, mfcc_path, labels)


def _none_of(failures: dict[str, AsdtuneError], where: Path) -> AsdtuneError:
    """Tell why no clip can be used, by the first few."""
    told = [f"{name}: {error.problem}" for name, error in failures.items()]
    told[_N_NAMED:] = [f"and {len(told) - _N_NAMED} more"] * (len(told) > _N_NAMED)
    fixes = dict.fromkeys(error.fix for error in [*failures.values()][:_N_NAMED] if error.fix)
    return AsdtuneError(
        f"no labelled clip can be used; {'; '.join(told)}",
        where=where, fix="; ".join(fixes) or None,
    )  # fmt: skip


def _named(name: str, clips: list[Clip], where: Path) -> Clip:
    """Find a clip by its name, or by its place, though another system has spelled it."""
    found = clips_called(name, clips)
    if len(found) == 1:
        return found[0]
    if found:
        raise AsdtuneError(
            f"{len(found)} clips are called {name}", where=where,
            fix="write it as <split>/<speaker>/<clip>, as it lies below the face crops; a file of "
            "one clip is called like that clip, or lies at such a place",
        )  # fmt: skip
    raise AsdtuneError(
        f"no clip is called {name}", where=where,
        fix=f"names are those of the face crops, such as {clips[0].name}, without .npz",
    )  # fmt: skip


Evaluated = SplitWindows | LabelledClips  # what an evaluation scores
