"""The recipe of each network: what its training begins with, where it is not TalkNet's."""

from __future__ import annotations

from typing import Any

from asdtune.core.models.registry import LIGHT_ASD, LR_ASD, TALKNET

_SMALL = {  # for little data, from published weights; found by tests.bench.recipes
    "learning_rate": 1e-3,
    "total_epochs": 12,
    "freeze": "visual-frontend",
    "batchnorm": "frozen",
    "weight_decay": 0.01,
}
OF_FROZEN = ("freeze", "batchnorm", "learning_rate")  # found for frozen encoders only
RECIPES: dict[str, dict[str, Any]] = {  # what differs from TalkNet's
    TALKNET: {},
    LIGHT_ASD: {"checkpoint": "light-asd-ava", **_SMALL},
    LR_ASD: {"checkpoint": "lr-asd-ava", **_SMALL},
}
