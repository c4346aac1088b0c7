"""Languages: what a user calls one, and what Whisper calls it."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass

from asdtune.errors import UsageError

# openai/whisper, whisper/tokenizer.py, LANGUAGES
# fmt: off
WHISPER_CODES = frozenset([
    "af", "am", "ar", "as", "az", "ba", "be", "bg", "bn", "bo", "br", "bs", "ca", "cs", "cy", "da",
    "de", "el", "en", "es", "et", "eu", "fa", "fi", "fo", "fr", "gl", "gu", "ha", "haw", "he",
    "hi", "hr", "ht", "hu", "hy", "id", "is", "it", "ja", "jw", "ka", "kk", "km", "kn", "ko", "la",
    "lb", "ln", "lo", "lt", "lv", "mg", "mi", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl",
    "nn", "no", "oc", "pa", "pl", "ps", "pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "sn", "so",
    "sq", "sr", "su", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "uk", "ur", "uz",
    "vi", "yi", "yo", "yue", "zh",
])
# fmt: on
_WHISPER_SPELLING = {"jv": "jw", "nb": "no", "fil": "tl"}  # where Whisper keeps another code
_OTHER_NAMES = {  # in English: Whisper's TO_LANGUAGE_CODE, and Farsi
    "burmese": "my", "castilian": "es", "farsi": "fa", "flemish": "nl", "haitian": "ht",
    "letzeburgesch": "lb", "mandarin": "zh", "moldavian": "ro", "moldovan": "ro", "panjabi": "pa",
    "pashto": "ps", "pushto": "ps", "sinhalese": "si", "valencian": "ca",
}  # fmt: skip
_NO_LANGUAGES = ("mis", "mul", "und", "zxx")  # codes of ISO 639 for none, or for several
_A_VARIETY = 15  # a distance of langcodes, which it gives to members of a macrolanguage


@dataclass(frozen=True)
class Language:
    """A language.

    Attributes:
        title: English name, such as `Swahili`.
        slug: For file names, such as `swahili`.
        code: Whisper's code if it knows the language, else the ISO code.
        iso: The ISO 639 code, of two letters where there is one.
        is_in_whisper: Whether Whisper knows the language, or that of which it is a variety.
        variety_of: The language whose code Whisper has instead, such as `Arabic` of Egyptian
            Arabic; None where Whisper has a code of its own for it, or none at all.
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
        >>> find_language("Kiswahili")
        Language(title='Swahili', slug='swahili', code='sw', iso='sw', is_in_whisper=True, \
variety_of=None)
    """
    import langcodes

    wanted = _OTHER_NAMES.get(_plain(name.strip()), name.strip())
    try:
        if langcodes.tag_is_valid(wanted):
            tag = langcodes.Language.get(wanted)
        else:
            tag = langcodes.find(wanted)
            names = (tag.language_name("en"), tag.language_name("en").split(" (")[0], tag.autonym())
            if _plain(wanted) not in map(_plain, names):
                # The word for it in some third language; or a slip of the pen.
                raise _unknown(wanted, meant=f"{names[0]} ({tag.language})")
    except LookupError as error:
        raise _unknown(wanted) from error
    tag = tag.prefer_macrolanguage()
    iso = tag.language or "und"
    title = tag.language_name("en")
    if title.startswith("Unknown language") or iso in _NO_LANGUAGES:
        raise _unknown(wanted)
    code, parent = _code_in_whisper(iso)
    return Language(title, _slug(title) or iso, code, iso, code in WHISPER_CODES, parent)


def _code_in_whisper(iso: str) -> tuple[str, str | None]:
    """Give Whisper's code, and the name of the language it is of, if that is another.

    Examples:
        >>> _code_in_whisper("arz"), _code_in_whisper("jv"), _code_in_whisper("quy")
        (('ar', 'Arabic'), ('jw', None), ('quy', None))
    """
    import langcodes

    code = _WHISPER_SPELLING.get(iso, iso)
    if code in WHISPER_CODES:
        return code, None
    distances = {each: _distance(iso, each) for each in sorted(WHISPER_CODES)}
    nearest = min(distances, key=distances.__getitem__)
    if distances[nearest] > _A_VARIETY:
        return code, None
    return nearest, langcodes.get(nearest).language_name("en")


def _distance(iso: str, other: str) -> int:
    """Tell how far languages are from each other, however they are written."""
    import langcodes

    script = langcodes.get(other).maximize().script
    return langcodes.tag_distance(f"{iso}-{script}", other)


def _slug(title: str) -> str:
    """Write a name with the letters a-z, digits and `_`.

    Examples:
        >>> _slug("Norwegian Bokmål")
        'norwegian_bokmal'
    """
    kept = (c if c.isascii() and c.isalnum() else " " for c in _plain(title))
    return "_".join("".join(kept).split())


def _plain(name: str) -> str:
    """Leave case and accents away."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _nearest(name: str) -> str | None:
    """Give the language among those that Whisper knows whose English name is spelt most alike."""
    import langcodes

    names = {
        _plain(langcodes.Language.get(code).language_name("en")): code for code in WHISPER_CODES
    }
    near = difflib.get_close_matches(_plain(name), names, n=1, cutoff=0.75)
    return f"{near[0].title()} ({names[near[0]]})" if near else None


def _unknown(name: str, *, meant: str | None = None) -> UsageError:
    how = "give its English name, its own name, or its ISO 639 code, such as sw or quy"
    if meant is None:
        meant = _nearest(name)
    return UsageError(
        f"no language is called {name!r}",
        where="--language",
        fix=how if meant is None else f"did you mean {meant}? {how}",
    )
