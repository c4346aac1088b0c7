"""The networks there are, and the published weights to start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asdtune.core.downloads import PublishedFile

if TYPE_CHECKING:
    from asdtune.core.models.network import Network
    from asdtune.core.models.talknet import TalkNetSizes

TALKNET, LIGHT_ASD, LR_ASD = NETWORKS = ("talknet", "light-asd", "lr-asd")
SCRATCH = "scratch"  # random weights
# What a checkpoint is compared with, besides the name of another one:
ITS_START = "start"  # what its run started from, if that had learned something
NOTHING = "none"
_ANNOTHEIA = "https://github.com/joactr/AnnoTheia/raw/0cb91562b286ddc913ecdb759d8a7f7a214aafd8"
_TALKNET_URL = f"{_ANNOTHEIA}/modules/active_speaker_detection/talknet_asd/weights"
_LIAO = "https://github.com/Junhua-Liao"
_LIGHT_URL = f"{_LIAO}/Light-ASD/raw/ed38c232de5efe0261dbd68627c0ade7cdfe14eb/weight"
_LR_URL = f"{_LIAO}/LR-ASD/raw/1b6dcd2d8fc2895683de6508ec6294ec47d388ca/weight"


@dataclass(frozen=True)
class Start:
    """Published weights, and the network they are of."""

    network: str
    file: PublishedFile


def _talknet(name: str, blob: str) -> Start:
    return Start(TALKNET, PublishedFile(name, f"{_TALKNET_URL}/{name}", f"git-blob:{blob}"))


def _liao(network: str, name: str, url: str, sha256: str) -> Start:
    return Start(network, PublishedFile(name, url, f"sha256:{sha256}"))


STARTS = {
    "english": _talknet(
        "english_talknetasd_ava_dataset.pth", "71f25cc05fec206cf34c564279fe8adb907ea6cb"
    ),
    "spanish-25": _talknet(
        "spanish_talknetasd_25frames.pth", "570377e153c34ee741b556070758c72983e16bad"
    ),
    "spanish-51": _talknet(
        "spanish_talknetasd_51frames.pth", "d5392a0a353a0aa8e845b6e315023596fec91bde"
    ),
    "light-asd-ava": _liao(
        LIGHT_ASD,
        "light_asd_ava.model",
        f"{_LIGHT_URL}/pretrain_AVA_CVPR.model",
        "d44bc3ea7baa8e0946fa3921311714a630ed8b90a1928fab0dbe30d918909317",
    ),
    "light-asd-talkset": _liao(
        LIGHT_ASD,
        "light_asd_talkset.model",
        f"{_LIGHT_URL}/finetuning_TalkSet.model",
        "efc375833887eefa9d209dc92810e18519b04c3c73ea35a549f2a7f40b7d94d5",
    ),
    "lr-asd-ava": _liao(
        LR_ASD,
        "lr_asd_ava.model",
        f"{_LR_URL}/pretrain_AVA.model",
        "85e6c77fc981595234790d1e128ebb60352d37726b2445e0ef8891e2512fe9e3",
    ),
    "lr-asd-talkset": _liao(
        LR_ASD,
        "lr_asd_talkset.model",
        f"{_LR_URL}/finetuning_TalkSet.model",
        "6b4ef53694e874e96cf630198dc479c78aebb3993bbf166aee3d926dfe7d9342",
    ),
}


def make_network(name: str, sizes: TalkNetSizes | None = None) -> Network:
    """Make a network with drawn weights; `sizes` are for TalkNet, None for the published ones."""
    from asdtune.core.models.light_asd import LightASD
    from asdtune.core.models.lr_asd import LRASD
    from asdtune.core.models.talknet import TalkNet

    if name == LIGHT_ASD:
        return LightASD()
    if name == LR_ASD:
        return LRASD()
    assert name == TALKNET
    return TalkNet(sizes)
