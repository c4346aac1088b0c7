"""Files of ELAN: who speaks is an annotation with a value, on the tier of a person.

In: an `.eaf`, XML with times in milliseconds. All that is not annotated is silence.

    marked = read_elan(Path("anna_0000.eaf"))[0]

It is read with `xml.etree`: pympi-ling gives no time to slots that ELAN leaves open, and tells of a
bad file by a `KeyError` or a bare `Exception`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np

from asdtune.core.csv_files import spelled
from asdtune.core.evaluation.marked_clips import MarkedClip, Tier, marked_span, names_of
from asdtune.core.evaluation.spans import Span, silent_elsewhere
from asdtune.errors import AsdtuneError, error_of_system

_HOW = "open it with ELAN and save it again"
_Times = dict[str, tuple[float, float]]  # where annotations begin and end, seconds


def read_elan(path: Path) -> list[MarkedClip]:
    """Read all tiers; the clip is called like the file, or like its media.

    Raises:
        AsdtuneError: It is missing, no such file, or its media have an offset.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
        media = [each.attrib for each in root.iterfind("HEADER/MEDIA_DESCRIPTOR")]
        has_offset = any(int(each.get("TIME_ORIGIN") or 0) for each in media)
        times = _times_of(root)
        tiers = [_tier(each, times, path) for each in root.iterfind("TIER")]
    except OSError as error:
        raise error_of_system(error, path) from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        told = f"no ELAN file that can be read ({type(error).__name__}: {error})"
        raise AsdtuneError(told, where=path, fix=_HOW) from error
    if has_offset:
        raise AsdtuneError(
            "its media have an offset (TIME_ORIGIN)", where=path,
            fix="in ELAN, link the clip alone, without an offset",
        )  # fmt: skip
    # ELAN begins every new file with an empty tier of this name.
    tiers = [tier for tier in tiers if tier.spans or tier.name != "default"] or tiers
    urls = [each.get("MEDIA_URL") or each.get("RELATIVE_MEDIA_URL", "") for each in media]
    stems = [PurePosixPath(spelled(unquote(url))).stem for url in urls]
    return [MarkedClip([*names_of(path), *stems], tiers)]


def _times_of(root: ElementTree.Element) -> _Times:
    """Time the annotations: by slots of time, or by the annotation to which they refer."""
    second_of = _seconds_of_slots(root)
    times = {
        each.attrib["ANNOTATION_ID"]: (
            second_of[each.attrib["TIME_SLOT_REF1"]],
            second_of[each.attrib["TIME_SLOT_REF2"]],
        )
        for each in root.iter("ALIGNABLE_ANNOTATION")
    }
    waiting = {
        each.attrib["ANNOTATION_ID"]: each.attrib["ANNOTATION_REF"]
        for each in root.iter("REF_ANNOTATION")
    }
    while ready := [each for each, parent in waiting.items() if parent in times]:
        times.update({each: times[waiting.pop(each)] for each in ready})
    return times


def _seconds_of_slots(root: ElementTree.Element) -> dict[str, float]:
    """Give the seconds of the slots; one without a time lies between its neighbours."""
    slots = [slot.attrib for slot in root.iterfind("TIME_ORDER/TIME_SLOT")]
    timed = [i for i, slot in enumerate(slots) if "TIME_VALUE" in slot]
    if not timed:
        return {}
    known = [float(slots[i]["TIME_VALUE"]) / 1000 for i in timed]
    seconds = np.interp(range(len(slots)), timed, known).tolist()
    return {slot["TIME_SLOT_ID"]: at for slot, at in zip(slots, seconds, strict=True)}


def _tier(tier: ElementTree.Element, times: _Times, path: Path) -> Tier:
    spans: list[Span] = []
    for annotation in tier.iterfind("ANNOTATION/*"):
        value = annotation.findtext("ANNOTATION_VALUE", "")
        if value.strip():
            spans += marked_span(*times[annotation.attrib["ANNOTATION_ID"]], value, path)
    return Tier(tier.attrib["TIER_ID"], silent_elsewhere(spans))
