"""The public Python names of asdtune, wherever they live."""

from __future__ import annotations

from asdtune.core.networks.light_asd import LightASD
from asdtune.core.networks.lr_asd import LRASD
from asdtune.core.networks.talknet import TalkNet
from asdtune.core.prepare.mfcc import mfcc
from asdtune.core.tune.metrics import average_precision

__all__ = ["LRASD", "LightASD", "TalkNet", "average_precision", "mfcc"]
