"""Build the toolkit's detector and let it score a clip of noise.

Its text is run by `python -c` in a checkout, by the Python of the toolkit's environment: it imports
nothing of asdtune. In: a JSON object, as the first argument. It ends with an error where something
is wrong, whose last line says what.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

import numpy as np


def main(package: str, class_name: str, checkpoint_path: str, window_size: int) -> None:
    """Load the checkpoint, score window by window, and look at what comes out."""
    detector_class = getattr(import_module(package), class_name)
    detector = detector_class(checkpoint_path=checkpoint_path, device="cpu")
    n_frames = 2 * window_size + 3
    rng = np.random.default_rng(0)
    waveform = (rng.standard_normal(n_frames * 640) * 3000).astype(np.int16)
    crops = rng.integers(0, 256, (n_frames, 112, 112), dtype=np.uint8)
    for centre in range(0, n_frames + window_size + 1, window_size):
        window = detector.preprocess_input(waveform, crops, centre, window_size, n_frames)
        scores = np.asarray(detector.get_asd_scores(*window))
        if scores.shape != (window_size, 2):
            sys.exit(f"scores have the shape {scores.shape} instead of ({window_size}, 2)")
        if not (scores >= 0).all() or not np.allclose(scores.sum(1), 1, atol=1e-3):
            sys.exit(f"scores around frame {centre} are no probabilities")


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
