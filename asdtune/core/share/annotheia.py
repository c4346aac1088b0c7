"""The folder that is laid over an AnnoTheia checkout and opened as a pull request.

In: a checkpoint, what the run and the evaluation told of it, and the language. Out:
`configs/annotheia_pipeline_<language>.yaml`, the checkpoint under
`modules/active_speaker_detection/talknet_asd/weights/`, `MODEL_CARD.md`, `.zenodo.json`,
`PULL_REQUEST.md` and `SHA256SUMS`; for a network that the toolkit lacks a detector module and a
patch that registers it, too. What only a person knows is left open by name, never invented.

    export = export_config(Path("best.pth"), Path("export"), language="swahili", ...)
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asdtune import __version__
from asdtune.core.files import content_hash, sha256, write_json, write_text
from asdtune.core.networks.checkpoints import CheckpointInfo, load_network, read_info, save_whole
from asdtune.core.rates import check_window_size, seconds_of_frames
from asdtune.core.share.detector import (
    DETECTORS_DIR,
    PLACES,
    Place,
    detector_module,
    filled,
    registering_patch,
)
from asdtune.core.share.languages import Language, find_language
from asdtune.core.tune.evaluation import SPEAKERS_OF, read_report
from asdtune.errors import AsdtuneError, UsageError

TOOLKIT_THRESHOLD = 0.04  # what the toolkit's own files have
_WRITTEN = ".asdtune/export-config.json"
_LINK_MISSING = "FILL IN: the link, once the checkpoint is uploaded"


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        language: The language as it was found.
        output_dir: The folder.
        paths: Its files, relative to the folder.
        to_do: What only a person can fill in.
        kept: Files that somebody has edited since and that were left so, but for the link.
    """

    language: Language
    output_dir: Path
    paths: tuple[str, ...]
    to_do: tuple[str, ...]
    kept: tuple[str, ...]


def export_config(
    checkpoint: Path,
    output_dir: Path,
    *,
    language: str,
    checkpoint_url: str | None,
    window_size: int | None,
    report: Path | None,
) -> Export:
    """Write the submission folder.

    Args:
        checkpoint: The fine-tuned checkpoint.
        output_dir: Where the folder goes.
        language: English name, own name or ISO code.
        checkpoint_url: Where the checkpoint can be downloaded, if it is uploaded already.
        window_size: W, for a checkpoint that no run describes.
        report: The `report.json` of `evaluate`, if there is one.

    Returns:
        What was written.

    Raises:
        UsageError: The language is unknown, or the window size is missing or another than the
            run's.
        AsdtuneError: The checkpoint is bad.
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
    network_name, network = load_network(checkpoint)
    place = PLACES[network_name]
    results = _read_report(report, checkpoint, size)
    config = f"configs/annotheia_pipeline_{found.slug}.yaml"
    name = f"{found.slug}_{place.folder.replace('_', '')}_{size}frames.pth"
    weights = f"{place.weights_dir}/{name}"
    save_whole(output_dir / weights, network.state_dict())
    written = _Written.read(output_dir)
    checkpoint_url = written.remember_link(checkpoint_url, sha256(output_dir / weights))
    words = {
        "citation": place.citation,
        "checkpoint_name": name,
        "checkpoint_path": f"./{weights}",
        "checkpoint_sha256": sha256(output_dir / weights),
        "download": checkpoint_url or _LINK_MISSING,
        "epoch": str(info.epoch) if info else "unknown",
        "lang": found.code,
        "detector": place.key,
        "language": found.slug,
        "language_title": found.title,
        "results": _results_table(results),
        "network": place.title,
        "n_parameters": place.n_parameters,
        "started_from": info.started_from if info else "unknown",
        "threshold": str(_threshold(results)),
        "toolkit_threshold": str(TOOLKIT_THRESHOLD),
        "version": __version__,
        "whisper_note": _whisper_note(found),
        "window_seconds": f"{seconds_of_frames(size):.2f}",
        "window_size": str(size),
        **_detector_words(place),
    }
    texts = {
        config: filled("annotheia_pipeline.yaml", **words),
        "MODEL_CARD.md": filled("MODEL_CARD.md", **words),
        "PULL_REQUEST.md": filled("PULL_REQUEST.md", **words),
        ".zenodo.json": json.dumps(_zenodo(found, place, size), indent=2, ensure_ascii=False)
        + "\n",
        **_detector_files(place),
    }
    kept = _write_but_edited(output_dir, texts, written, link=checkpoint_url)
    written.hashes[weights] = content_hash(output_dir / weights)
    written.remove_others(output_dir, {weights, *texts})
    written.save(output_dir)
    paths = (config, weights, *(path for path in texts if path != config))
    sums = [f"{sha256(output_dir / path)}  {path}\n" for path in sorted(paths)]
    write_text(output_dir / "SHA256SUMS", "".join(sums))
    to_do = _to_do(found, checkpoint_url, is_evaluated=results is not None)
    return Export(found, output_dir, (*paths, "SHA256SUMS"), to_do, kept)


def _detector_files(place: Place) -> dict[str, str]:
    """Write what the toolkit needs for a network that it does not have."""
    if not place.sources:
        return {}
    return {place.module: detector_module(place), place.patch: registering_patch(place)}


def _detector_words(place: Place) -> dict[str, str]:
    """Say in the pull request what these files are, and what to do with them."""
    if not place.sources:
        return {"detector_differs": "", "detector_note": "", "apply_patch": ""}
    folder = f"{DETECTORS_DIR}/{place.folder}"
    return {
        "detector_differs": "detector, ",
        "detector_note": f"""
The toolkit has no {place.title} yet: `{place.module}` is its detector,
in one file with the network, and `{place.patch}` registers it.
""",
        "apply_patch": f"""\
       git apply FOLDER/{place.patch}     # FOLDER is this one
       mkdir {folder} && cp FOLDER/{place.module} {folder}/
       git add tasks {DETECTORS_DIR}/__init__.py {place.module}
""",
    }


@dataclass
class _Written:
    """What an earlier export wrote.

    Attributes:
        hashes: Of each file, by its name.
        link: Where the checkpoint was uploaded.
        link_sha256: Of that checkpoint: the link is not that of any other.
    """

    hashes: dict[str, str] = field(default_factory=dict)
    link: str | None = None
    link_sha256: str | None = None

    @classmethod
    def read(cls, output_dir: Path) -> _Written:
        """Read it; nothing where there is no record, or none of this form."""
        try:
            return cls(**json.loads((output_dir / _WRITTEN).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def save(self, output_dir: Path) -> None:
        """Write it for the next export."""
        write_json(output_dir / _WRITTEN, asdict(self))

    def remember_link(self, link: str | None, checkpoint_sha256: str) -> str | None:
        """Keep a new link, or give the earlier one if it is of this checkpoint."""
        if link is not None:
            self.link, self.link_sha256 = link, checkpoint_sha256
        return self.link if self.link_sha256 == checkpoint_sha256 else None

    def is_edited(self, path: Path, name: str) -> bool:
        """Tell whether somebody has edited a file since."""
        return path.is_file() and name in self.hashes and content_hash(path) != self.hashes[name]

    def remove_others(self, output_dir: Path, names: Collection[str]) -> None:
        """Delete what the earlier export wrote and this one did not, unless it was edited."""
        for name in self.hashes.keys() - set(names):
            if not self.is_edited(output_dir / name, name):
                (output_dir / name).unlink(missing_ok=True)
            del self.hashes[name]


def _write_but_edited(
    output_dir: Path, texts: dict[str, str], written: _Written, *, link: str | None
) -> tuple[str, ...]:
    """Write the texts, but leave those that somebody has edited since; give their names.

    In an edited file only the missing link is filled in.
    """
    kept = []
    for name, text in texts.items():
        path = output_dir / name
        if written.is_edited(path, name):
            kept.append(name)
            edited = path.read_text(encoding="utf-8")
            if link is not None and _LINK_MISSING in edited:
                write_text(path, edited.replace(_LINK_MISSING, link))
        else:
            write_text(path, text)
            written.hashes[name] = content_hash(path)
    return tuple(kept)


def _window_size(info: CheckpointInfo | None, given: int | None, checkpoint: Path) -> int:
    if info is None and given is None:
        raise UsageError(
            "no run describes this checkpoint, so its window size is unknown",
            where=checkpoint,
            fix="give --window-size, the one it was trained with",
        )
    if info is not None and given not in (None, info.window_size):
        raise UsageError(
            f"this checkpoint was trained with windows of {info.window_size} frames, not {given}",
            where=checkpoint,
            fix="leave --window-size away",
        )
    size = info.window_size if info is not None else given
    assert size is not None
    return check_window_size(size)


def _read_report(path: Path | None, checkpoint: Path, window_size: int) -> dict[str, Any] | None:
    """Read what `evaluate` found, if it was this checkpoint, with windows of its own size."""
    report = {} if path is None else read_report(path)
    if not report or report["checkpoint"]["blake2b"] != content_hash(checkpoint):
        return None
    return report if report["window_size"] == window_size else None


def _threshold(report: dict[str, Any] | None) -> float:
    """Give the threshold of the best F1 as the toolkit scores; the toolkit's own without one."""
    found = {} if report is None else report["checkpoint"].get("thresholds_in_toolkit", {})
    return float(f"{found['best_f1']['threshold']:.4g}") if found else TOOLKIT_THRESHOLD


def _results_table(report: dict[str, Any] | None) -> str:
    if report is None:
        return "Not evaluated yet: run `asdtune evaluate`, then `asdtune export-config` again."
    lines = [
        f"On the {report['split']} split: {report['n_windows']} windows of "
        f"{report['n_speakers']} speakers.",
        "",
        "| windows | mAP | mAP by chance | accuracy |",
        "| --- | --- | --- | --- |",
    ]
    rows = {"all": report}
    rows |= {f"{kind} ({each['n_windows']})": each for kind, each in report["by_kind"].items()}
    for name, entry in rows.items():
        figures = (entry.get(key) for key in ("mAP", "chance_mAP", "accuracy"))
        written = ("" if each is None else f"{each:.1f}" for each in figures)
        lines.append(f"| {name} | {' | '.join(written)} |")
    return "\n".join([*lines, "", SPEAKERS_OF[report["split"]]]).rstrip()


def _zenodo(language: Language, place: Place, window_size: int) -> dict[str, Any]:
    return {
        "title": f"{place.title} for {language.title}, {window_size} frames",
        "upload_type": "other",
        "description": "Active speaker detection fine-tuned with asdtune for the AnnoTheia "
        "toolkit. See MODEL_CARD.md.",
        "creators": [{"name": "FILL IN: family name, given names"}],
        "license": "FILL IN: a licence identifier such as cc-by-4.0",
        "keywords": ["active speaker detection", "audio-visual speech", language.title],
    }


def _to_do(
    language: Language, checkpoint_url: str | None, *, is_evaluated: bool
) -> tuple[str, ...]:
    to_do = [
        "MODEL_CARD.md: who recorded the videos, consent, licence, whom to cite",
        ".zenodo.json: creators, license",
    ]
    if not is_evaluated:
        to_do.append("the results: run evaluate on this checkpoint, then export-config again")
    if checkpoint_url is None:
        to_do.insert(0, "--checkpoint-url: the link, once the checkpoint is uploaded")
    if not language.is_in_whisper:
        to_do.append(f"the YAML's speech recogniser: Whisper does not know {language.title}")
    return tuple(to_do)


def _whisper_note(language: Language) -> str:
    if language.is_in_whisper:
        return ""
    return (
        f"\nWhisper does not know {language.title}: `lang` holds its ISO code {language.code}, and "
        "the toolkit needs another speech recogniser for it.\n"
    )
