"""A submission folder as it lies there, read with suspicion: anybody may have edited it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asdtune.core.files import sha256
from asdtune.core.share.annotheia import CITATION, MODEL_CARD, PULL_REQUEST, ZENODO
from asdtune.core.share.detector import PLACES, Place, filled
from asdtune.core.share.links import is_same_link
from asdtune.core.share.renewing import links_in, sums_in
from asdtune.core.share.weights import TWIN
from asdtune.core.share.written import Written
from asdtune.errors import AsdtuneError

DETECTOR = "active_speaker_detection"
RECOGNISER = "automatic_speech_recognition"
_CHANGED = (  # in which a language differs from the next
    f"{DETECTOR}_conf.checkpoint_path",
    f"{RECOGNISER}_conf.lang",
    "pipeline_conf.threshold",
    "pipeline_conf.window_size",
)
_LINK = "# download:"
_ANEW = "mend {0}, or delete it and run asdtune export-config again, which writes it anew"

_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)


def _front_matter(card: str) -> Any:
    found = _FRONT.match(card)
    return None if found is None else yaml.safe_load(found[1])


_METADATA: Mapping[str, Callable[[str], Any]] = {
    MODEL_CARD: _front_matter,
    CITATION: yaml.safe_load,
    ZENODO: json.loads,
}


@dataclass(frozen=True)
class Exported:
    """The folder that `export-config` wrote."""

    folder: Path

    def config_path(self) -> Path:
        """Find the language file.

        Raises:
            AsdtuneError: There is none, or several.
        """
        found = sorted(self.folder.glob("configs/*.yaml"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise AsdtuneError(
                f"one YAML must be in configs/, found {names}",
                where=self.folder,
                fix="move or delete those of other languages or checkpoints, which you have edited"
                if found
                else "run asdtune export-config, or name the folder that it wrote",
            )
        return found[0]

    def config(self) -> dict[str, Any]:
        """Read the language file.

        Raises:
            AsdtuneError: It is no YAML of the toolkit's form.
        """
        path = self.config_path()
        return read_config(path, fix=_ANEW.format(path.name))

    def check_metadata(self) -> None:
        """See that what the Hub, Zenodo and GitHub read of the folder can be read.

        Raises:
            AsdtuneError: Something cannot, such as after an edit.
        """
        for name, read in _METADATA.items():
            path = self.folder / name
            try:
                found = read(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError) as error:
                raise AsdtuneError(
                    f"{name} cannot be read ({' '.join(str(error).split())})",
                    where=path,
                    fix=_ANEW.format(name),
                ) from error
            if not isinstance(found, dict):
                raise AsdtuneError(f"{name} has no metadata", where=path, fix=_ANEW.format(name))

    def check_references(self) -> None:
        """See that card, pull request and YAML name this checkpoint and link, or none.

        Raises:
            AsdtuneError: One names another, such as after an edit, or there is no checkpoint.
        """
        weights, written = self.weights_path(), Written.read(self.folder)
        link = written.link_of(sha256(weights))
        sums = [sha256(path) for path in (weights, weights.with_suffix(TWIN)) if path.is_file()]
        problems = []
        for path in (self.folder / MODEL_CARD, self.folder / PULL_REQUEST, self.config_path()):
            text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
            for each in dict.fromkeys(sums_in(text)):
                if each not in sums:
                    problems.append(f"{path.name} has another checksum, {each[:8]}...")
            for each in dict.fromkeys(links_in(text)):
                others = [link] if link else written.links
                if any(is_same_link(each, other) for other in others) == (link is None):
                    problems.append(f"{path.name} has another link, {each}")
        if problems:
            raise AsdtuneError(
                "; ".join(problems),
                where=self.folder,
                fix="mend them, or delete these files, and run asdtune export-config again; "
                "--checkpoint-url gives the link",
            )

    def section(self, name: str) -> dict[str, Any]:
        """Give the settings under a key; empty where it holds none."""
        found = self.config().get(name)
        return found if isinstance(found, dict) else {}

    def place(self) -> Place:
        """Give the place of the network that the language file names.

        Raises:
            AsdtuneError: It names another.
        """
        key = self.config().get(DETECTOR)
        for place in PLACES.values():
            if place.key == key:
                return place
        raise AsdtuneError(
            f"{DETECTOR} is {key}, not one of {', '.join(p.key for p in PLACES.values())}",
            where=self.config_path(),
            fix="set it back in the YAML, as export-config wrote it",
        )

    def weights_path(self) -> Path:
        """Find the checkpoint that the language file names.

        Raises:
            AsdtuneError: It is not in the folder.
        """
        named = Path(str(self.section(f"{DETECTOR}_conf").get("checkpoint_path")))
        path = self.folder / named
        leaves = named.is_absolute() or ".." in named.parts
        if leaves or not path.is_file() or path.is_symlink():
            raise AsdtuneError(
                f"checkpoint_path is {named}, and no such file is in the folder",
                where=self.config_path(),
                fix="set it to ./modules/active_speaker_detection/..., where the .pth lies",
            )
        return path


def read_config(path: Path, *, fix: str) -> dict[str, Any]:
    """Read a language file.

    Args:
        path: The file.
        fix: What to do where it cannot be read.

    Raises:
        AsdtuneError: It is no YAML, or holds something else than keys.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AsdtuneError(
            f"no readable YAML ({' '.join(str(error).split())})",
            where=path,
            fix=fix,
        ) from error
    if not isinstance(config, dict):
        raise AsdtuneError("the YAML holds no keys", where=path, fix=fix)
    return config


def known_config() -> str:
    """Give the toolkit's English language file, as far as a language may not change it."""
    return filled(
        "annotheia_pipeline.yaml",
        checkpoint_path="",
        detector=PLACES["talknet"].key,
        download="",
        lang="en",
        threshold="0.04",
        window_size="51",
    )


def differences(
    found: Mapping[str, Any], expected: Mapping[str, Any], *, above: str = ""
) -> Iterator[str]:
    """Say in what a language file differs from one of the toolkit, but for what it may change.

    Another recogniser than Whisper, for a language that Whisper lacks, may have settings of its
    own.
    """
    other_recogniser = found.get(RECOGNISER) not in (None, expected.get(RECOGNISER))
    for key, value in expected.items():
        name = f"{above}{key}"
        if key not in found:
            yield f"{name} is missing"
        elif name in (*_CHANGED, DETECTOR) or (other_recogniser and key.startswith(RECOGNISER)):
            continue
        elif isinstance(value, dict) and isinstance(found[key], dict):
            yield from differences(found[key], value, above=f"{name}.")
        elif found[key] != value or isinstance(found[key], bool) != isinstance(value, bool):
            yield f"{name} is {found[key]!r} instead of {value!r}"
    yield from (f"{above}{key} is unknown" for key in found if key not in expected)
    common = [key for key in found if key in expected]
    if common != [key for key in expected if key in found]:
        yield f"the keys {'of ' + above.rstrip('.') if above else ''} have another order"


def comment_problems(text: str) -> Iterator[str]:
    """Say which comments a language file lacks, and whether the link has its place."""
    lines = [line.strip() for line in text.splitlines()]
    for comment in (line.strip() for line in known_config().splitlines()):
        if comment.startswith("#") and not comment.startswith(_LINK) and comment not in lines:
            yield f"the comment {comment!r} is missing"
    i_path = next((i for i, each in enumerate(lines) if each.startswith("checkpoint_path")), 0)
    if i_path and not lines[i_path - 1].startswith(_LINK):
        yield f"the line before checkpoint_path is not {_LINK!r} and the link"
