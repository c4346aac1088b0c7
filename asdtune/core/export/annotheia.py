"""Where the AnnoTheia toolkit has its networks, and what is submitted to it.

All files of an export tell of a `Submission`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from asdtune.core.export.languages import Language
from asdtune.core.export.provenance import FILL_IN, Provenance
from asdtune.core.models.registry import LIGHT_ASD, LR_ASD, TALKNET

DETECTORS_DIR = "modules/active_speaker_detection"
TOOLKIT_THRESHOLD = 0.04  # what the toolkit's own files have
_HIGHEST = float(np.nextafter(np.float32(1), np.float32(0)))  # a score of 1 is above it


@dataclass(frozen=True)
class Place:
    """Where the toolkit has a network, or will have it.

    Attributes:
        key: The YAML names the detector by it.
        folder: Of the detector, below `DETECTORS_DIR`.
        title: For people.
        n_parameters: For people.
        network_class: In our source.
        detector_class: In the toolkit.
        sources: Our modules that hold the network, each after those that it needs; none for a
            network that the toolkit has.
        citation: Of the paper.
    """

    key: str
    folder: str
    title: str
    n_parameters: str
    network_class: str
    detector_class: str
    sources: tuple[str, ...]
    citation: str

    @property
    def weights_dir(self) -> str:
        """Where its checkpoints lie."""
        return f"{DETECTORS_DIR}/{self.folder}/weights"

    @property
    def module(self) -> str:
        """Where its detector is."""
        return f"{DETECTORS_DIR}/{self.folder}/{self.folder}.py"

    @property
    def patch(self) -> str:
        """Name the patch that registers it."""
        return f"register_{self.key}.patch"


PLACES = {
    TALKNET: Place(
        "talknet", "talknet_asd", "TalkNet-ASD", "15.7 million", "TalkNet", "TalkNetASD", (),
        "R. Tao, Z. Pan, R. K. Das, X. Qian, M. Z. Shou, H. Li: Is Someone Speaking? Exploring "
        "Long-term Temporal Features for Audio-visual Active Speaker Detection. ACM Multimedia, "
        "2021.",
    ),
    LIGHT_ASD: Place(
        "light_asd", "light_asd", "Light-ASD", "1.02 million", "LightASD",
        "LightASDDetector", ("network", "encoders", "light_asd"),
        "J. Liao, H. Duan, K. Feng, W. Zhao, Y. Yang, L. Chen: A Light Weight Model for Active "
        "Speaker Detection. CVPR, 2023.",
    ),
    LR_ASD: Place(
        "lr_asd", "lr_asd", "LR-ASD", "0.84 million", "LRASD",
        "LRASDDetector", ("network", "encoders", "lr_asd"),
        "J. Liao et al.: LR-ASD: Lightweight and Robust Network for Active Speaker Detection. "
        "IJCV, 2025.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """A network and what is known of it.

    Attributes:
        language: Of the videos.
        place: Of the network in the toolkit.
        window_size: W, which the network was trained with.
        known: What is known of the checkpoint.
        pth: The checkpoint.
        safetensors: The same tensors, in a format that cannot carry code.
        link: Where it can be downloaded; None while nobody knows.
    """

    language: Language
    place: Place
    window_size: int
    known: Provenance
    pth: bytes
    safetensors: bytes
    link: str | None

    @property
    def name(self) -> str:
        """Of the checkpoint, without its ending."""
        return f"{self.language.slug}_{self.place.folder.replace('_', '')}_{self.window_size}frames"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.place.title} for {self.language.title}, {self.window_size} frames"

    @property
    def weights(self) -> str:
        """Where the checkpoint lies in the toolkit."""
        return f"{self.place.weights_dir}/{self.name}.pth"

    @property
    def twin(self) -> str:
        """Where the same tensors lie as safetensors."""
        return f"{self.place.weights_dir}/{self.name}.safetensors"

    @property
    def sha256(self) -> str:
        """The checksum of the checkpoint."""
        return hashlib.sha256(self.pth).hexdigest()

    @property
    def config(self) -> str:
        """Where the language file lies in the toolkit."""
        return f"configs/annotheia_pipeline_{self.language.slug}.yaml"

    @property
    def download(self) -> str:
        """The link, or the mark that asks for it."""
        return self.link or FILL_IN["link"]

    @property
    def threshold(self) -> str:
        """The threshold in the language file."""
        found = in_toolkit(self.known.results)
        return for_yaml(TOOLKIT_THRESHOLD if found is None else found["threshold"])


def in_toolkit(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Give the threshold for scores as the toolkit makes them, and what it gives; None of none."""
    found = (report or {}).get("checkpoint", {}).get("thresholds_in_toolkit", {})
    half_way: dict[str, Any] | None = found.get("half_way")
    return half_way


def for_yaml(threshold: float) -> str:
    """Write a threshold within [0, 1), without an exponent: PyYAML takes `1e-05` for a text.

    Examples:
        >>> for_yaml(0.31), for_yaml(1.5e-05), for_yaml(1.0)
        ('0.31', '0.000015', '0.9999999403953552')
    """
    value = min(max(round(threshold, 8), 0.0), _HIGHEST)
    return np.format_float_positional(value, trim="0")
