"""Links to a checkpoint: which may be written into an export, and how they are found again."""

from __future__ import annotations

import re

_LINK = re.compile(r"https?://[^\s|<>\[\]\"'`]+")
_MARKS_BEHIND = ".,;:!?)*_"


def check_link(link: str) -> str:
    """Give a link without white space around it.

    Raises:
        ValueError: It is none, or would not be found again in the text around it.

    Examples:
        >>> check_link("https://zenodo.org/1 ")
        'https://zenodo.org/1'
    """
    link = link.strip()
    if _LINK.fullmatch(link) is None:
        raise ValueError(
            "must be one link that begins with http:// or https://, without white space, quotes "
            f"and any of |<>[] (write a space as %20), found {link!r}"
        )
    return link


def find_links(text: str) -> list[str]:
    """Give all links in a text, with the marks that stand behind them."""
    return _LINK.findall(text)


def is_same_link(a: str, b: str) -> bool:
    """Tell whether two links differ in nothing but marks behind them, as of a sentence.

    Examples:
        >>> is_same_link("https://zenodo.org/1", "https://zenodo.org/1).")
        True
    """
    return a.rstrip(_MARKS_BEHIND) == b.rstrip(_MARKS_BEHIND)
