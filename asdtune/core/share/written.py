"""What an earlier export wrote, so that what a person has filled in since stays."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from asdtune.core.files import content_hash, text_hash, write_json, write_text
from asdtune.core.share.findings import NO_LINK
from asdtune.errors import AsdtuneError

_RECORD = ".asdtune/export-config.json"


@dataclass
class Written:
    """What an earlier export wrote.

    Attributes:
        hashes: Of each file, by its name.
        link: Where the checkpoint was uploaded.
        link_sha256: Of that checkpoint: the link is not that of any other.
        begun: Hashes of what exports have begun to write; empty once one has ended.
    """

    hashes: dict[str, str] = field(default_factory=dict)
    link: str | None = None
    link_sha256: str | None = None
    begun: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, output_dir: Path) -> Written:
        """Read it; nothing where there is no record, or none of this form."""
        try:
            return cls(**json.loads((output_dir / _RECORD).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def save(self, output_dir: Path) -> None:
        """Write it for the next export, once all is written."""
        self.begun = []
        self._save(output_dir)

    def remember_link(self, link: str | None, checkpoint_sha256: str) -> str | None:
        """Keep a new link, or give the earlier one if it is of this checkpoint."""
        if link is not None:
            self.link, self.link_sha256 = link, checkpoint_sha256
        return self.link if self.link_sha256 == checkpoint_sha256 else None

    def write_but_edited(
        self, output_dir: Path, texts: Mapping[str, str], *, link: str | None
    ) -> tuple[str, ...]:
        """Write the texts, but leave those that somebody has edited since; give their names.

        In an edited file only the missing link is filled in. What is written counts as ours from
        before it is: killed in between, no later export takes it for edited.

        Raises:
            AsdtuneError: An edited file is no text.
        """
        edited = {
            name: _read_edited(output_dir / name)
            for name in texts
            if self._is_edited(output_dir / name, name)
        }
        ours = {name: text_hash(text) for name, text in texts.items() if name not in edited}
        self.begun = sorted({*self.begun, *ours.values()})
        self.hashes = {**ours, **self.hashes}
        self._save(output_dir)
        for name, text in texts.items():
            if name not in edited:
                write_text(output_dir / name, text)
            elif link is not None and NO_LINK in edited[name]:
                write_text(output_dir / name, edited[name].replace(NO_LINK, link))
        self.hashes |= ours
        return tuple(edited)

    def remove_others(self, output_dir: Path, names: Collection[str]) -> None:
        """Delete what the earlier export wrote and this one did not, unless it was edited."""
        for name in self.hashes.keys() - set(names):
            if not self._is_edited(output_dir / name, name):
                (output_dir / name).unlink(missing_ok=True)
            del self.hashes[name]

    def _is_edited(self, path: Path, name: str) -> bool:
        if name not in self.hashes or not path.is_file():
            return False
        return content_hash(path) not in (self.hashes[name], *self.begun)

    def _save(self, output_dir: Path) -> None:
        write_json(output_dir / _RECORD, asdict(self))


def _read_edited(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AsdtuneError(
            "you have edited this file, and it is no longer UTF-8",
            where=path,
            fix="save it as UTF-8; or delete it, and it is written anew",
        ) from error
