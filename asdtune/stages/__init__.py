"""Every stage from the project file: call the core, draw its progress, sum it up.

A stage is imported when it is asked for: that of `doctor` must not need what the others need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asdtune.stages.beginning import init
    from asdtune.stages.checking import doctor
    from asdtune.stages.demonstrating import close_demo, demo
    from asdtune.stages.preparing import collect_chunk, crops, mfcc, splits
    from asdtune.stages.sharing import check_export, export_config, preview, push_to_hub, run
    from asdtune.stages.tuning import evaluate, train

_MODULE_OF = {
    "check_export": "sharing",
    "close_demo": "demonstrating",
    "collect_chunk": "preparing",
    "crops": "preparing",
    "demo": "demonstrating",
    "doctor": "checking",
    "evaluate": "tuning",
    "export_config": "sharing",
    "init": "beginning",
    "mfcc": "preparing",
    "preview": "sharing",
    "push_to_hub": "sharing",
    "run": "sharing",
    "splits": "preparing",
    "train": "tuning",
}

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
    "push_to_hub",
    "run",
    "splits",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
