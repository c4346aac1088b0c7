"""Build the toolkit's detector and let it score a clip: a program for a process of its own.

Runs in an AnnoTheia checkout, with the Python of the toolkit's environment, by its path: it imports
nothing of asdtune. In: a JSON file, named by the first argument. Out: a JSON file, named by the
second: for each step what is wrong, or None. A step that is absent was not reached.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_LONGEST = 400  # characters of an error of the toolkit


def build(request: dict[str, Any]) -> Any:
    """Build the detector as the toolkit does, and see that it is one."""
    package = import_module(request["package"])
    detector = getattr(package, request["class"])(**request["conf"])
    base = import_module(f"{request['package']}.abs_active_speaker_detector").AbsASD
    if not isinstance(detector, base):
        raise TypeError(f"{request['class']} is no AbsASD")
    return detector


def compare_weights(detector: Any, request: dict[str, Any]) -> str | None:
    """Say which weights the detector does not hold as the checkpoint has them."""
    import torch

    path = request["conf"]["checkpoint_path"]
    expected = torch.load(path, map_location="cpu", weights_only=True)
    modules = [each for each in vars(detector).values() if isinstance(each, torch.nn.Module)]
    states = [each.state_dict() for each in modules]
    held = max(states, key=lambda state: len(state.keys() & expected.keys()), default={})
    wrong = [
        name
        for name, value in expected.items()
        if name not in held or not torch.equal(held[name].cpu(), value)
    ]
    if not wrong:
        return None
    return (
        f"{len(wrong)} of {len(expected)} tensors are not in the detector: {', '.join(wrong[:3])}"
    )


def score(detector: Any, request: dict[str, Any]) -> str | None:
    """Score a clip of noise, window by window; say what is wrong with what comes out."""
    import numpy as np

    size = request["window_size"]
    n_frames = 2 * size + 3
    rng = np.random.default_rng(0)
    waveform = (rng.standard_normal(n_frames * 640) * 3000).astype(np.int16)
    crops = rng.integers(0, 256, (n_frames, 112, 112), dtype=np.uint8)
    for centre in range(0, n_frames + size + 1, size):
        window = detector.preprocess_input(waveform, crops, centre, size, n_frames)
        scores = np.asarray(detector.get_asd_scores(*window))
        where = f"around frame {centre}"
        if scores.shape != (size, 2):
            return f"scores {where} have the shape {scores.shape} instead of ({size}, 2)"
        if not np.isfinite(scores).all():
            return f"scores {where} are not finite"
        if scores.min() < 0 or not np.allclose(scores.sum(1), 1, atol=1e-3):
            return f"scores {where} are no probabilities"
    return None


def main(request_path: str, answers_path: str) -> None:
    """Go through the steps, and write after each how it went."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    answers: dict[str, Any] = {}

    def answer(step: str, problem: str | None, missing: str | None = None) -> None:
        answers[step] = {"problem": problem, "missing_module": missing}
        Path(answers_path).write_text(json.dumps(answers), encoding="utf-8")

    detector: Any = None
    for step in ("load", "score"):
        try:
            if step == "load":
                detector = build(request)
                answer(step, compare_weights(detector, request))
            else:
                answer(step, score(detector, request))
        except Exception as error:  # whatever the toolkit does wrong is what is asked for
            text = " ".join(f"{type(error).__name__}: {error}".split())
            answer(step, text[:_LONGEST], getattr(error, "name", None))
            return


if __name__ == "__main__":
    # Python has put the folder of this file first, whose names are not meant to be imported.
    here = Path(__file__).resolve().parent
    sys.path[:] = [str(Path.cwd()), *(each for each in sys.path if Path(each).resolve() != here)]
    main(*sys.argv[1:])
