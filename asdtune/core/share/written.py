"""What an earlier export wrote, so that what a person has filled in since stays."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from asdtune.core.files import content_hash, write_json, write_text
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
    """

    hashes: dict[str, str] = field(default_factory=dict)
    link: str | None = None
    link_sha256: str | None = None

    @classmethod
    def read(cls, output_dir: Path) -> Written:
        """Read it; nothing where there is no record, or none of this form."""
        try:
            return cls(**json.loads((output_dir / _RECORD).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def save(self, output_dir: Path) -> None:
        """Write it for the next export."""
        write_json(output_dir / _RECORD, asdict(self))

    def remember_link(self, link: str | None, checkpoint_sha256: str) -> str | None:
        """Keep a new link, or give the earlier one if it is of this checkpoint."""
        if link is not None:
            self.link, self.link_sha256 = link, checkpoint_sha256
        return self.link if self.link_sha256 == checkpoint_sha256 else None

    def write_but_edited(
        self, output_dir: Path, texts: Mapping[str, str], *, link: str | None
    ) -> tuple[str, ...]:
        """Write the texts, but leave those that somebody has edited since; give their names.

        In an edited file only the missing link is filled in.

        Raises:
            AsdtuneError: An edited file is no text.
        """
        kept = []
        for name, text in texts.items():
            path = output_dir / name
            if self._is_edited(path, name):
                kept.append(name)
                edited = _read_edited(path)
                if link is not None and NO_LINK in edited:
                    write_text(path, edited.replace(NO_LINK, link))
            else:
                write_text(path, text)
                self.hashes[name] = content_hash(path)
        return tuple(kept)

    def remove_others(self, output_dir: Path, names: Collection[str]) -> None:
        """Delete what the earlier export wrote and this one did not, unless it was edited."""
        for name in self.hashes.keys() - set(names):
            if not self._is_edited(output_dir / name, name):
                (output_dir / name).unlink(missing_ok=True)
            del self.hashes[name]

    def _is_edited(self, path: Path, name: str) -> bool:
        return path.is_file() and name in self.hashes and content_hash(path) != self.hashes[name]


def _read_edited(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AsdtuneError(
            "you have edited this file, and it is no longer UTF-8",
            where=path,
            fix="save it as UTF-8; or delete it, and it is written anew",
        ) from error
