"""A detector module for the toolkit, for a network that it does not have.

The module stands alone: it holds the network, cut out of our own source, and the two calls that the
toolkit makes. A patch registers it where the toolkit looks for detectors.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from asdtune import __version__
from asdtune.core.models.registry import LIGHT_ASD, LR_ASD, TALKNET

DETECTORS_DIR = "modules/active_speaker_detection"
_TRAINING_ONLY = ("loss", "frozen_parts", "scale_features", "embed_features")  # methods
_NOT_IN_USE = (
    "Losses", "Network", "StemNetwork", "losses_of", "VISUAL_WEIGHT", "_TEMPERATURE",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where the toolkit has a network, or will have it.

    Attributes:
        key: By which its YAML names the detector.
        folder: Of the detector, below `DETECTORS_DIR`.
        title: For people.
        n_parameters: For people.
        network_class: In our source.
        sources: Our modules that hold the network, in the order in which they build on each other.
        citation: Of the paper.
    """

    key: str
    folder: str
    title: str
    n_parameters: str
    network_class: str
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

    @property
    def detector_class(self) -> str:
        """Name the class that the toolkit builds."""
        return f"{self.network_class}Detector"


PLACES = {
    TALKNET: Place(
        "talknet",
        "talknet_asd",
        "TalkNet-ASD",
        "15.7 million",
        "TalkNet",
        (),
        "R. Tao, Z. Pan, R. K. Das, X. Qian, M. Z. Shou, H. Li: Is Someone Speaking? Exploring "
        "Long-term\n  Temporal Features for Audio-visual Active Speaker Detection. ACM Multimedia, "
        "2021.",
    ),
    LIGHT_ASD: Place(
        "light_asd",
        "light_asd",
        "Light-ASD",
        "1.02 million",
        "LightASD",
        ("network", "encoders", "light_asd"),
        "J. Liao, H. Duan, K. Feng, W. Zhao, Y. Yang, L. Chen: A Light Weight Model for Active "
        "Speaker\n  Detection. CVPR, 2023.",
    ),
    LR_ASD: Place(
        "lr_asd",
        "lr_asd",
        "LR-ASD",
        "0.84 million",
        "LRASD",
        ("network", "encoders", "lr_asd"),
        "J. Liao et al.: LR-ASD: Lightweight and Robust Network for Active Speaker Detection. "
        "IJCV,\n  2025.",
    ),
}


def detector_module(place: Place) -> str:
    """Write the source of the detector module."""
    parts = [_cut_out(name) for name in place.sources]
    return filled(
        "detector.py.template",
        network="\n\n\n".join(parts),
        title=place.title,
        citation=" ".join(place.citation.split()),
        network_class=place.network_class,
        detector_class=place.detector_class,
        version=__version__,
    )


def registering_patch(place: Place) -> str:
    """Write the edits that register the detector, for `git apply` in the toolkit's folder."""
    return filled(
        "register.patch.template",
        key=place.key,
        folder=place.folder,
        detector_class=place.detector_class,
    )


def _cut_out(name: str) -> str:
    """Give the source of one of our network modules without imports and what only trains."""
    text = (files("asdtune.core.models") / f"{name}.py").read_text(encoding="utf-8")
    text = re.sub(r"  # noqa: .*", "", text)
    text = re.sub(r"(?<![.\w])Dropout\(", "nn.Dropout(", text)  # ours differs only in training
    lines = text.splitlines()
    dropped = set[int]()
    for node in _useless(ast.parse(text).body):
        assert node.end_lineno is not None
        dropped |= set(range(node.lineno - 1, node.end_lineno))
    kept = "\n".join(line for i, line in enumerate(lines) if i not in dropped)
    kept = re.sub(r"\n{4,}", "\n\n\n", kept).strip()
    return re.sub(r"\n{3,}(?=    )", "\n\n", kept)


def _useless(body: Collection[ast.stmt]) -> Iterator[ast.stmt]:
    """Find the statements that a detector does not need."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Expr)):  # Expr: the docstring
            yield node
        elif _names(node) & {*_NOT_IN_USE}:
            yield from getattr(node, "decorator_list", [])
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (each for each in node.body if _names(each) & {*_TRAINING_ONLY})


def _names(node: ast.stmt) -> set[str]:
    """Give the names that a statement defines."""
    if isinstance(node, ast.Assign):
        return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return {getattr(node, "name", "")}


def filled(template: str, **words: str) -> str:
    """Put words into a template."""
    text = (files("asdtune.core.export") / "templates" / template).read_text(encoding="utf-8")
    return Template(text).substitute(words)
