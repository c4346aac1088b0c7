"""What an edited file says of the checkpoint: found in its text, and brought up to date there.

An export tells three things in several files, by these words of the templates:
`checkpoint_sha256`, `download` (the link, or the mark that asks for it) and `threshold`. Where
somebody has edited such a file, only what an earlier export had written there is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import yaml

from asdtune.core.share.findings import NO_LINK
from asdtune.core.share.links import find_links

SUM, LINK, THRESHOLD = "checkpoint_sha256", "download", "threshold"
_SUM = re.compile(r"(?<!\w)[0-9a-fA-F]{64}(?!\w)")
_LINK_LINE = re.compile(r"^\s*(?:# download:|\| download \||- checkpoint:)(.*)$", re.MULTILINE)
_THRESHOLD = re.compile(
    r"^(pipeline_conf:.*?^\s+threshold:[ ]*)([^\s#]*)", re.DOTALL | re.MULTILINE
)
_CITED = re.compile(r"^url: *['\"]?([^\s'\"]*)['\"]? *\n?", re.MULTILINE)


def renewed(
    name: str, text: str, *, said: Mapping[str, Collection[str]], now: Mapping[str, str]
) -> str:
    """Put what holds now in the place of what earlier exports wrote into a file.

    Args:
        name: Of the file.
        text: As it is.
        said: What earlier exports wrote, by word.
        now: What holds now, by word.
    """
    if name.endswith(".cff"):
        return _with_url(text, said[LINK], now[LINK]) if LINK in said else text
    if name.endswith(".yaml"):
        text = _with_threshold(text, said.get(THRESHOLD, ()), now[THRESHOLD])
    links = dict.fromkeys([NO_LINK, *said[LINK]], now[LINK]) if LINK in said else {}
    return _replaced(text, {**links, **dict.fromkeys(said.get(SUM, ()), now[SUM])})


def renewed_words(
    name: str, text: str, *, said: Mapping[str, Collection[str]], now: Mapping[str, str]
) -> tuple[str, ...]:
    """Say what `renewed` changes in a text, as people call it."""
    names = {LINK: "link", SUM: "checksum", THRESHOLD: "threshold"}
    return tuple(
        names[word]
        for word, olds in said.items()
        if renewed(name, text, said={word: olds}, now=now) != text
    )


def without_words(name: str, text: str, words: Mapping[str, str]) -> str:
    """Leave out of a text what `renewed` brings up to date, so that the rest can be compared."""
    said = {key: [value] for key, value in words.items()}
    return renewed(name, text, said=said, now=dict.fromkeys(words, ""))


def sums_in(text: str) -> list[str]:
    """Give all SHA-256 in a text."""
    return [each.lower() for each in _SUM.findall(text)]


def links_in(text: str) -> list[str]:
    """Give the links in those lines of a card, a pull request or a YAML that tell the download.

    Examples:
        >>> links_in("| download | https://zenodo.org/1 |")
        ['https://zenodo.org/1']
    """
    return [link for line in _LINK_LINE.findall(text) for link in find_links(line)]


def threshold_in(config: str) -> str | None:
    """Give the threshold of a language file as it stands there."""
    found = _THRESHOLD.search(config)
    return None if found is None else found[2]


def _with_threshold(config: str, olds: Collection[str], new: str) -> str:
    if threshold_in(config) not in olds:
        return config
    return _THRESHOLD.sub(lambda found: found[1] + new, config, count=1)


def _with_url(citation: str, olds: Collection[str], link: str) -> str:
    """Replace the link under which a work is cited; add it where there was none to write."""
    line = "" if link in ("", NO_LINK) else yaml.safe_dump({"url": link}, width=1000)
    cited = _CITED.search(citation)
    if cited is not None:
        return _CITED.sub(lambda _: line, citation, count=1) if cited[1] in olds else citation
    return citation if link in olds or not line else f"{citation.rstrip()}\n{line}"


def _replaced(text: str, new_of: Mapping[str, str]) -> str:
    """Replace whole words: no link that is only the beginning of another."""
    if not new_of:
        return text
    olds = "|".join(re.escape(old) for old in sorted(new_of, key=len, reverse=True))
    whole = rf"(?<![\w/])(?:{olds})(?![\w/%?&=#~+-]|[.:]\w)"
    return re.sub(whole, lambda found: new_of[found[0]], text)
