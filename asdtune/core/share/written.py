"""What an earlier export wrote, so that what a person has filled in since stays."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from asdtune.core.files import content_hash, text_hash, write_json, write_text
from asdtune.core.share.findings import NO_LINK
from asdtune.core.share.renewing import (
    LINK,
    THRESHOLD,
    renewed,
    renewed_words,
    threshold_in,
    without_words,
)
from asdtune.errors import AsdtuneError

_RECORD = ".asdtune/export-config.json"


@dataclass(frozen=True)
class Kept:
    """A file that is not as an export writes it, and stays.

    Attributes:
        name: Of the file.
        is_ours: Whether an earlier export wrote it, before somebody edited it.
        is_outdated: Whether an export would now write other things there than when it was edited.
        renewed: What in it was brought up to date, in words.
        is_left: Whether this export has no such file: it is of another language or checkpoint.
    """

    name: str
    is_ours: bool
    is_outdated: bool
    renewed: tuple[str, ...] = ()
    is_left: bool = False

    def __str__(self) -> str:
        """Say why it stays, and what to do."""
        if self.is_left:
            return (
                f"{self.name} is of another language or checkpoint, and edited by you: move or "
                "delete it"
            )
        if not self.is_ours:
            return (
                f"{self.name} stays as it is: no export is known to have written it. If it is not "
                "yours, delete it and run asdtune export-config again, which writes it"
            )
        edited = f"{self.name} is as you edited it"
        if self.renewed:
            edited += f", but for {' and '.join(self.renewed)}, renewed in all of its text"
        if not self.is_outdated:
            return edited
        return (
            f"{edited}, and out of date: it tells of an earlier checkpoint, evaluation, language, "
            "project file or version of asdtune. Bring it up to date; or delete it and run asdtune "
            "export-config again, which writes it anew"
        )


@dataclass
class Written:
    """What an earlier export wrote.

    Attributes:
        hashes: Of each file, by its name.
        links: Where checkpoints were uploaded, each with the SHA-256 of its own; the last that was
            given stands last.
        said: What edited files may still say of the checkpoint, by word: several things if an
            export was killed.
        told: Hashes of what the last export would have written into each file, edited or not,
            without these words.
        outdated: Hashes of files that were edited before that last changed, as they were left.
        report: Fingerprint of the results that are told; None if there were none.
        begun: Hashes of what exports have begun to write; empty once one has ended.
    """

    hashes: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    outdated: dict[str, str] = field(default_factory=dict)
    report: str | None = None
    begun: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, output_dir: Path) -> Written:
        """Read it; nothing where there is no record, or none of this form."""
        try:
            found = json.loads((output_dir / _RECORD).read_bytes())
        except (FileNotFoundError, ValueError):
            found = None
        if not isinstance(found, dict):
            return cls()
        forms = vars(cls(report=""))
        known: dict[str, Any] = {
            name: found[name]
            for name in forms.keys() & found.keys()
            if isinstance(found[name], type(forms[name]))
        }
        return cls(**known)

    def save(self, output_dir: Path) -> None:
        """Write it for the next export, once all is written."""
        self.begun = []
        self._save(output_dir)

    def remember_link(self, link: str, checkpoint_sha256: str) -> None:
        """Keep where a checkpoint was uploaded."""
        self.links.pop(link, None)
        self.links[link] = checkpoint_sha256

    def link_of(self, checkpoint_sha256: str) -> str | None:
        """Give the link of a checkpoint that was given last."""
        links = [link for link, sha256 in self.links.items() if sha256 == checkpoint_sha256]
        return links[-1] if links else None

    def is_of_another(self, link: str | None, checkpoint_sha256: str) -> bool:
        """Tell whether a link was given for another checkpoint than this."""
        return link is not None and self.links.get(link, checkpoint_sha256) != checkpoint_sha256

    def check_edited(self, output_dir: Path, names: Collection[str]) -> None:
        """See that what somebody has edited can be read, before anything is written.

        Raises:
            AsdtuneError: An edited file is no text.
        """
        for name in names:
            if self._is_edited(output_dir / name, self.hashes.get(name, "")):
                _read_edited(output_dir / name)

    def threshold_by_hand(self, output_dir: Path, name: str, found: str) -> str | None:
        """Give the threshold that a language file keeps, where it is not the one that was found.

        Args:
            output_dir: The folder.
            name: Of the language file.
            found: What an export would write there.
        """
        path = output_dir / name
        if not self._is_edited(path, self.hashes.get(name, "")):
            return None
        there = threshold_in(_read_edited(path))
        follows = name in self.hashes and there in self.said.get(THRESHOLD, ())
        return None if follows or there == found else there or None

    def write_but_edited(
        self, output_dir: Path, texts: Mapping[str, str], *, now: Mapping[str, str]
    ) -> tuple[Kept, ...]:
        """Write the texts, but leave those that somebody has edited since, or that are not ours.

        In an edited file that was ours, what earlier exports said of the checkpoint is replaced,
        and the missing link filled in. What is written counts as ours from before it is: killed in
        between, no later export takes it for edited.

        Args:
            output_dir: The folder.
            texts: What to write, by name.
            now: What holds of the checkpoint, by word as in `renewing`.

        Raises:
            AsdtuneError: An edited file is no text.
        """
        told = {name: text_hash(without_words(name, text, now)) for name, text in texts.items()}
        edited = {
            name: _read_edited(output_dir / name)
            for name, text in texts.items()
            if self._is_edited(output_dir / name, self.hashes.get(name) or text_hash(text))
        }
        for name in edited.keys() - self.hashes.keys():  # the record of it may be lost
            if edited[name].replace(NO_LINK, now[LINK]) == texts[name]:
                del edited[name]
        kept = {name: self._kept(output_dir / name, name, told[name]) for name in edited}
        ours = {name: text_hash(text) for name, text in texts.items() if name not in edited}
        self.begun = sorted({*self.begun, *ours.values()})
        self.hashes = {**ours, **self.hashes}
        said = {word: sorted({*self.said.get(word, ()), value}) for word, value in now.items()}
        olds, self.said = self.said, said
        self._save(output_dir)
        for name, text in texts.items():
            if name not in edited:
                write_text(output_dir / name, text)
                continue
            if not kept[name].is_ours:
                continue
            new = renewed(name, edited[name], said=olds, now=now)
            if new != edited[name]:
                what = renewed_words(name, edited[name], said=olds, now=now)
                kept[name] = replace(kept[name], renewed=what)
                write_text(output_dir / name, new)
        left = self._left(output_dir, texts)
        self.hashes |= ours
        if not left:  # in which words of earlier exports may still stand
            self.said = {word: [value] for word, value in now.items()}
        self.told = {name: self.told[name] for name in left if name in self.told} | told
        self.outdated = {name: self.outdated[name] for name in left if name in self.outdated} | {
            name: content_hash(output_dir / name) for name in kept if kept[name].is_outdated
        }
        return tuple(kept.values())

    def remove_others(self, output_dir: Path, names: Collection[str]) -> tuple[Kept, ...]:
        """Delete what an earlier export wrote and this one did not; give what stays, as edited."""
        left = self._left(output_dir, names)
        for name in self.hashes.keys() - {*names, *left}:
            (output_dir / name).unlink(missing_ok=True)
            del self.hashes[name]
        return tuple(Kept(name, is_ours=True, is_outdated=False, is_left=True) for name in left)

    def _left(self, output_dir: Path, names: Collection[str]) -> list[str]:
        """Name what earlier exports wrote and this one does not, and somebody has edited."""
        others = sorted(self.hashes.keys() - set(names))
        return [name for name in others if self._is_edited(output_dir / name, self.hashes[name])]

    def _is_edited(self, path: Path, known: str) -> bool:
        return path.is_file() and content_hash(path) not in (known, *self.begun)

    def _kept(self, path: Path, name: str, told: str) -> Kept:
        """Say of an edited file whether it is up to date.

        It is out of date from when an export would write other things on, until somebody edits it
        again.
        """
        if name not in self.hashes:
            return Kept(name, is_ours=False, is_outdated=False)
        has_changed = self.told.get(name, told) != told
        is_as_left = self.outdated.get(name) == content_hash(path)
        return Kept(name, is_ours=True, is_outdated=has_changed or is_as_left)

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
