"""Every stage from the project file: call the core, draw its progress, sum it up."""

from asdtune.stages.beginning import init
from asdtune.stages.checking import doctor
from asdtune.stages.demonstrating import close_demo, demo
from asdtune.stages.preparing import collect_chunk, crops, mfcc, splits
from asdtune.stages.sharing import check_export, export_config, preview, push_to_hub, run
from asdtune.stages.tuning import evaluate, probe_training, train

__all__ = [
    "check_export",
    "close_demo",
    "collect_chunk",
    "crops",
    "demo",
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
