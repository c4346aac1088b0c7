"""Licences that weights may have: SPDX identifiers, and how CFF and the Hub name them."""

from __future__ import annotations

import difflib

# https://spdx.org/licenses, of those what weights and data may have.
# fmt: off
# https://huggingface.co/docs/hub/repositories-licenses
_ON_HUB = (
    "AFL-3.0", "AGPL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause",
    "BSD-3-Clause-Clear", "BSL-1.0", "C-UDA-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0",
    "CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-3.0",
    "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0",
    "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0", "ECL-2.0", "EPL-1.0", "EPL-2.0", "etalab-2.0", "EUPL-1.1", "EUPL-1.2",
    "GPL-2.0", "GPL-3.0", "ISC", "LGPL-2.1", "LGPL-3.0", "MIT", "MPL-2.0", "MS-PL", "NCSA",
    "OFL-1.1", "OSL-3.0", "PostgreSQL", "Unlicense", "WTFPL", "Zlib",
)
_OTHERS = (
    "0BSD", "BlueOak-1.0.0", "BSD-1-Clause", "BSD-2-Clause-Patent", "BSD-4-Clause", "CC-BY-1.0",
    "CC-BY-3.0-AT", "CC-BY-3.0-DE", "CC-BY-3.0-IGO", "CC-BY-3.0-NL", "CC-BY-3.0-US",
    "CC-BY-NC-1.0", "CC-BY-NC-2.5", "CC-BY-NC-ND-1.0", "CC-BY-NC-ND-2.0", "CC-BY-NC-ND-2.5",
    "CC-BY-NC-ND-3.0-IGO", "CC-BY-NC-SA-1.0", "CC-BY-NC-SA-2.5", "CC-BY-ND-1.0", "CC-BY-ND-2.0",
    "CC-BY-ND-2.5", "CC-BY-ND-3.0", "CC-BY-SA-1.0", "CC-BY-SA-2.0", "CC-BY-SA-2.0-UK",
    "CC-BY-SA-2.1-JP", "CC-BY-SA-2.5", "CC-BY-SA-3.0-AT", "CC-BY-SA-3.0-DE", "CC-BY-SA-3.0-IGO",
    "CC-PDDC", "CECILL-2.1", "CECILL-B", "CECILL-C", "GFDL-1.3-only", "GFDL-1.3-or-later",
    "MIT-0", "MulanPSL-2.0", "O-UDA-1.0", "ODbL-1.0", "ODC-By-1.0", "OGL-Canada-2.0",
    "OGL-UK-3.0", "PDDL-1.0", "PolyForm-Noncommercial-1.0.0", "UPL-1.0",
)
_NOT_IN_CFF = frozenset({  # the list of CFF 1.2.0 is that of SPDX in May 2021
    "CC-BY-3.0-DE", "CC-BY-3.0-IGO", "CC-BY-3.0-NL", "CC-BY-SA-3.0-DE", "CC-BY-SA-3.0-IGO",
    "CDLA-Permissive-2.0",
})
# fmt: on
_VERSIONED = ("AGPL-", "GPL-", "LGPL-")
_HUB_SPELLING = {
    **{name: name.lower() for name in _ON_HUB},
    **{
        name + ending: name.lower()
        for name in _ON_HUB
        if name.startswith(_VERSIONED)
        for ending in ("-only", "-or-later")
    },
    "C-UDA-1.0": "c-uda",
}
LICENCES = (*_HUB_SPELLING, *_OTHERS)
_CANONICAL = {name.lower(): name for name in LICENCES}


def find_licence(name: str) -> str:
    """Give an SPDX identifier as SPDX spells it, which is how CFF wants it.

    Raises:
        ValueError: It is none, or none that weights may have.

    Examples:
        >>> find_licence("cc-by-4.0")
        'CC-BY-4.0'
    """
    wanted = "-".join(name.lower().split())
    if wanted in _CANONICAL:
        return _CANONICAL[wanted]
    near = difflib.get_close_matches(wanted, _CANONICAL, n=3)
    suggestion = f"; did you mean {' or '.join(_CANONICAL[each] for each in near)}?" if near else ""
    raise ValueError(f"must be an SPDX identifier such as CC-BY-4.0, found {name!r}{suggestion}")


def licence_in_cff(spdx: str) -> dict[str, str]:
    """Give a licence as a CITATION.cff names it."""
    if spdx in _NOT_IN_CFF:
        return {"license-url": _link(spdx)}
    return {"license": spdx}


def licence_on_hub(spdx: str) -> dict[str, str]:
    """Give a licence as a model card on the Hub names it."""
    if spdx in _HUB_SPELLING:
        return {"license": _HUB_SPELLING[spdx]}
    return {"license": "other", "license_name": spdx.lower(), "license_link": _link(spdx)}


def _link(spdx: str) -> str:
    return f"https://spdx.org/licenses/{spdx}.html"
