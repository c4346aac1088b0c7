"""How the checkpoint is deposited and cited: `.zenodo.json` and `CITATION.cff`.

`.zenodo.json` is metadata of Zenodo's deposit API (https://developers.zenodo.org, the schema
`legacyrecord.json` of zenodo/zenodo), `CITATION.cff` of the Citation File Format 1.2.0. Authors and
licence that are not known are asked for by a mark, which both formats carry as text.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from asdtune import __version__
from asdtune.core.export.annotheia import Submission
from asdtune.core.export.licences import licence_in_cff
from asdtune.core.export.provenance import FILL_IN

CITATION = "CITATION.cff"
ZENODO = ".zenodo.json"
_MESSAGE = "If you use this checkpoint, cite it as below, and the works that MODEL_CARD.md names."


def zenodo_json(submission: Submission) -> str:
    """Write the metadata of a Zenodo deposit.

    An unknown licence is marked, not left out: Zenodo would then publish under CC-BY-4.0.
    """
    metadata = submission.known.metadata
    toolkit = {
        "identifier": "https://github.com/joactr/AnnoTheia",
        "relation": "isSupplementTo",
        "scheme": "url",
    }
    data = {
        "title": submission.title,
        "upload_type": "other",
        "access_right": "open",
        "description": f"<p>{submission.title}: who on screen is speaking, frame by frame. "
        f"Fine-tuned with asdtune {__version__} for the AnnoTheia toolkit. MODEL_CARD.md tells "
        "data, recipe, results and limits.</p>",
        "creators": [{"name": name} for name in metadata.authors or (FILL_IN["authors"],)],
        "license": metadata.license or FILL_IN["license"],
        "keywords": _keywords(submission),
        "related_identifiers": [toolkit],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def citation_cff(submission: Submission) -> str:
    """Write how to cite the checkpoint. It is data, not software."""
    metadata = submission.known.metadata
    data: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": _MESSAGE,
        "type": "dataset",
        "title": submission.title,
        "authors": [_author(name) for name in metadata.authors] or [{"name": FILL_IN["authors"]}],
        "keywords": _keywords(submission),
    }
    if metadata.license is not None:
        data |= licence_in_cff(metadata.license)
    if submission.link is not None:
        data["url"] = submission.link
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _author(name: str) -> dict[str, str]:
    """Tell a person, `Family, Given`, from an institution.

    Examples:
        >>> _author("Okello, Grace")
        {'family-names': 'Okello', 'given-names': 'Grace'}
        >>> _author("Makerere University")
        {'name': 'Makerere University'}
    """
    family, _, given = (part.strip() for part in name.partition(","))
    return {"family-names": family, "given-names": given} if given else {"name": family}


def _keywords(submission: Submission) -> list[str]:
    about = [submission.place.title, submission.language.title]
    return ["active speaker detection", "audio-visual speech", *about]
