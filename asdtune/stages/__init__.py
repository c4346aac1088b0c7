"""Every stage from the project file: call the core, draw its progress, sum it up."""

from asdtune.stages.beginning import init
from asdtune.stages.checking import doctor
from asdtune.stages.preparing import collect_chunk, crops, mfcc, splits
from asdtune.stages.sharing import check_export, export_config, preview, push_to_hub, run
from asdtune.stages.tuning import evaluate, probe_training, train

__all__ = [
    "check_export",
    "collect_chunk",
    "crops",
    "doctor",
    "evaluate",
    "export_config",
    "init",
    "mfcc",
    "preview",
    "probe_training",
    "push_to_hub",
    "run",
    "splits",
    "train",
]
