"""Windows of silent faces: pictures of a moment in which that person does not speak.

Such a moment is a pause: frames in a row that show the speaker's face while their own sound has no
speech, without those next to speech, in which lips move already or still. A pause that is shorter
than a window is shown forwards and backwards until it fills one; those pictures lie in files of
their own, `silent_faces/<split>/<speaker>/` beside the splits. The sound of a window is by turns
another speaker's speech and silence, so that neither tells the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdtune.core.arrays import map_data, runs_of, write_npz
from asdtune.core.corpus import Clip, Split
from asdtune.core.files import relative
from asdtune.core.prepare.candidates import Candidate, read_clip
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.windows import COLUMNS, Window, WindowKind, read_windows, write_windows

if TYPE_CHECKING:
    import numpy.typing as npt

    from asdtune.core.prepare.candidates import Centres

SILENT_FACES_DIR = "silent_faces"  # beside the splits
MIN_PAUSE_FRAMES = 8
_SPEECH_SHARE = 0.5  # of a window of another's speech, at the least
_LIP_FRAMES = 4  # before speech and after it, in which lips move
_MAX_WINDOWS_PER_PAUSE = 8
_USUAL_WINDOWS_PER_PAUSE = 4  # where there are pauses enough


@dataclass(frozen=True)
class Pause:
    """Frames `start` to `end`, not included, in which the speaker of a clip is seen and silent."""

    clip: Candidate
    start: int
    end: int

    @property
    def n_frames(self) -> int:
        """How long it is."""
        return self.end - self.start


def find_pauses(clips: Sequence[Candidate]) -> list[Pause]:
    """Find the pauses of at least 8 frames; speakers take turns, each with the longest first."""
    by_speaker: dict[str, list[Pause]] = {}
    for clip in clips:
        found = (_inside(clip, start, end) for start, end in runs_of(clip.is_silent))
        of_speaker = by_speaker.setdefault(clip.clip.speaker, [])
        of_speaker += [pause for pause in found if pause.n_frames >= MIN_PAUSE_FRAMES]
    for pauses in by_speaker.values():
        pauses.sort(key=lambda pause: -pause.n_frames)
    turns = zip_longest(*by_speaker.values())
    return [pause for turn in turns for pause in turn if pause is not None]


def sample_silent_faces(
    clips: Sequence[Candidate],
    n_windows: int,
    *,
    rng: np.random.Generator,
    output_dir: Path,
) -> tuple[list[Window], list[str]]:
    """Sample windows of silent faces from the clips of one split, and write the looped pauses.

    Args:
        clips: Clips that hold at least one window.
        n_windows: How many to sample; fewer come where the pauses do not give so many.
        rng: Source of all choices.
        output_dir: The folder of the splits.

    Returns:
        The windows, with paths relative to the splits; and a note where they are fewer.
    """
    all_pauses = find_pauses(clips)
    pauses = all_pauses[: -(-n_windows // _USUAL_WINDOWS_PER_PAUSE)]
    pictures = [_pictures_of(pause, output_dir) for pause in pauses]
    windows = []
    for i in range(min(n_windows, _MAX_WINDOWS_PER_PAUSE * len(pauses))):
        n_before, i_pause = divmod(i, len(pauses))
        is_under_speech = (i + n_before) % 2 == 0  # a pause gets both by turns
        audio, centre = _sample_sound(pauses[i_pause].clip, clips, is_under_speech, rng)
        name, path, centres = pictures[i_pause]
        windows.append(
            Window(
                video_id=name,
                audio_id=audio.clip.name,
                label=0,
                video_window_center=int(rng.choice(centres)),
                video_path=path,
                audio_path=relative(audio.mfcc_path, output_dir),
                audio_window_center=centre * MFCC_PER_FRAME,
                kind=WindowKind.SILENT.value,
            )
        )
    notes = []
    if len(windows) < n_windows:
        why = _why_few(clips, all_pauses)
        notes = [f"only {len(windows)} of {n_windows} windows are {WindowKind.SILENT}: {why}"]
    return windows, notes


def _why_few(clips: Sequence[Candidate], pauses: Sequence[Pause]) -> str:
    if not any(clip.knows_speech for clip in clips):
        return "the MFCC do not tell where there is speech; run mfcc again"
    n_speakers = len({pause.clip.clip.speaker for pause in pauses})
    return (
        f"{len(pauses)} pauses of {MIN_PAUSE_FRAMES} frames or more, of {n_speakers} speakers; "
        "when you cut videos, keep moments in which the speakers listen"
    )


def add_silent_faces(csv_path: Path, window_size: int, output_dir: Path) -> Path | None:
    """Give a split without silent faces some, to judge a network by: a third as many as it has.

    Args:
        csv_path: The split.
        window_size: W, in video frames.
        output_dir: Where `windows_<split>.csv`, and looped pauses, are written.

    Returns:
        That CSV; None where its clips hold no pause, or do not tell where there is speech.

    Raises:
        AsdtuneError: The split or a file it names is bad.
    """
    table = read_windows(csv_path)
    own = table[table.label == 1].drop_duplicates("video_path")
    clips = []
    for video, audio in zip(map(Path, own.video_path), map(Path, own.audio_path), strict=True):
        clip = Clip(Split.TEST, video.parent.name, video.stem)
        clips.append(read_clip(clip, video, audio, window_size, _SPEECH_SHARE))
    silent, _ = sample_silent_faces(
        [clip for clip in clips if len(clip.audio_centres)],
        round(len(table) / 3),
        rng=np.random.default_rng(0),
        output_dir=output_dir,
    )
    if not silent:
        return None
    for column in ("video_path", "audio_path"):
        table[column] = [relative(Path(path), output_dir) for path in table[column]]
    windows = [Window(*row) for row in table[list(COLUMNS)].itertuples(index=False)]
    path = output_dir / f"windows_{csv_path.stem}.csv"
    write_windows(path, [*windows, *silent])
    return path


def _inside(clip: Candidate, start: int, end: int) -> Pause:
    """Leave out what is next to speech; the beginning and the end of a clip are not."""
    before = _LIP_FRAMES if start > 0 else 0
    after = _LIP_FRAMES if end < clip.n_frames else 0
    return Pause(clip, start + before, end - after)


def _pictures_of(pause: Pause, output_dir: Path) -> tuple[str, str, Centres]:
    """Give name and path of the pictures of a pause, and the centres of windows within them.

    They lie in the clip itself if the pause fills a window, or in a loop that is written here.
    """
    clip, window_size = pause.clip.clip, pause.clip.window_size
    half = window_size // 2
    if pause.n_frames >= window_size:
        path = relative(pause.clip.crops_path, output_dir)
        return clip.name, path, np.arange(pause.start + half, pause.end - half)
    name = f"{clip.name}_pause{pause.start:05d}"
    loop = Path(SILENT_FACES_DIR, clip.split.value, clip.speaker, f"{name}.npz")
    frames = back_and_forth(pause.start, pause.end, window_size + half)
    write_npz(output_dir / loop, data=map_data(pause.clip.crops_path)[frames])
    return name, loop.as_posix(), np.arange(half, len(frames) - half)


def back_and_forth(start: int, end: int, n: int) -> npt.NDArray[np.int64]:
    """Give n frames that go from `start` to `end`, not included, and back, again and again.

    Examples:
        >>> back_and_forth(3, 6, 7).tolist()
        [3, 4, 5, 4, 3, 4, 5]
    """
    forth = np.arange(start, end)
    return np.resize(np.concatenate([forth, forth[-2:0:-1]]), n)


def _sample_sound(
    shown: Candidate, clips: Sequence[Candidate], is_speech: bool, rng: np.random.Generator
) -> tuple[Candidate, int]:
    """Sample speech, or silence if there is any: of another speaker, or else of another clip."""
    centres_of = attrgetter("audio_centres" if is_speech else "quiet_centres")
    able = [clip for clip in clips if len(centres_of(clip))]
    if not able:  # speech is in every clip that holds a window
        return _sample_sound(shown, clips, True, rng)
    others = [clip for clip in able if clip.clip.speaker != shown.clip.speaker]
    others = others or [clip for clip in able if clip is not shown] or able
    speakers = sorted({clip.clip.speaker for clip in others})
    speaker = speakers[rng.integers(len(speakers))]
    of_speaker = [clip for clip in others if clip.clip.speaker == speaker]
    audio = of_speaker[rng.integers(len(of_speaker))]
    return audio, int(rng.choice(centres_of(audio)))
