"""Which recipe teaches sync and keeps who is speaking: cross-validation over speakers.

    python -m tests.bench.recipes FOLDER CONVERSATIONS MODELS --network lr-asd
        [--variants "default,no distillation"] [--only-folds 0,2] [--window-size 25]

FOLDER holds `face_crops/` and `mfccs/` as `crops` and `mfcc` have written them, of any splits: the
speakers are dealt anew into five folds of about as many minutes. Each fold is the test set once; of
the others three speakers choose the epoch. CONVERSATIONS is a folder that `conversations.py` reads,
MODELS one with `<network>_ava.model` and `<network>_talkset.model`.

A variant is `base` with one thing changed, or two. Each is judged on windows of
speakers it never saw, by kind (area under the ROC curve, balanced by speaker), and on the
conversations (mAP over frames, accuracy at 0.5 and at the best threshold). The visual encoder is
frozen in all: its features of whole clips, and of the windows of the conversations, are computed
once and shared. (In `train` a window sees nothing beyond its edges. What that changes was measured:
see the table.) Every run adds a line to `--out`, so that a stopped benchmark goes on; the table is
printed at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asdtune.commands.train import training_settings
from asdtune.core.arrays import data_shape, map_data
from asdtune.core.files import content_hash
from asdtune.core.metrics import accuracy, average_precision, score_of_kinds, summarize_kinds
from asdtune.core.models.checkpoints import load_network
from asdtune.core.models.network import Network
from asdtune.core.prepare.splits import make_splits
from asdtune.core.rates import MFCC_PER_FRAME
from asdtune.core.training.dataset import Batch, Rows, WindowDataset
from asdtune.core.training.devices import prepare_network
from asdtune.core.training.distributed import Ranks
from asdtune.core.training.freezing import Freeze
from asdtune.core.training.losses import logits_of
from asdtune.core.training.optimizer import averaged_copy, make_optimizer
from asdtune.core.training.run_state import TrainState
from asdtune.core.training.schedule import plan_epochs
from asdtune.core.training.scoring import score_windows
from asdtune.core.training.settings import TrainingSettings, resolve_settings
from asdtune.core.training.trainer import learn_epoch
from asdtune.core.windows import WindowKind
from asdtune.project import Project
from tests.bench.conversations import Face, best_accuracy, read_faces

N_FOLDS = 5
N_VALIDATION_SPEAKERS = 3
BLOCK_FRAMES, REACH = 150, 9  # at once, and how far the encoders of both networks look
CPU = torch.device("cpu")
DEFAULT, UNTUNED = "base", "untuned"
# Beside the defaults of `train`: of the variants, the last one won, and is the default since.
BASE = {"distillation": 3.0}
VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "as before": {
        "weights": "talkset", "learning_rate": 3e-3, "total_epochs": 12, "batchnorm": "adapt",
        "distillation": 0.0, "silent_faces": False, "pauses": "speaking",
    },
    "no silent faces": {"silent_faces": False},
    "no distillation": {"distillation": 0.0},
    "distillation 1": {"distillation": 1.0},
    "distillation 0.3": {"distillation": 0.3},
    "norms adapt": {"batchnorm": "adapt"},
    "TalkSet weights": {"weights": "talkset"},
    "pauses count as speaking": {"pauses": "speaking"},
    "pauses not counted": {"pauses": "not counted"},
    "rate 3e-3": {"learning_rate": 3e-3},
    "rate 3e-4": {"learning_rate": 3e-4},
    "drawn to the start instead of distillation (L2-SP)": {"distillation": 0.0, "to_start": 10.0},
    "audio encoder frozen too": {"encoder_rate": 1e-9},
    "contrast 0.3": {"contrast": 0.3},
    "moving mean 0.99": {"ema_decay": 0.99},
    "pauses not counted and distillation 1": {"pauses": "not counted", "distillation": 1.0},
}  # fmt: skip
_OWN = ("weights", "silent_faces", "pauses", "to_start")


def main() -> None:
    """Run what is missing of the variants, and print a table of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("folder", "conversations", "models"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--network", default="lr-asd")
    parser.add_argument("--variants", default=",".join([UNTUNED, *VARIANTS]))
    parser.add_argument("--only-folds", default=",".join(map(str, range(N_FOLDS))))
    parser.add_argument("--window-size", type=int, default=25)
    parser.add_argument("--windows-per-sample", type=int, default=50)
    parser.add_argument("--work", type=Path, default=Path("recipes"))
    parser.add_argument("--out", type=Path, default=Path("recipes.jsonl"))
    args = parser.parse_args()
    names = [name for name in [UNTUNED, *VARIANTS] if name in args.variants.split(",")]
    of_table = {
        "network": args.network,
        "window_size": args.window_size,
        "windows_per_sample": args.windows_per_sample,
    }
    bench = Bench(args)
    for fold in map(int, args.only_folds.split(",")):
        for name in names:
            key = {**of_table, "variant": name, "fold": fold}
            if any(key.items() <= line.items() for line in read_lines(args.out)):
                continue
            begun = time.monotonic()
            found = bench.run(name, fold)
            line = {**key, "seconds": round(time.monotonic() - begun, 1), **found}
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
    lines = [line for line in read_lines(args.out) if of_table.items() <= line.items()]
    print_table(lines)


class ClipFeatures:
    """Windows whose pictures are features of whole clips."""

    def __init__(self, windows: WindowDataset, features: dict[Path, np.ndarray]) -> None:
        self.windows, self.window_size = windows, windows.window_size
        self._features = features

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, rows: Rows) -> Batch:
        pictures = np.stack(
            [
                self._features[self.windows.video_paths[i]][start : start + self.window_size]
                for i, start in zip(rows, self.windows.video_starts[rows], strict=True)
            ]
        )
        return Batch(pictures, self.windows.mfcc(rows), self.windows.learned_labels[rows])


class Bench:
    """What runs share: folds, features, conversations."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folds = deal_speakers(args.folder / "face_crops", N_FOLDS)
        self.faces = list(read_faces(args.conversations))
        self.stem = args.network.replace("-", "_")
        self._stores: dict[str, dict[Path, np.ndarray]] = defaultdict(dict)

    def run(self, name: str, fold: int) -> dict[str, Any]:
        """Tune by one recipe on all speakers but those of a fold, and judge."""
        variant = dict(VARIANTS.get(name, {}))
        weights = variant.get("weights", "ava")
        splits = write_fold(
            self.args, self.folds, fold, has_silent=variant.get("silent_faces", True)
        )
        judged = write_fold(self.args, self.folds, fold, has_silent=True)
        settings = settings_of(
            self.args.network, self._file(weights), variant, self.args.window_size
        )
        windows = WindowDataset(splits / "training.csv", settings.window_size)
        label_pauses(windows, variant.get("pauses", "not speaking"))
        held_out = {
            split: WindowDataset(judged / f"{split}.csv", settings.window_size)
            for split in ("validation", "test")
        }
        feeds = {
            split: self._feed(each, weights)
            for split, each in {"training": windows, **held_out}.items()
        }
        network = self._load(weights, settings)
        epoch = 0
        if name != UNTUNED:
            epoch = tune(
                network, windows, feeds, held_out["validation"], settings,
                to_start=variant.get("to_start", 0.0),
            )  # fmt: skip
        by_kind = judge(network, feeds["test"], held_out["test"])
        return {
            "epoch": epoch,
            "AUC": {kind: entry["AUC"] for kind, entry in by_kind.items() if "AUC" in entry},
            "conversations": self._judge_conversations(network, weights),
        }

    def _file(self, weights: str) -> Path:
        return Path(self.args.models / f"{self.stem}_{weights}.model")

    def _load(self, weights: str, settings: TrainingSettings) -> Network:
        _, network = load_network(self._file(weights))
        prepare_network(network, settings.precision, CPU)
        return network

    def _feed(self, windows: WindowDataset, weights: str) -> ClipFeatures:
        store = self._stores[weights]
        _, network = load_network(self._file(weights))
        for path in sorted(set(windows.video_paths) - set(store)):
            cached = (
                self.args.work / "features" / f"{self.stem}_{weights}" / f"{content_hash(path)}.npy"
            )
            if not cached.is_file():
                cached.parent.mkdir(parents=True, exist_ok=True)
                np.save(cached, features_of(network, map_data(path)))
            store[path] = np.load(cached)
        return ClipFeatures(windows, store)

    def _judge_conversations(self, network: Network, weights: str) -> dict[str, Any]:
        """Score the faces as `TrackScorer` does, with features that were computed once."""
        size, found = self.args.window_size, defaultdict(list)
        for i, face in enumerate(self.faces):
            rows = np.arange(len(face.labels))
            rows = np.resize(rows, max(size, len(rows)))
            starts = np.array([*range(0, len(rows) - size, size // 2), len(rows) - size])
            chosen = rows[starts[:, None] + np.arange(size)]  # (n, W)
            pictures = self._embedded(face, i, chosen, weights)
            sound = face.mfcc.reshape(-1, MFCC_PER_FRAME, 13)[chosen].reshape(len(chosen), -1, 13)
            with torch.inference_mode():
                scores = score_batch(network, pictures, sound)
            totals, counts = np.zeros(len(rows)), np.zeros(len(rows))
            for at, of_window in zip(starts, scores, strict=True):
                totals[at : at + size] += of_window
                counts[at : at + size] += 1
            known = face.labels >= 0
            of_face = (totals / counts)[: len(known)][known]
            group = "newsreaders" if face.conversation == "newsreaders" else "others"
            found[group].append((face.labels[known], of_face))
        return {name: figures_of(*map(np.concatenate, zip(*parts, strict=True)))
                for name, parts in found.items()}  # fmt: skip

    def _embedded(self, face: Face, number: int, chosen: Rows, weights: str) -> np.ndarray:
        size = self.args.window_size
        cached = self.args.work / "conversations" / f"{self.stem}_{weights}_{size}_{number}.npy"
        if not cached.is_file():
            cached.parent.mkdir(parents=True, exist_ok=True)
            _, network = load_network(self._file(weights))
            network.eval()
            parts = []
            with torch.inference_mode():
                for begin in range(0, len(chosen), 4):
                    crops = torch.from_numpy(face.crops[chosen[begin : begin + 4]])
                    parts.append(network.encode_frames(crops).numpy())
            np.save(cached, np.concatenate(parts))
        return np.load(cached)


def tune(
    network: Network,
    windows: WindowDataset,
    feeds: dict[str, ClipFeatures],
    validation: WindowDataset,
    settings: TrainingSettings,
    *,
    to_start: float,
) -> int:
    """Train as `train` does, and give the best epoch, whose weights the network then has."""
    ranks, torch_start = Ranks(0, 1, CPU), {}
    freeze = Freeze.VISUAL
    torch.manual_seed(settings.seed)
    start_scores = None
    if settings.distillation:
        kinds = (WindowKind.POSITIVE.value, WindowKind.SILENT.value)
        rows = np.flatnonzero(np.isin(windows.kinds, kinds))
        start_scores = np.full((len(windows), settings.window_size), np.nan, np.float32)
        start_scores[rows] = scores_of(network, feeds["training"], rows)
    state = TrainState(
        network, make_optimizer(network, settings), averaged_copy(network, settings.ema_decay)
    )
    if to_start:
        torch_start = {name: each.detach().clone() for name, each in network.named_parameters()}
    best, best_score, best_state = 0, -1.0, {}
    for plan in plan_epochs(settings):
        plan = replace(plan, freeze=freeze)
        for _ in learn_epoch(
            state, feeds["training"], windows, plan, start_scores, settings, ranks
        ):
            pull(network, torch_start, to_start * settings.learning_rate)
        score = score_of_kinds(judge(state.judged, feeds["validation"], validation))
        if score > best_score:
            best, best_score = plan.epoch, score
            found = state.judged.state_dict()
            best_state = {name: value.clone() for name, value in found.items()}
        state.begin_epoch(plan.epoch + 1)
    network.load_state_dict(best_state)
    return best


def pull(network: Network, start: dict[str, torch.Tensor], share: float) -> None:
    """Draw weights towards where they started, by a share of the way."""
    with torch.no_grad():
        for name, weight in network.named_parameters() if start else ():
            if weight.requires_grad:
                weight.lerp_(start[name], share)


def judge(
    network: Network, feed: ClipFeatures, windows: WindowDataset
) -> dict[str, dict[str, float]]:
    """Judge a network by kind of window."""
    scores = scores_of(network, feed, np.arange(len(windows)))
    return summarize_kinds(windows.kinds, windows.speakers, windows.frame_labels, scores)


def scores_of(network: Network, feed: ClipFeatures, rows: Rows) -> np.ndarray:
    """Score windows of stored features, shape (n, W)."""
    return np.concatenate(
        list(score_windows(network, feed, batch_size=64, rows=rows, freeze=Freeze.VISUAL))
    )


def score_batch(network: Network, pictures: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Score windows of embeddings (n, W, C) and MFCC (n, 4W, 13) in eval mode, shape (n, W)."""
    network.eval()
    tensors = (torch.from_numpy(each) for each in (pictures, np.float32(sound)))
    logits = logits_of(network, *tensors, Freeze.VISUAL)
    return logits.audio_visual.softmax(-1)[..., 1].numpy()


def figures_of(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Give how good the scores of frames are, in percent."""
    best, threshold = best_accuracy(labels, scores)
    return {
        "mAP": average_precision(labels, scores),
        "accuracy": accuracy(labels, scores),
        "best_accuracy": best,
        "best_threshold": threshold,
    }


def features_of(network: Network, crops: np.ndarray) -> np.ndarray:
    """Encode the frames of a whole clip, block by block, each with the frames around it."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for begin in range(0, len(crops), BLOCK_FRAMES):
            first = max(0, begin - REACH)
            end = min(len(crops), begin + BLOCK_FRAMES)
            seen = torch.from_numpy(np.array(crops[first : end + REACH]))[None]
            parts.append(network.encode_frames(seen)[0, begin - first :][: end - begin].numpy())
    return np.concatenate(parts)


def label_pauses(windows: WindowDataset, how: str) -> None:
    """Let frames without speech in positive windows be not speaking, speaking, or not counted."""
    if how == "speaking":
        windows.learned_labels = np.repeat(windows.labels[:, None], windows.window_size, 1)
    if how == "not speaking":
        windows.learned_labels = windows.frame_labels


def settings_of(
    network: str, weights: Path, variant: dict[str, Any], window_size: int
) -> TrainingSettings:
    """Give the settings of a variant."""
    project = Project().override({"model.network": network, "project.window_size": window_size})
    changed = {key: value for key, value in variant.items() if key not in _OWN}
    changed = {**BASE, **changed, "checkpoint": str(weights)}
    settings = TrainingSettings(**{**training_settings(project).model_dump(), **changed})
    return resolve_settings(settings, CPU, is_scratch=False)


def deal_speakers(crops: Path, n_folds: int) -> list[list[Path]]:
    """Deal the speakers' folders into folds of about as many frames."""
    n_frames: dict[Path, int] = defaultdict(int)
    for path in sorted(crops.glob("*/*/*.npz")):
        n_frames[path.parent] += data_shape(path)[0]
    folds: list[list[Path]] = [[] for _ in range(n_folds)]
    totals = [0] * n_folds
    for speaker in sorted(n_frames, key=lambda each: -n_frames[each]):
        least = totals.index(min(totals))
        folds[least].append(speaker)
        totals[least] += n_frames[speaker]
    return folds


def write_fold(
    args: argparse.Namespace, folds: list[list[Path]], fold: int, *, has_silent: bool
) -> Path:
    """Lay links to the speakers out in splits, and draw windows; give the folder of the splits."""
    root = args.work / f"{args.window_size}-{args.windows_per_sample}-{fold}"
    others = [each for i in range(1, len(folds)) for each in folds[(fold + i) % len(folds)]]
    # Not those with most minutes, from which there is most to learn.
    validation = others[:: max(1, len(others) // N_VALIDATION_SPEAKERS)][1:][:N_VALIDATION_SPEAKERS]
    splits = {
        "test": folds[fold],
        "validation": validation,
        "training": [each for each in others if each not in validation],
    }
    for split, speakers in splits.items():
        for speaker in speakers:
            for kind in ("face_crops", "mfccs"):
                link = root / kind / split / speaker.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(
                        (args.folder / kind / speaker.parent.name / speaker.name).resolve()
                    )
    output = root / ("splits" if has_silent else "splits-tutorial")
    for _ in make_splits(
        root / "face_crops", root / "mfccs", output,
        window_size=args.window_size, windows_per_sample=args.windows_per_sample, n_samples=None,
        seed=fold, silent_face_share=Project().splits.silent_face_share * has_silent,
        min_speech_share=0.5, all_clips=False, overwrite=False,
    ):  # fmt: skip
        pass
    return output


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read what was measured."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def print_table(lines: Iterable[dict[str, Any]]) -> None:
    """Print means over folds, and their standard deviation."""
    by_variant = defaultdict(list)
    for line in lines:
        by_variant[line["variant"]].append(line)
    print(
        "| recipe | folds | silent faces | temporal | partial | complete | newsreaders mAP | "
        "best accuracy | other conversations mAP | best accuracy | s a fold |"
    )
    print("| --- " * 11 + "|")
    for name in sorted(by_variant, key=[UNTUNED, *VARIANTS].index):
        folds = by_variant[name]
        cells = [spread([line["AUC"][kind.value] for line in folds]) for kind in _IN_ORDER]
        for group in ("newsreaders", "others"):
            for figure in ("mAP", "best_accuracy"):
                cells.append(spread([line["conversations"][group][figure] for line in folds]))
        seconds = np.mean([line["seconds"] for line in folds])
        print(f"| {name} | {len(folds)} | {' | '.join(cells)} | {seconds:.0f} |")


_IN_ORDER = (WindowKind.SILENT, WindowKind.TEMPORAL, WindowKind.PARTIAL, WindowKind.COMPLETE)


def spread(values: list[float]) -> str:
    """Write mean and standard deviation."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.1f} ± {deviation:.1f}"


if __name__ == "__main__":
    main()
