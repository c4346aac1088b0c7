"""Published files (detector, weights): found in the cache, or downloaded once and checked."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from asdtune.core.files import whole_file
from asdtune.errors import AsdtuneError

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class PublishedFile:
    """A file on the web with the check that tells it is whole and the right one.

    `check` is `sha256:<hex>` or `git-blob:<hex>`, the id under which git stores the content; empty
    where none is published.
    """

    name: str
    url: str
    check: str


def cached_path(published: PublishedFile) -> Path:
    """Give where the published file lies once it was downloaded, or put there by hand."""
    return Path(platformdirs.user_cache_dir("asdtune", appauthor=False)) / published.name


def fetch(published: PublishedFile, *, instead: str) -> Path:
    """Give the path of a published file, downloading it on first use.

    Args:
        published: The file and its check.
        instead: What a user without a network does, completing "or ..." in the error's fix.

    Raises:
        AsdtuneError: There is no network, or what came is not the published file.
    """
    path = cached_path(published)
    if path.is_file() and matches(path, published.check):
        return path
    logger.info("downloading %s", published.url)
    try:
        with whole_file(path) as beside:
            _download(published.url, beside)
            if not matches(beside, published.check):
                raise AsdtuneError(
                    f"the download is not the published file ({published.check} expected)",
                    where=published.url,
                    fix=f"try again later, or {instead}",
                )
    except OSError as error:  # requests' exceptions are OSErrors too
        there = (
            "not on this machine" if not path.exists() else "damaged, or another file of its name"
        )
        raise AsdtuneError(
            f"{published.name} is {there}, and cannot be downloaded",
            where=published.url,
            fix=f"download it on a machine with a network and put it at {path}, or {instead}",
        ) from error
    return path


def matches(path: Path, check: str) -> bool:
    """Tell whether a file's content passes a check such as `sha256:<hex>` or `git-blob:<hex>`."""
    if not check:
        return True
    kind, _, expected = check.partition(":")
    content = path.read_bytes()
    if kind == "git-blob":
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    else:
        digest = hashlib.new(kind, content)
    return digest.hexdigest() == expected


def _download(url: str, path: Path) -> None:
    import pooch  # brings requests: only when something must be downloaded

    pooch.HTTPDownloader(progressbar=False, timeout=_TIMEOUT_SECONDS)(url, str(path), None)
