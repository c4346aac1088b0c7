"""Languages: what a user calls one, and what Whisper calls it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from asdtune.errors import UsageError

# openai/whisper, whisper/tokenizer.py, LANGUAGES
_WHISPER = """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he
    hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne
    nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk
    ur uz vi yi yo yue zh
"""
WHISPER_CODES = _WHISPER.split()
_SAME = 1  # a distance of langcodes between two codes of one language, such as jv and jw
_A_VARIETY = 15  # and between a language and one of its varieties
_NO_LANGUAGES = ("mis", "mul", "und", "zxx")  # codes of ISO 639 for none, or for several


@dataclass(frozen=True)
class Language:
    """A language by its names and codes.

    Attributes:
        title: English name, such as `Swahili`.
        slug: For file names, such as `swahili`.
        code: Whisper's code if it knows the language, else the ISO code.
        iso: The ISO 639 code, of two letters where there is one.
        is_in_whisper: Whether Whisper knows the language, or that of which it is a variety.
        variety_of: That language, such as `Arabic` of Egyptian Arabic; None if it is none.
    """

    title: str
    slug: str
    code: str
    iso: str
    is_in_whisper: bool
    variety_of: str | None = None


def find_language(name: str) -> Language:
    """Find a language by its English name, its own name, or an ISO 639 code.

    Raises:
        UsageError: Nobody knows a language of this name.

    Examples:
        >>> find_language("Kiswahili").code, find_language("arz").variety_of
        ('sw', 'Arabic')
    """
    import langcodes

    wanted = name.strip()
    try:
        is_code = langcodes.tag_is_valid(wanted)
        tag = langcodes.get(wanted) if is_code else langcodes.find(wanted, "en")
    except LookupError:
        tag = langcodes.get("und")
    tag = tag.prefer_macrolanguage()
    title, iso = tag.language_name("en"), tag.language or "und"
    if title.startswith("Unknown language") or iso in _NO_LANGUAGES:
        raise UsageError(
            f"no language is called {wanted!r}",
            where="--language",
            fix="give its English name, its own name, or its ISO 639 code, such as sw or quy",
        )
    code, distance = langcodes.closest_match(iso, WHISPER_CODES, max_distance=_A_VARIETY)
    if code == "und":
        return Language(title, _slug(title) or iso, iso, iso, is_in_whisper=False)
    parent = langcodes.get(code).language_name("en") if distance > _SAME else None
    return Language(title, _slug(title) or iso, code, iso, True, parent)


def about_whisper(language: Language) -> str:
    """Say what `lang` of the YAML holds where Whisper has no code for a language; else nothing."""
    if language.variety_of is not None:
        return (
            f"Whisper has no code for {language.title}: `lang` holds `{language.code}`, that of "
            f"{language.variety_of}."
        )
    if language.is_in_whisper:
        return ""
    return (
        f"Whisper does not know {language.title}: `lang` holds its ISO code `{language.code}`, "
        "with which the recogniser `whisper` stops. Who speaks is found without it; to "
        "transcribe, name another recogniser in `automatic_speech_recognition` and its `_conf` "
        "in the YAML (models of Meta's MMS know 1,107 languages)."
    )


def _slug(title: str) -> str:
    """Write a name with the letters a-z, digits and `_`.

    Examples:
        >>> _slug("Norwegian Bokmål")
        'norwegian_bokmal'
    """
    letters = unicodedata.normalize("NFKD", title.casefold())
    kept = (c if c.isascii() and c.isalnum() else " " * (not unicodedata.combining(c))
            for c in letters)  # fmt: skip
    return "_".join("".join(kept).split())
