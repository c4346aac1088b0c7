"""The public Python names of asdtune, wherever they live."""

from __future__ import annotations

from asdtune.core.metrics import average_precision
from asdtune.core.models.light_asd import LightASD
from asdtune.core.models.lr_asd import LRASD
from asdtune.core.models.talknet import TalkNet
from asdtune.core.prepare.extract_mfccs import mfcc

__all__ = ["LRASD", "LightASD", "TalkNet", "average_precision", "mfcc"]
