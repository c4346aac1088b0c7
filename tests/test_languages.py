"""Languages and licences by the names that people give them."""

from __future__ import annotations

import pytest

from asdtune.core.export.languages import WHISPER_CODES, find_language
from asdtune.core.export.licences import find_licence, licence_in_cff, licence_on_hub
from asdtune.errors import UsageError


@pytest.mark.parametrize("name", ["swahili", "Kiswahili", "sw", "swh", " Swahili "])
def test_language_is_found_by_any_of_its_names(name: str) -> None:
    found = find_language(name)
    assert (found.title, found.slug, found.code, found.is_in_whisper) == (
        "Swahili", "swahili", "sw", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code", "parent"),
    [
        ("javanese", "jw", None),  # as Whisper spells it
        ("nb", "no", None),
        ("fil", "tl", None),
        ("Egyptian Arabic", "ar", "Arabic"),
        ("azb", "az", "Azerbaijani"),
        ("wuu", "zh", "Chinese"),
        ("gsw", "de", "German"),
        ("yue", "yue", None),
        ("nn", "nn", None),
        ("sco", "sco", None),
        ("quy", "quy", None),
    ],
)
def test_language_has_whispers_code_or_that_of_its_parent(
    name: str, code: str, parent: str | None
) -> None:
    found = find_language(name)
    assert (found.code, found.variety_of) == (code, parent)
    assert found.is_in_whisper == (code in WHISPER_CODES)
    assert (found.iso == "jv") == (name == "javanese")


# openai/whisper, whisper/tokenizer.py, TO_LANGUAGE_CODE; and Farsi
ALIASES = {
    "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb",
    "pushto": "ps", "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si",
    "castilian": "es", "mandarin": "zh", "farsi": "fa",
}  # fmt: skip


@pytest.mark.parametrize("name", ALIASES)
def test_other_english_names_are_found(name: str) -> None:
    assert find_language(name.title()).code == ALIASES[name]


@pytest.mark.parametrize(
    ("name", "slug"), [("nb", "norwegian_bokmal"), ("Võro", "voro"), ("Māori", "maori")]
)
def test_names_of_files_are_ascii(name: str, slug: str) -> None:
    assert find_language(name).slug == slug


@pytest.mark.parametrize("name", ["xqzw", "qqq", "und", "mul", "zxx", "frensh", "swahilli", ""])
def test_unknown_or_misspelt_language_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match=f"no language is called '{name}'"):
        find_language(name)


def test_whisper_codes_are_those_of_whisper() -> None:
    assert len(WHISPER_CODES) == 100
    assert all(find_language(code).code == code for code in WHISPER_CODES)


@pytest.mark.parametrize(
    ("name", "spdx"),
    [("mit", "MIT"), ("CC BY 4.0", "CC-BY-4.0"), ("gpl-3.0-OR-later", "GPL-3.0-or-later")],
)
def test_licence_is_spelt_as_spdx_spells_it(name: str, spdx: str) -> None:
    assert find_licence(name) == spdx


@pytest.mark.parametrize(
    "name",
    ["", "free for all", "cc-by-40", "MIT OR Apache-2.0", "(MIT)", "GPL-3.0+", "LicenseRef-x"],
)
def test_what_is_no_single_licence_of_the_list_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be an SPDX identifier"):
        find_licence(name)


@pytest.mark.parametrize(
    ("spdx", "on_hub", "in_cff"),
    [
        ("Apache-2.0", "apache-2.0", "license"),
        ("GPL-3.0-or-later", "gpl-3.0", "license"),
        ("C-UDA-1.0", "c-uda", "license"),
        ("CDLA-Permissive-2.0", "cdla-permissive-2.0", "license-url"),  # newer than CFF 1.2.0
        ("CC-BY-SA-3.0-DE", "other", "license-url"),
    ],
)
def test_licence_is_named_as_the_hub_and_cff_name_it(spdx: str, on_hub: str, in_cff: str) -> None:
    assert licence_on_hub(spdx)["license"] == on_hub
    assert list(licence_in_cff(spdx)) == [in_cff]
