"""A detector module for the toolkit, for a network that it does not have.

The module stands alone: it holds the network, cut out of our own source, and the two calls that the
toolkit makes. A patch registers it where the toolkit looks for detectors.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from importlib.resources import files

from asdtune import __version__
from asdtune.core.export.annotheia import Place
from asdtune.core.export.rendering import render

_TRAINING_ONLY = ("loss", "frozen_parts", "scale_features", "embed_features")  # methods
_NOT_IN_USE = (
    "Losses", "Network", "StemNetwork", "losses_of", "VISUAL_WEIGHT", "_TEMPERATURE",
)  # fmt: skip


def detector_files(place: Place) -> dict[str, str]:
    """Write the detector module and its patch for `git apply`; nothing the toolkit has already."""
    if not place.sources:
        return {}
    network = "\n\n\n".join(_cut_out(name) for name in place.sources)
    values = {"place": place, "network": network, "version": __version__}
    return {
        place.module: render("detector.py.template", **values),
        place.patch: render("register.patch.template", **values),
    }


def _cut_out(name: str) -> str:
    """Give the source of one of our network modules without imports and what only trains."""
    text = (files("asdtune.core.models") / f"{name}.py").read_text(encoding="utf-8")
    text = re.sub(r"  # noqa: .*", "", text)
    dropped = set[int]()
    for node in _useless(ast.parse(text).body):
        assert node.end_lineno is not None
        dropped |= {*range(node.lineno, node.end_lineno + 1)}
    lines = enumerate(text.splitlines(), start=1)
    kept = "\n".join(line for number, line in lines if number not in dropped)
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
