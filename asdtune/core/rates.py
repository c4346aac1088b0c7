"""The rates and sizes that TalkNet fixes, and the one rounding rule between them.

Video frames run at 25 per second, MFCC frames at 100, audio samples at 16,000. A user cannot
choose any of these: the published checkpoints were trained on them.
"""

from __future__ import annotations

from asdtune.errors import UsageError

VIDEO_FPS = 25
MFCC_FPS = 100
SAMPLE_RATE = 16_000  # Hz, mono, int16

MFCC_PER_FRAME = MFCC_FPS // VIDEO_FPS  # 4 MFCC frames per video frame
SAMPLES_PER_FRAME = SAMPLE_RATE // VIDEO_FPS  # 640 audio samples per video frame
N_MFCC = 13
CROP_SIZE = 112  # pixels, both sides of a face crop


def frames_of_seconds(seconds: float) -> int:
    """Count the whole video frames nearest to a duration.

    Examples:
        >>> frames_of_seconds(20)
        500
        >>> frames_of_seconds(2.04)
        51
    """
    return round(seconds * VIDEO_FPS)


def seconds_of_frames(n_frames: int) -> float:
    """Give the duration of a number of video frames, in seconds.

    Examples:
        >>> seconds_of_frames(51)
        2.04
    """
    return n_frames / VIDEO_FPS


def check_window_size(window_size: int) -> int:
    """Give the window size back, or refuse one that has no centre.

    Raises:
        UsageError: It is even, or below 1.
    """
    if window_size < 1 or window_size % 2 == 0:
        raise UsageError(
            f"a window must have an odd number of frames, not {window_size}",
            where="--window-size",
            fix="choose 25 or 51, as the published checkpoints have",
        )
    return window_size
