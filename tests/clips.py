"""Face crops and MFCC of made-up clips, as `crops` and `mfcc` write them, and a row of a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asdtune.core.prepare.splits import make_splits
from asdtune.core.windows import COLUMNS

HEADER = ",".join(COLUMNS)
GOOD_ROW = "a,a,1,50,face_crops/training/s/a.npz,mfccs/training/s/a.npz,200,positive"


def write_clip(
    root: Path,
    name: str,
    n_frames: int,
    *,
    n_rows: int | None = None,
    without_face: Sequence[int] = (),
    n_padded: int = 1,
    only_data: bool = False,
    speech: Sequence[int] | None = None,
    several_faces: Sequence[int] = (),
) -> None:
    """Write crops and MFCC whose values tell frame and row."""
    for stage in ("face_crops", "mfccs"):
        (root / stage / name).parent.mkdir(parents=True, exist_ok=True)
    crops = np.zeros((n_frames, 112, 112), np.uint8) + np.arange(n_frames)[:, None, None] % 256
    n_rows = 4 * n_frames if n_rows is None else n_rows
    mfcc = np.repeat(np.arange(n_rows, dtype=np.float32)[:, None], 13, 1)
    detected = ~np.isin(np.arange(n_frames), without_face)
    padded = np.arange(n_rows) >= n_rows - n_padded
    n_faces = 1 * detected + np.isin(np.arange(n_frames), several_faces)
    more_crops = {} if only_data else {"detected": detected, "n_faces": n_faces.astype(np.uint8)}
    more_mfcc = {} if only_data else {"padded": padded}
    if speech is not None:
        more_mfcc["speech"] = np.isin(np.arange(n_frames), speech).astype(np.float32)
    np.savez(root / "face_crops" / f"{name}.npz", data=crops.astype(np.uint8), **more_crops)
    np.savez(root / "mfccs" / f"{name}.npz", data=mfcc, **more_mfcc)


def write_pausing_people(root: Path, n_speakers: dict[str, int]) -> Path:
    """Write clips of people who pause, and splits of the tutorial's four kinds; give their folder.

    Windows have 9 frames. Each person has two clips of 80 frames with a pause: of every other
    person it is too short for a window.

    Args:
        root: Where `face_crops`, `mfccs` and `splits` go.
        n_speakers: How many each split has.
    """
    number = 0
    for split, n in n_speakers.items():
        for _ in range(n):
            for i_clip in range(2):
                speech = [i for i in range(80) if not 27 <= i < 44 - number % 2]
                name = f"{split}/s{number}/s{number}_{i_clip:04d}"
                write_clip(root, name, 80, speech=speech)
            number += 1
    for _ in make_splits(
        root / "face_crops", root / "mfccs", root / "splits",
        window_size=9, windows_per_sample=6, n_samples=None, seed=0,
        silent_face_share=0.0, min_speech_share=0.5, all_clips=False, overwrite=False,
    ):  # fmt: skip
        pass
    return root / "splits"
