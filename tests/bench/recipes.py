"""Which recipe teaches a network most from little data: cross-validation over speakers.

    python -m tests.bench.recipes FOLDER --network light-asd --weights light_asd_talkset.model
        [--variants base,augment] [--folds 5] [--out results.jsonl] [--window-size 25]

FOLDER holds `face_crops/` and `mfccs/` as `crops` and `mfcc` have written them, of any splits: the
speakers are dealt anew into folds of about as many minutes. Each fold is the test set once; of the
others three speakers choose the epoch. A variant is the recipe `base` with one thing changed; the
one that won is what `train` does by default. It is judged on windows of speakers it never saw, in
the precision of the run, each by its mean score: area under the ROC curve of positives against
temporal mismatches, and against all; mAP over frames. Every fold adds a line to `--out`, so that a
stopped run goes on; the table is printed at the end. Epochs of temporal mismatches alone have a
third of the windows, and so fewer steps; where more learns, the learning rate is lower, too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from asdtune.core.arrays import data_shape
from asdtune.core.networks.checkpoints import load_network
from asdtune.core.prepare.windows import make_splits
from asdtune.core.splits import WindowKind
from asdtune.core.tune.dataset import WindowDataset
from asdtune.core.tune.metrics import average_precision
from asdtune.core.tune.precision import choose_precision, prepare_network
from asdtune.core.tune.runs import BEST, TrainingSettings
from asdtune.core.tune.scoring import choose_device, score_windows
from asdtune.core.tune.training import train
from asdtune.project import Project
from asdtune.stages.tuning import training_settings

N_VALIDATION_SPEAKERS = 3
N_DRAWS = 2000  # of the bootstrap over speakers
BASE = {"learning_rate": 1e-3}  # beside what `train` has by default: of the variants, one won
DEFAULT = "rate 3e-3"
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "temporal first": {"temporal_epochs": 6},
    "temporal only": {"temporal_epochs": 12},
    "all frozen but the detector": {"freeze": "frontends"},
    "thaw after 6 epochs": {"freeze": "none", "head_epochs": 6, "learning_rate": 3e-4},
    "nothing frozen": {"freeze": "none", "learning_rate": 1e-4},
    "encoder rate 0.3": {"encoder_rate": 0.3},
    "voices mixed": {"augment": True},
    "time masking": {"time_mask_frames": 8},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay 0.1": {"weight_decay": 0.1},
    "dropout 0.3": {"dropout": 0.3},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "moving mean": {"ema_decay": 0.99},
    "contrast 0.3": {"contrast": 0.3},
    "balanced speakers": {"balance_speakers": True},
    "rate 3e-4": {"learning_rate": 3e-4},
    "rate 3e-3": {"learning_rate": 3e-3},
    "24 epochs": {"total_epochs": 24},
    "norms frozen": {"batchnorm": "frozen"},
}


def main() -> None:
    """Run what is missing of the variants, and print a table of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="light-asd")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--window-size", type=int, default=25)
    parser.add_argument("--windows-per-sample", type=int, default=24)
    parser.add_argument("--work", type=Path, default=Path("recipes"))
    parser.add_argument("--out", type=Path, default=Path("recipes.jsonl"))
    args = parser.parse_args()
    names = args.variants.split(",")
    if unknown := [name for name in names if name not in VARIANTS]:
        parser.error(f"no such variants: {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    folds = deal_speakers(args.folder / "face_crops", args.folds)
    lines = [each for each in read_lines(args.out) if is_of(each, args)]
    done = {(each["variant"], each["fold"]) for each in lines}
    for fold in range(args.folds):
        root = args.work / "-".join(map(str, [*key_of(args).values(), fold]))
        splits = write_fold(args.folder, root, folds, fold, args)
        for name in ["untuned", *names]:
            if (name, fold) in done:
                continue
            begun, best = time.monotonic(), args.weights
            if name != "untuned":
                settings = settings_of(args.network, best, name, window_size=args.window_size)
                best = tune(splits, root / "exps", settings)
            line = {
                **key_of(args), "variant": name, "fold": fold,
                "seconds": round(time.monotonic() - begun, 1),
                **judge(best, splits / "test.csv", args.window_size),
            }  # fmt: skip
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print({key: value for key, value in line.items() if key != "speakers"}, flush=True)
    print_table([each for each in read_lines(args.out) if is_of(each, args)])


def key_of(args: argparse.Namespace) -> dict[str, Any]:
    """Give what must be alike for lines to stand in one table."""
    return {
        "network": args.network, "weights": args.weights.stem, "window_size": args.window_size,
        "windows_per_sample": args.windows_per_sample, "folds": args.folds,
    }  # fmt: skip


def is_of(line: dict[str, Any], args: argparse.Namespace) -> bool:
    """Tell whether a line belongs to this table."""
    return all(line.get(name) == value for name, value in key_of(args).items())


def settings_of(network: str, weights: Path, variant: str, *, window_size: int) -> TrainingSettings:
    """Give the settings of a variant."""
    project = Project().override({"model.network": network, "project.window_size": window_size})
    default = training_settings(project)
    return replace(default, **{**BASE, "checkpoint": str(weights), **VARIANTS[variant]})


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
    folder: Path, root: Path, folds: list[list[Path]], fold: int, args: argparse.Namespace
) -> Path:
    """Lay links to the speakers out in splits, and draw windows; give the folder of the splits."""
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
                    link.symlink_to((folder / kind / speaker.parent.name / speaker.name).resolve())
    for _ in make_splits(
        root / "face_crops", root / "mfccs", root / "splits",
        window_size=args.window_size, windows_per_sample=args.windows_per_sample, n_samples=None,
        seed=fold, min_speech_share=0.5, all_clips=False, overwrite=False,
    ):  # fmt: skip
        pass
    return root / "splits"


def tune(splits: Path, output: Path, settings: TrainingSettings) -> Path:
    """Train, and give the best checkpoint."""
    for _ in train(
        splits / "training.csv", splits / "validation.csv", None, output,
        settings=settings, device="auto", resume=None, overwrite=True, save_seconds=1e9,
        should_stop=lambda: False,
    ):  # fmt: skip
        pass
    return output / BEST


def judge(checkpoint: Path, split: Path, window_size: int) -> dict[str, Any]:
    """Score the windows of a split; give how good the scores are, and by speaker."""
    windows = WindowDataset(split, window_size)
    _, network = load_network(checkpoint)
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    prepare_network(network, precision, device)
    frames = np.concatenate(
        list(score_windows(network, windows, batch_size=32, precision=precision))
    )
    scores, labels = frames.mean(1), windows.labels
    is_temporal = (labels == 1) | (windows.kinds == WindowKind.TEMPORAL.value)
    return {
        "auc_temporal": area(labels[is_temporal], scores[is_temporal]),
        "auc_all": area(labels, scores),
        "mAP": average_precision(np.repeat(labels, window_size), frames.reshape(-1)),
        "speakers": {
            name: area(labels[rows], scores[rows])
            for name in np.unique(windows.speakers)
            if (rows := is_temporal & (windows.speakers == name)).any()
        },
    }


def area(labels: np.ndarray, scores: np.ndarray) -> float:
    """Give the area under the ROC curve, or nan where there is one label only."""
    return float(roc_auc_score(labels, scores)) if len(set(labels)) > 1 else float("nan")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read what was measured."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print means over folds, and the gain over the untuned network with a bootstrap interval."""
    by_variant = defaultdict(list)
    for line in lines:
        by_variant[line["variant"]].append(line)
    before = {k: v for line in by_variant["untuned"] for k, v in line["speakers"].items()}
    print(
        "| recipe | folds | AUC temporal (sd) | all | mAP | gain, 95 % over speakers | s a fold |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    order = sorted(by_variant, key=lambda name: -mean(by_variant[name], "auc_temporal"))
    for name in order:
        folds = by_variant[name]
        after = {k: v for line in folds for k, v in line["speakers"].items()}
        gains = np.array([after[k] - before[k] for k in sorted(after) if k in before])
        low, high = interval(gains[np.isfinite(gains)])
        spread = np.std([line["auc_temporal"] for line in folds], ddof=1) if len(folds) > 1 else 0
        print(
            f"| {name} | {len(folds)} | {mean(folds, 'auc_temporal'):.3f} ({spread:.3f}) | "
            f"{mean(folds, 'auc_all'):.3f} | {mean(folds, 'mAP'):.1f} | "
            f"{np.nanmean(gains):+.3f} ({low:+.3f} to {high:+.3f}) | {mean(folds, 'seconds'):.0f} |"
        )


def mean(lines: list[dict[str, Any]], key: str) -> float:
    """Give the mean of a figure over folds."""
    return float(np.mean([line[key] for line in lines]))


def interval(values: np.ndarray) -> tuple[float, float]:
    """Give the 95 % bootstrap interval of a mean."""
    rng = np.random.default_rng(0)
    draws = rng.choice(values, (N_DRAWS, len(values))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
