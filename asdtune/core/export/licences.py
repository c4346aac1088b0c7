"""Licences of weights: checked as SPDX identifiers, and named as CFF and the Hub name them."""

from __future__ import annotations

import re

# https://huggingface.co/docs/hub/repositories-licenses
_LICENCES = """
    AFL-3.0 AGPL-3.0 Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear BSL-1.0
    C-UDA-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0
    CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0
    CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0
    ECL-2.0 EPL-1.0 EPL-2.0 etalab-2.0 EUPL-1.1 EUPL-1.2 GPL-2.0 GPL-3.0 ISC LGPL-2.1 LGPL-3.0 MIT
    MPL-2.0 MS-PL NCSA OFL-1.1 OSL-3.0 PostgreSQL Unlicense WTFPL Zlib
"""
_ON_HUB = _LICENCES.split()
_IDENTIFIER = re.compile(r"(?!licenseref-)[a-z0-9.-]+", re.IGNORECASE)  # one, of the list
_NOT_IN_CFF = "CDLA-Permissive-2.0"  # CFF 1.2.0 knows what SPDX had in May 2021, the others here


def find_licence(name: str) -> str:
    """Give an SPDX identifier as SPDX spells it.

    Raises:
        ValueError: It is none, or several.

    Examples:
        >>> find_licence("cc by 4.0")
        'CC-BY-4.0'
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    wanted = "-".join(name.split())
    try:
        if _IDENTIFIER.fullmatch(wanted):
            return canonicalize_license_expression(wanted)
    except InvalidLicenseExpression:
        pass
    raise ValueError(
        f"must be an SPDX identifier such as CC-BY-4.0 (https://spdx.org/licenses), found {name!r}"
    )


def licence_in_cff(spdx: str) -> dict[str, str]:
    """Give a licence as CITATION.cff names it: by its address if CFF may not know it."""
    if _family(spdx) in _ON_HUB and spdx != _NOT_IN_CFF:
        return {"license": spdx}
    return {"license-url": _link(spdx)}


def licence_on_hub(spdx: str) -> dict[str, str]:
    """Give a licence as a model card on the Hub names it."""
    if _family(spdx) in _ON_HUB:
        return {"license": _family(spdx).lower().replace("c-uda-1.0", "c-uda")}
    return {"license": "other", "license_name": spdx.lower(), "license_link": _link(spdx)}


def _family(spdx: str) -> str:
    """Leave away whether later versions of a licence hold, too.

    Examples:
        >>> _family("GPL-3.0-or-later")
        'GPL-3.0'
    """
    return spdx.removesuffix("-only").removesuffix("-or-later")


def _link(spdx: str) -> str:
    return f"https://spdx.org/licenses/{spdx}.html"
