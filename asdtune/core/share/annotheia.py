"""The folder that is laid over an AnnoTheia checkout and opened as a pull request.

In: a checkpoint, what the run and the evaluation told of it, and the language. Out:
`configs/annotheia_pipeline_<language>.yaml`, the checkpoint under
`modules/active_speaker_detection/talknet_asd/weights/` with its twin in safetensors,
`MODEL_CARD.md`, `CITATION.cff`, `.zenodo.json`, `PULL_REQUEST.md`, `UPSTREAM_NOTE.md` and
`SHA256SUMS`; for a network that the toolkit lacks a detector module and a patch that registers it,
instead of the note. What only a person knows is left open by name, never invented.

    export = export_config(Path("best.pth"), Path("export"), language="swahili", ...)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asdtune import __version__
from asdtune.core.files import content_hash, sha256, write_text
from asdtune.core.networks.checkpoints import CheckpointInfo, load_network, read_info
from asdtune.core.rates import check_window_size, seconds_of_frames
from asdtune.core.share.deposit import citation_cff, zenodo_json
from asdtune.core.share.detector import (
    DETECTORS_DIR,
    PLACES,
    Place,
    detector_module,
    filled,
    registering_patch,
)
from asdtune.core.share.findings import (
    NO_LINK,
    Declared,
    Findings,
    Sources,
    find_out,
    open_marks,
    results_fingerprint,
)
from asdtune.core.share.languages import Language, find_language
from asdtune.core.share.modelcard import model_card, results_table
from asdtune.core.share.renewing import LINK, SUM, THRESHOLD
from asdtune.core.share.threshold import (
    TOOLKIT_THRESHOLD,
    origin_of_threshold,
    threshold_for_toolkit,
    threshold_in_eval_mode,
)
from asdtune.core.share.weights import write_weights
from asdtune.core.share.written import Written
from asdtune.errors import AsdtuneError, UsageError

CONFIG_NAME = "annotheia_pipeline_{}.yaml"
MODEL_CARD = "MODEL_CARD.md"
CITATION = "CITATION.cff"
ZENODO = ".zenodo.json"
PULL_REQUEST = "PULL_REQUEST.md"
UPSTREAM_NOTE = "UPSTREAM_NOTE.md"
SUMS = "SHA256SUMS"
_BY_HAND = "the threshold in {} is {}, as you set it: asdtune would write {}"
_LINK_OF_ANOTHER = (
    "checkpoint_url in the project file, {}, is the link of an earlier checkpoint, and is left "
    "out: upload this one and put its link there; or, if that is the same, give it once with "
    "--checkpoint-url"
)


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        language: The language as it was found.
        output_dir: The folder.
        paths: Its files, relative to the folder.
        to_do: What only a person can fill in.
        kept: Files that somebody has edited, which stay but for link, checksum and threshold.
        notes: What a person should know of it.
    """

    language: Language
    output_dir: Path
    paths: tuple[str, ...]
    to_do: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]


def export_config(
    checkpoint: Path,
    output_dir: Path,
    *,
    language: str,
    checkpoint_url: str | None,
    window_size: int | None,
    sources: Sources,
    declared: Declared,
    is_link_new: bool = True,
) -> Export:
    """Write the submission folder.

    Args:
        checkpoint: The fine-tuned checkpoint.
        output_dir: Where the folder goes.
        language: English name, own name or ISO code.
        checkpoint_url: Where the checkpoint can be downloaded, if it is uploaded already.
        window_size: W, for a checkpoint that no run describes.
        sources: The reports that may tell something of the checkpoint.
        declared: What only a person knows.
        is_link_new: Whether the link was given for this checkpoint now. If not, it may be that of
            an earlier one, and is then not written.

    Returns:
        What was written.

    Raises:
        UsageError: The language is unknown, or the window size is missing or another than the
            run's.
        AsdtuneError: The checkpoint or a report is bad, an edited file is no text, or somebody
            else's checksums are in the folder. Nothing is written then.
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
    findings = find_out(checkpoint, info, size, sources)
    config, *others = _names(found, place)
    written = Written.read(output_dir)
    written.check_edited(output_dir, [config, *others])
    _refuse_foreign_sums(output_dir / SUMS)
    name = f"{found.slug}_{place.folder.replace('_', '')}_{size}frames"
    weights = f"{place.weights_dir}/{name}.pth"
    twin = write_weights(output_dir / weights, network.state_dict())
    twin_path = twin.relative_to(output_dir).as_posix()
    checksum = sha256(output_dir / weights)
    has_stale_link = not is_link_new and written.is_of_another(checkpoint_url, checksum)
    if checkpoint_url is not None and not has_stale_link:
        written.remember_link(checkpoint_url, checksum)
    link = written.link_of(checksum)
    now = {
        SUM: checksum,
        LINK: link or NO_LINK,
        THRESHOLD: threshold_for_toolkit(findings.results),
    }
    by_hand = written.threshold_by_hand(output_dir, config, now[THRESHOLD])
    words = {
        **now,
        "checkpoint_name": f"{name}.pth",
        "checkpoint_path": f"./{weights}",
        "language": found.slug,
        "language_title": found.title,
        "network": place.title,
        "results": results_table(findings.results, threshold_by_hand=by_hand),
        "twin_name": twin.name,
        "window_size": str(size),
    }
    texts = _texts(found, place, findings, declared, words, by_hand, name=name, link=link)
    for path in (weights, twin_path):
        written.hashes[path] = content_hash(output_dir / path)
    kept = written.write_but_edited(output_dir, texts, now=now)
    kept += written.remove_others(output_dir, {weights, twin_path, *texts})
    written.report = results_fingerprint(findings.results)
    written.save(output_dir)
    paths = (config, weights, twin_path, *others)
    sums = [f"{sha256(output_dir / path)}  {path}\n" for path in sorted(paths)]
    write_text(output_dir / SUMS, "".join(sums))
    to_do = _to_do(found, output_dir, texts)
    notes = [str(each) for each in kept]
    notes += [] if by_hand is None else [_BY_HAND.format(config, by_hand, now[THRESHOLD])]
    notes += [_whisper_note(found).replace("`", "").strip()] if found.variety_of else []
    notes += [_LINK_OF_ANOTHER.format(checkpoint_url)] if has_stale_link else []
    names = tuple(each.name for each in kept)
    return Export(found, output_dir, (*paths, SUMS), to_do, names, tuple(notes))


def _names(found: Language, place: Place) -> tuple[str, ...]:
    """Name the files that are text, the language file first."""
    config = f"configs/{CONFIG_NAME.format(found.slug)}"
    of_detector = (place.module, place.patch) if place.sources else (UPSTREAM_NOTE,)
    return (config, MODEL_CARD, CITATION, ZENODO, PULL_REQUEST, *of_detector)


def _refuse_foreign_sums(path: Path) -> None:
    """See that no checksums are written over but those of an export, which list all its files."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    named = {line.split("  ", 1)[-1] for line in lines}
    if any(lines) and not named >= {MODEL_CARD, CITATION, ZENODO, PULL_REQUEST}:
        raise AsdtuneError(
            "this file was not written by an export, which has one of that name",
            where=path,
            fix="move it, or name another folder with --output-dir",
        )


def _texts(
    found: Language,
    place: Place,
    findings: Findings,
    declared: Declared,
    words: dict[str, str],
    threshold_by_hand: str | None,
    *,
    name: str,
    link: str | None,
) -> dict[str, str]:
    """Write all files that `_names` names, in its order; give them by name.

    The language file gets the threshold that was found, also where somebody has set another there
    and it stays; the others tell the one that it has.
    """
    size = int(words["window_size"])
    config, *_ = _names(found, place)
    config_text = filled("annotheia_pipeline.yaml", **words, detector=place.key, lang=found.code)
    if threshold_by_hand is not None:
        words = {**words, THRESHOLD: threshold_by_hand}
    return {
        config: config_text,
        MODEL_CARD: model_card(
            found,
            place,
            findings,
            declared,
            name=name,
            words={**words, **_about(place, findings, size)},
        ),
        CITATION: citation_cff(found, place, declared, window_size=size, link=link),
        ZENODO: zenodo_json(found, place, declared, window_size=size, version=__version__),
        PULL_REQUEST: filled(
            PULL_REQUEST,
            **words,
            **_detector_words(place),
            threshold_note=origin_of_threshold(
                findings.results, by_hand=threshold_by_hand is not None
            ),
            toolkit_threshold=str(TOOLKIT_THRESHOLD),
            whisper_note=_whisper_note(found),
        ),
        **_detector_files(place, findings, words),
    }


def _about(place: Place, findings: Findings, window_size: int) -> dict[str, str]:
    """Give what the model card alone says of the network."""
    info = findings.info
    return {
        "citation": place.citation,
        "epoch": str(info.epoch) if info else "unknown",
        "n_parameters": place.n_parameters,
        "started_from": findings.started_from,
        "version": __version__,
        "window_seconds": f"{seconds_of_frames(window_size):.2f}",
    }


def _detector_files(place: Place, findings: Findings, words: dict[str, str]) -> dict[str, str]:
    """Write what the toolkit needs for a network it lacks, or a note on how it uses its own."""
    if place.sources:
        return {place.module: detector_module(place), place.patch: registering_patch(place)}
    return {
        UPSTREAM_NOTE: filled(
            UPSTREAM_NOTE,
            language=words["language"],
            threshold=words["threshold"],
            eval_threshold=threshold_in_eval_mode(findings.results),
        )
    }


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


def _to_do(language: Language, output_dir: Path, names: dict[str, str]) -> tuple[str, ...]:
    """Name what is still open in the files, and where."""
    asked = open_marks(output_dir, names)
    to_do = [f"{what}: {', '.join(files)}" for what, files in asked.items()]
    if not language.is_in_whisper:
        to_do.append(
            f"the YAML's speech recogniser: Whisper does not know {language.title} "
            "(PULL_REQUEST.md tells what to do)"
        )
    return tuple(to_do)


def _whisper_note(language: Language) -> str:
    if language.variety_of is not None:
        return f"""
Whisper has no code for {language.title}: `lang` holds `{language.code}`, that of \
{language.variety_of}.
"""
    if language.is_in_whisper:
        return ""
    return f"""
Whisper does not know {language.title}: `lang` holds its ISO code `{language.code}`, with which the
recogniser `whisper` stops. Who speaks is found without it; to transcribe, the toolkit needs another
recogniser (models of Meta's MMS know 1,107 languages), in `automatic_speech_recognition` and
`automatic_speech_recognition_conf` of the YAML.
"""
