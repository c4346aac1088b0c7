"""The windows of a split as an evaluation scores them; `labelled_clips` has the other kind."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdtune.core.evaluation.scores_csv import write_windows
from asdtune.core.evaluation.tracks import Track, tracks_of
from asdtune.core.files import content_hash
from asdtune.core.prepare.silent_faces import add_silent_faces
from asdtune.core.training.dataset import WindowDataset
from asdtune.core.training.scoring import Scores, score_by_clip
from asdtune.core.windows import WindowKind
from asdtune.errors import AsdtuneError

if TYPE_CHECKING:
    from asdtune.core.models.network import Network

PRECISION = "fp32"


@dataclass(frozen=True)
class Progress:
    """How much is done of how much; `n_total` is None where that is not known."""

    what: str
    n_done: int
    n_total: int | None


Scoring = Generator[Progress, None, Scores]


class SplitWindows:
    """N windows of W frames.

    Attributes:
        name: Of the split.
        window_size: W.
        windows: Themselves.
        labels: Shape (N,), 1 or 0.
        frame_labels: Shape (N, W), 1 or 0.
        speakers: Shape (N,).
        kinds: Shape (N,), of `WindowKind`.
        fingerprint: Of their content.
        failures: What could not be taken, and why: nothing.
    """

    def __init__(
        self, dataset: Path, window_size: int, *, silent_faces_dir: Path | None = None
    ) -> None:
        """Read them.

        `silent_faces_dir` is where silent faces are drawn for a split that has none, so that it
        tells whether a network still knows who is speaking; None to leave it as it is.

        Raises:
            AsdtuneError: The split or a file it names is bad.
        """
        windows = WindowDataset(dataset, window_size)
        has_silent = (windows.kinds == WindowKind.SILENT.value).any()
        if silent_faces_dir is not None and not has_silent:
            with_silent = add_silent_faces(dataset, window_size, silent_faces_dir)
            if with_silent is not None:
                windows = WindowDataset(with_silent, window_size)
        self.windows = windows
        self._dataset_hash = content_hash(dataset)
        self.name, self.window_size = dataset.stem, window_size
        self.labels, self.kinds, self.speakers = windows.labels, windows.kinds, windows.speakers
        self.frame_labels = windows.frame_labels
        self.fingerprint = windows.fingerprint
        self.failures: dict[str, AsdtuneError] = {}

    def score(self, network: Network, role: str, batch_size: int) -> Scoring:
        """Score all windows, (N, W)."""
        scores = np.empty((len(self.windows), self.window_size), np.float32)
        n_done = 0
        for rows, part in score_by_clip(network, self.windows, batch_size=batch_size):
            scores[rows] = part
            n_done += len(rows)
            yield Progress(f"windows of the {role}", n_done, len(self.windows))
        return scores

    def tracks(self, n_clips: int) -> Iterator[Track]:
        """Give two tracks of each clip, with its own sound and with other."""
        return tracks_of(self.windows, n_clips)

    def write_scores(self, path: Path, scores: Scores) -> None:
        """Write the windows' columns, `frame` and `score`."""
        write_windows(self.windows.table, scores, path)

    def about(self) -> dict[str, Any]:
        """Say what was scored."""
        about = {"of": "split", "split": self.name, "dataset_blake2b": self._dataset_hash}
        n = len(self.windows)
        return {**about, "n_windows": n, "n_frames": n * self.window_size}
