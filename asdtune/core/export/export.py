"""The folder that is laid over an AnnoTheia checkout and opened as a pull request.

In: a checkpoint, what is known of it, and the language. Out:
`configs/annotheia_pipeline_<language>.yaml`, the checkpoint under
`modules/active_speaker_detection/talknet_asd/weights/` with its twin in safetensors,
`MODEL_CARD.md`, `CITATION.cff`, `.zenodo.json`, `PULL_REQUEST.md`, `UPSTREAM_NOTE.md` and
`SHA256SUMS`; for a network that the toolkit lacks a detector module and a patch that registers it,
instead of the note. What only a person knows is left open by name, never invented.

    export = make_export(Path("best.pth"), language="swahili", ...)
    write_folder(export.files, Path("export"), overwrite=False)
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asdtune.core.export.annotheia import PLACES, Submission
from asdtune.core.export.card import values_for
from asdtune.core.export.detector_module import detector_files
from asdtune.core.export.languages import about_whisper, find_language
from asdtune.core.export.provenance import (
    CardMetadata,
    ReportPaths,
    find_provenance,
    open_marks,
    report_of,
)
from asdtune.core.export.rendering import render
from asdtune.core.models.checkpoints import CheckpointInfo, load_network, read_info
from asdtune.core.rates import check_window_size
from asdtune.errors import AsdtuneError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

MODEL_CARD, CITATION = "MODEL_CARD.md", "CITATION.cff"
_PULL_REQUEST, _UPSTREAM_NOTE = "PULL_REQUEST.md", "UPSTREAM_NOTE.md"
_LEAST_AUC_IN_TOOLKIT = 55.0  # percent; chance gives 50


@dataclass(frozen=True)
class Export:
    """What will be written of a submission."""

    submission: Submission

    @property
    def files(self) -> dict[str, bytes]:
        """Give what all files hold, by name."""
        told = self.submission
        values = values_for(told)
        texts = {
            told.config: render("annotheia_pipeline.yaml", **values),
            MODEL_CARD: render(MODEL_CARD, **values),
            CITATION: render(CITATION, **values),
            ".zenodo.json": render("zenodo.json", **values),
            _PULL_REQUEST: render(_PULL_REQUEST, **values),
            **detector_files(told.place),
        }
        if not told.place.sources:  # the toolkit has this network
            texts[_UPSTREAM_NOTE] = render(_UPSTREAM_NOTE, **values)
        encoded = {name: text.encode() for name, text in texts.items()}
        return {**encoded, told.weights: told.pth, told.twin: told.safetensors}

    @property
    def to_do(self) -> list[str]:
        """Name what is still open in the files, and where."""
        to_do = [f"{what}: {', '.join(names)}" for what, names in open_marks(self.files).items()]
        language = self.submission.language
        if not language.is_in_whisper:
            to_do.append(
                f"the YAML's speech recogniser: Whisper does not know {language.title} "
                "(PULL_REQUEST.md tells what to do)"
            )
        return to_do

    @property
    def notes(self) -> list[str]:
        """Say what a person should know of it."""
        language = self.submission.language
        return [about_whisper(language)] if language.variety_of else []


def make_export(
    checkpoint: Path,
    *,
    language: str,
    checkpoint_url: str | None,
    window_size: int | None,
    reports: ReportPaths,
    metadata: CardMetadata,
    force: bool,
) -> Export:
    """Put together what is submitted, and write nothing.

    Args:
        checkpoint: The fine-tuned checkpoint.
        language: English name, own name or ISO code.
        checkpoint_url: Where the checkpoint can be downloaded, if it is uploaded already.
        window_size: W, for a checkpoint that no run describes.
        reports: Those that may tell something of the checkpoint.
        metadata: What only a person knows.
        force: Also export a network that an evaluation found to be worse than before.

    Raises:
        UsageError: The language is unknown, or the window size is missing or another than the
            run's.
        AsdtuneError: The checkpoint or a report is bad, or the network is not fit for use.
    """
    found = find_language(language)
    if not checkpoint.is_file():
        raise AsdtuneError(
            "no such checkpoint",
            where=checkpoint,
            fix="run asdtune train first, in the project's folder, or name it with --checkpoint",
        )
    info = read_info(checkpoint)
    size = _window_size(info, window_size, checkpoint)
    name, network = load_network(checkpoint)
    known = find_provenance(checkpoint, size, reports, metadata, info)
    if not force:
        for path in (reports.evaluation, reports.labels):
            _refuse_unfit(checkpoint, path)
    pth, safetensors = _weights(network.state_dict())
    return Export(Submission(found, PLACES[name], size, known, pth, safetensors, checkpoint_url))


def _refuse_unfit(checkpoint: Path, path: Path | None) -> None:
    """Refuse a network that forgot who is speaking, or that tells nothing in the toolkit."""
    report = report_of(checkpoint, path)
    if report is None:
        return
    fix = "train again (README, What tuning teaches); --force exports it all the same"
    verdict = report.get("verdict")
    if isinstance(verdict, dict) and verdict["lost"]:  # earlier versions wrote a sentence
        raise AsdtuneError(verdict["text"], where=path, fix=fix)
    area = report["checkpoint"].get("in_toolkit", {}).get("AUC")
    if area is not None and area < _LEAST_AUC_IN_TOOLKIT:
        raise AsdtuneError(
            f"as the toolkit scores, it tells who is speaking hardly better than by chance (AUC "
            f"{area:.0f}, chance 50)",
            where=path,
            fix=fix,
        )


def _weights(state: Mapping[str, Tensor]) -> tuple[bytes, bytes]:
    """Write weights as `torch.save` does, and as safetensors, a format that cannot carry code."""
    import torch
    from safetensors.torch import save

    pth = io.BytesIO()
    torch.save({**state}, pth)
    return pth.getvalue(), save({**state}, metadata={"format": "pt"})


def _window_size(info: CheckpointInfo | None, given: int | None, checkpoint: Path) -> int:
    size = given if info is None else info.window_size
    if size is None:
        raise UsageError(
            "no run describes this checkpoint, so its window size is unknown",
            where=checkpoint,
            fix="give --window-size, the one it was trained with",
        )
    if given not in (None, size):
        raise UsageError(
            f"this checkpoint was trained with windows of {size} frames, not {given}",
            where=checkpoint,
            fix="leave --window-size away",
        )
    return check_window_size(size)
