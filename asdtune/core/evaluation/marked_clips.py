"""What a file says of a clip: tiers with spans, of which one is of the person who is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from asdtune.core.corpus import Clip
from asdtune.core.csv_files import spelled
from asdtune.core.evaluation.spans import Span
from asdtune.errors import AsdtuneError

# How people and programs (Praat, MAUS, HTK) write silence, in capitals and brackets or not.
_SILENCE = ("", "#", "h#", ".", "sil", "silence", "silent", "sp", "pau", "pause", "p:")
_BRACKETS = "<>[](){}"
_N_NAMED = 8  # tiers, names or faces


@dataclass(frozen=True)
class Tier:
    """Who speaks when, as a tier, a name or a face has it; without spans nothing is marked."""

    name: str
    spans: list[Span]


@dataclass(frozen=True)
class MarkedClip:
    """What a file says of a clip: what this may be called, the likeliest first, and the tiers."""

    names: list[str]
    tiers: list[Tier]

    def spans_of_speaker(self, clip: Clip | None, where: Path) -> list[Span]:
        """Give the spans of the only tier, or of the one that is called like the clip's speaker.

        Args:
            clip: Which clip it is, if anybody knows.
            where: The file, for errors.

        Raises:
            AsdtuneError: There is no such tier, or it marks nothing.
        """
        alike = [tier for tier in self.tiers if clip and _is_alike(tier.name, clip.speaker)]
        chosen = alike if len(alike) == 1 else self.tiers
        if len(chosen) > 1:
            told = f"no clip, or several, called {self.names[0]}, whose speaker would tell which"
            if clip is not None:
                told = f"{len(alike) or 'none'} of them called like the speaker {clip.speaker}"
            raise AsdtuneError(
                f"{len(chosen)} tiers ({listed(tier.name for tier in chosen)}), and {told}",
                where=where, fix="give the tier of the person who is shown the name of the "
                "speaker's folder, or keep that tier only",
            )  # fmt: skip
        if not chosen or not chosen[0].spans:
            raise AsdtuneError(
                f"{f'tier {chosen[0].name}' if chosen else 'it'} marks nothing",
                where=where, fix="mark when the person who is shown speaks; if never, mark the "
                "whole clip, with the label silence",
            )  # fmt: skip
        return chosen[0].spans


def names_of(path: Path) -> list[str]:
    """Give what the clip of a file may be called: like the file, or like its place.

    Examples:
        >>> names_of(Path("labels/test/anna/anna_0000.eaf"))
        ['anna_0000', 'test/anna/anna_0000']
    """
    return [path.stem, "/".join(path.with_suffix("").parts[-3:])]


def marked_span(start_second: float, end_second: float, text: str, where: str | Path) -> list[Span]:
    """Make a span of a stretch and its text, speech unless this says silence; of a moment, none.

    Seconds are rounded to 1 ms, for programs write one boundary with different last digits.

    Raises:
        AsdtuneError: It ends before it begins, or lies before the clip.

    Examples:
        >>> marked_span(1.0, 2.0, "<SIL>", "")
        [Span(start_second=1.0, end_second=2.0, is_speaking=False)]
    """
    if not 0 <= start_second <= end_second < float("inf"):
        raise AsdtuneError(
            f"a stretch must begin at 0 or later and end later, not run from {start_second:g} to "
            f"{end_second:g} s",
            where=where, fix="let times count from the beginning of the clip",
        )  # fmt: skip
    is_speaking = text.strip().strip(_BRACKETS).strip().casefold() not in _SILENCE
    start, end = round(start_second, 3), round(end_second, 3)
    return [Span(start, end, is_speaking)] if start < end else []


def listed(names: Iterable[str]) -> str:
    """Name the first few."""
    told = list(names)
    told[_N_NAMED:] = [f"and {len(told) - _N_NAMED} more"] * (len(told) > _N_NAMED)
    return ", ".join(told)


def _is_alike(name: str, speaker: str) -> bool:
    return spelled(name).casefold() == spelled(speaker).casefold()
