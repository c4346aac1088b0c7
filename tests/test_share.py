"""The submission folder and the languages."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from asdtune.core.files import content_hash, write_text
from asdtune.core.networks.catalogue import LR_ASD, make_network
from asdtune.core.networks.checkpoints import CheckpointInfo, load_network, read_state, save_weights
from asdtune.core.networks.talknet import TalkNet
from asdtune.core.prepare.mfcc import mfcc
from asdtune.core.share import annotheia, written
from asdtune.core.share.annotheia import Export, export_config
from asdtune.core.share.detector import PLACES, detector_module
from asdtune.core.share.findings import Declared, Sources
from asdtune.core.share.languages import WHISPER_CODES, find_language
from asdtune.core.share.weights import differing, read_twin, write_weights
from asdtune.core.tune.toolkit import ToolkitNetwork
from asdtune.errors import AsdtuneError, UsageError
from tests.annotheia import ENGLISH_YAML, write_checkout

WEIGHTS = "modules/active_speaker_detection/talknet_asd/weights/swahili_talknetasd_25frames.pth"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "best.pth"
    save_weights(path, TalkNet().state_dict(), CheckpointInfo(25, 7, 91.2, "english", "0.1.0"))
    return path


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "best.pth"
    info = CheckpointInfo(25, 7, 91.2, "lr-asd-ava", "0.1.0", LR_ASD)
    save_weights(path, make_network(LR_ASD).state_dict(), info)
    return path


def export(checkpoint: Path, output: Path, **changed: object) -> Export:
    options = {
        "language": "swahili", "checkpoint_url": None, "window_size": None, "sources": Sources(),
        "declared": Declared(),
    }  # fmt: skip
    return export_config(checkpoint, output, **{**options, **changed})


def test_yaml_is_the_toolkits_but_for_what_changes(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path)
    text = (tmp_path / "configs" / "annotheia_pipeline_swahili.yaml").read_text()
    expected = yaml.safe_load(ENGLISH_YAML)
    expected["active_speaker_detection_conf"]["checkpoint_path"] = f"./{WEIGHTS}"
    expected["automatic_speech_recognition_conf"]["lang"] = "sw"
    expected["pipeline_conf"]["window_size"] = 25
    assert json.dumps(yaml.safe_load(text)) == json.dumps(expected)  # in the same order, too
    lines = [line for line in text.splitlines() if "# download:" not in line]
    theirs = ENGLISH_YAML.splitlines()
    differing = [a.split(":")[0].strip() for a, b in zip(lines, theirs, strict=True) if a != b]
    assert differing == ["checkpoint_path", "lang", "window_size"]


def test_checkpoint_loads_strictly_and_the_sums_hold(checkpoint: Path, tmp_path: Path) -> None:
    done = export(checkpoint, tmp_path)
    path = tmp_path / WEIGHTS
    TalkNet().load_state_dict(read_state(path), strict=True)
    sums = dict(
        reversed(line.split("  ")) for line in (tmp_path / "SHA256SUMS").read_text().splitlines()
    )
    assert sums.keys() == set(done.paths) - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_link_stands_on_the_line_before_the_path(checkpoint: Path, tmp_path: Path) -> None:
    url = "https://zenodo.org/records/1"
    done = export(checkpoint, tmp_path, checkpoint_url=url)
    text = (tmp_path / "configs" / "annotheia_pipeline_swahili.yaml").read_text()
    lines = text.splitlines()
    i_path = next(i for i, line in enumerate(lines) if "checkpoint_path" in line)
    assert lines[i_path - 1].strip() == f"# download: {url}"
    for name in ("MODEL_CARD.md", "PULL_REQUEST.md"):
        assert url in (tmp_path / name).read_text()
    assert not any("--checkpoint-url" in item for item in done.to_do)


def test_what_a_person_filled_in_stays_and_gets_the_link(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path)
    card, zenodo = tmp_path / "MODEL_CARD.md", tmp_path / ".zenodo.json"
    card.write_text(card.read_text() + "\nAll speakers signed the consent form.\n")
    zenodo.write_text(zenodo.read_text().replace("FILL IN: whom to cite", "Okello"))
    url = "https://zenodo.org/records/1"
    done = export(checkpoint, tmp_path, checkpoint_url=url)
    assert set(done.kept) == {"MODEL_CARD.md", ".zenodo.json"}
    assert "All speakers signed" in card.read_text()
    assert url in card.read_text()
    assert "Okello" in zenodo.read_text()
    export(checkpoint, tmp_path)  # the link is remembered
    assert url in (tmp_path / "configs" / "annotheia_pipeline_swahili.yaml").read_text()
    sums = (tmp_path / "SHA256SUMS").read_text()
    assert hashlib.sha256(card.read_bytes()).hexdigest() in sums


@pytest.mark.parametrize("n_written", range(8))
def test_interrupted_export_leaves_nothing_stale_and_an_edit_still_stays(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    def killed_after(path: Path, text: str) -> None:
        if len(done) == n_written:
            raise KeyboardInterrupt
        done.append(path)
        write_text(path, text)

    export(small_checkpoint, tmp_path)
    note = tmp_path / "PULL_REQUEST.md"
    note.write_text("My own note.\n")
    url = "https://zenodo.org/records/{}"
    for i in (1, 2):  # twice, each with other texts
        done: list[Path] = []
        with monkeypatch.context() as patched:
            patched.setattr(written, "write_text", killed_after)
            patched.setattr(annotheia, "write_text", killed_after)
            with contextlib.suppress(KeyboardInterrupt):
                export(small_checkpoint, tmp_path, checkpoint_url=url.format(i))
    assert export(small_checkpoint, tmp_path, checkpoint_url=url.format(3)).kept == (note.name,)
    names = ("MODEL_CARD.md", "CITATION.cff")
    assert all(url.format(3) in (tmp_path / name).read_text() for name in names)
    assert note.read_text() == "My own note.\n"
    (tmp_path / "CITATION.cff").write_text("mine: true\n")
    assert "CITATION.cff" in export(small_checkpoint, tmp_path).kept


def test_edit_after_an_interrupted_first_export_stays(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(written.Written, "remove_others", kill)
        with contextlib.suppress(KeyboardInterrupt):
            export(small_checkpoint, tmp_path)
    (tmp_path / "MODEL_CARD.md").write_text("Mine.\n")
    assert export(small_checkpoint, tmp_path).kept == ("MODEL_CARD.md",)


def test_edited_file_that_is_no_utf8_is_named(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path)
    (tmp_path / "MODEL_CARD.md").write_bytes("é".encode("latin-1"))
    with pytest.raises(AsdtuneError, match="no longer UTF-8") as caught:
        export(checkpoint, tmp_path)
    assert caught.value.where == str(tmp_path / "MODEL_CARD.md")


def test_twin_holds_the_same_tensors_and_nothing_is_larger_than_it_must_be(
    checkpoint: Path, tmp_path: Path
) -> None:
    export(checkpoint, tmp_path)
    path = tmp_path / WEIGHTS
    state, twin = torch.load(path, weights_only=True), load_file(path.with_suffix(".safetensors"))
    assert type(state) is dict
    assert state.keys() == twin.keys()
    n_bytes = 0
    for name, value in state.items():
        assert torch.equal(value, twin[name])
        assert value.dtype == twin[name].dtype
        n_bytes += value.nbytes
    for file in (path, path.with_suffix(".safetensors")):
        assert file.stat().st_size < n_bytes + 400 * len(state)


def test_tensors_that_share_memory_are_written_each_by_itself(tmp_path: Path) -> None:
    large = torch.arange(100_000.0)
    state = {"a": large[:3], "b": large[:3], "c": large[:6].reshape(2, 3).T}
    twin = write_weights(tmp_path / "w.pth", state)
    assert not differing(read_twin(twin), read_state(tmp_path / "w.pth"))
    assert not differing(read_twin(twin), state)
    assert (tmp_path / "w.pth").stat().st_size < 4000
    assert differing(state, {**state, "a": large[1:4]}) == ["a"]


def test_other_weights_do_not_get_the_link_of_the_earlier_ones(
    checkpoint: Path, tmp_path: Path
) -> None:
    url, output = "https://zenodo.org/records/1", tmp_path / "export"
    export(checkpoint, output, checkpoint_url=url)
    torch.manual_seed(1)
    other = tmp_path / "other.pth"
    light = make_network("light-asd").state_dict()
    save_weights(other, light, CheckpointInfo(51, 7, 91.2, "light-asd-ava", "0.1.0"))
    done = export(other, output)
    assert url not in (output / "configs" / "annotheia_pipeline_swahili.yaml").read_text()
    assert any("--checkpoint-url" in item for item in done.to_do)
    assert not list(output.rglob("*talknetasd*"))  # nothing is left of the other network
    again = export(checkpoint, output)
    assert not any("--checkpoint-url" in item for item in again.to_do)  # it is of these weights
    assert not list(output.rglob("*.patch"))


def test_results_come_from_the_report_of_this_checkpoint_only(
    checkpoint: Path, tmp_path: Path
) -> None:
    report = {
        "window_size": 25, "split": "test", "n_windows": 24, "n_speakers": 4, "mAP": 87.654,
        "accuracy": 80.0,
        "by_kind": {
            "temporal_mismatch": {
                "n_windows": 4, "mAP": 77.7, "chance_mAP": 75.0, "accuracy": 70.0,
            }
        },
        "chance_mAP": 50.0,
        "checkpoint": {"blake2b": content_hash(checkpoint)},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    export(checkpoint, tmp_path / "a", sources=Sources(tmp_path / "report.json"))
    card = (tmp_path / "a" / "MODEL_CARD.md").read_text()
    assert "| mAP over frames (AVA-ActiveSpeaker) | 87.7 | too few speakers to tell |" in card
    assert "| temporal_mismatch (4) | 77.7 | 75.0 | 70.0 |" in card
    assert "by chance mAP would be 50.0" in card
    report["checkpoint"]["blake2b"] = "another"
    (tmp_path / "report.json").write_text(json.dumps(report))
    export(checkpoint, tmp_path / "b", sources=Sources(tmp_path / "report.json"))
    assert "Not evaluated yet" in (tmp_path / "b" / "MODEL_CARD.md").read_text()


def test_what_only_a_person_knows_is_left_open_by_name(checkpoint: Path, tmp_path: Path) -> None:
    done = export(checkpoint, tmp_path, language="quechua")
    zenodo = json.loads((tmp_path / ".zenodo.json").read_text())
    asked = "FILL IN: whom to cite (export-config.authors in the project file)"
    assert zenodo["creators"] == [{"name": asked}]
    (to_cite,) = (item for item in done.to_do if "whom to cite" in item)
    assert to_cite.endswith(": MODEL_CARD.md, CITATION.cff, .zenodo.json")
    assert any("Whisper does not know Quechua" in item for item in done.to_do)
    assert "Whisper does not know Quechua" in (tmp_path / "PULL_REQUEST.md").read_text()


def test_window_size_is_that_of_the_run_or_must_be_given(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="windows of 25 frames, not 51"):
        export(checkpoint, tmp_path, window_size=51)
    bare = tmp_path / "bare.pth"
    bare.write_bytes(checkpoint.read_bytes())
    with pytest.raises(UsageError, match="window size is unknown"):
        export(bare, tmp_path / "out")
    export(bare, tmp_path / "out", window_size=51)
    assert (tmp_path / "out" / "configs").is_dir()


def test_report_of_something_else_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(AsdtuneError, match="not a report of evaluate"):
        export(checkpoint, tmp_path, sources=Sources(tmp_path / "report.json"))


@pytest.mark.parametrize("name", ["swahili", "Kiswahili", "sw", "swh", " Swahili "])
def test_language_is_found_by_any_of_its_names(name: str) -> None:
    found = find_language(name)
    assert (found.title, found.slug, found.code, found.is_in_whisper) == (
        "Swahili", "swahili", "sw", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code", "is_in_whisper"),
    [("javanese", "jw", True), ("tagalog", "tl", True), ("quy", "quy", False), ("eu", "eu", True)],
)
def test_whispers_own_spelling_of_codes(name: str, code: str, is_in_whisper: bool) -> None:
    found = find_language(name)
    assert (found.code, found.is_in_whisper) == (code, is_in_whisper)


@pytest.mark.parametrize(
    ("name", "code", "parent"),
    [
        ("Egyptian Arabic", "ar", "Arabic"),
        ("afb", "ar", "Arabic"),
        ("azb", "az", "Azerbaijani"),  # though it is written with other letters
        ("wuu", "zh", "Chinese"),
        ("gsw", "de", "German"),
        ("yue", "yue", None),
        ("nn", "nn", None),
        ("sco", "sco", None),
        ("quy", "quy", None),
    ],
)
def test_variety_of_a_language_of_whisper_has_its_code(
    name: str, code: str, parent: str | None
) -> None:
    found = find_language(name)
    assert (found.code, found.variety_of) == (code, parent)
    assert found.is_in_whisper == (code in WHISPER_CODES)


def test_pull_request_says_whose_code_a_variety_has(checkpoint: Path, tmp_path: Path) -> None:
    done = export(checkpoint, tmp_path, language="arz")
    note = "Whisper has no code for Egyptian Arabic: `lang` holds `ar`, that of Arabic."
    assert note in (tmp_path / "PULL_REQUEST.md").read_text()
    assert note.replace("`", "") in done.notes
    assert not any("Whisper" in item for item in done.to_do)
    text = (tmp_path / "configs" / "annotheia_pipeline_egyptian_arabic.yaml").read_text()
    assert yaml.safe_load(text)["automatic_speech_recognition_conf"]["lang"] == "ar"


@pytest.mark.parametrize(
    ("name", "slug"), [("nb", "norwegian_bokmal"), ("Võro", "voro"), ("Māori", "maori")]
)
def test_names_of_files_are_ascii(name: str, slug: str) -> None:
    assert find_language(name).slug == slug


# openai/whisper, whisper/tokenizer.py, TO_LANGUAGE_CODE; and Farsi
ALIASES = {
    "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb",
    "pushto": "ps", "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si",
    "castilian": "es", "mandarin": "zh", "farsi": "fa",
}  # fmt: skip


@pytest.mark.parametrize("name", ALIASES)
def test_other_english_names_are_found(name: str) -> None:
    assert find_language(f" {name.title()}").code == ALIASES[name]


def test_unknown_language_is_wrong_usage() -> None:
    for name in ("xqzw", "qqq", "und", "mul", "zxx"):
        with pytest.raises(UsageError, match=f"no language is called '{name}'"):
            find_language(name)


def test_whisper_codes_are_those_of_whisper() -> None:
    assert len(WHISPER_CODES) == 100


SCORE = """
import sys
import numpy as np, yaml
from tasks.detect_candidate_scenes_task import active_speaker_detection_choices

config = yaml.safe_load(open("configs/annotheia_pipeline_swahili.yaml"))
detector_class = active_speaker_detection_choices[config["active_speaker_detection"]]
detector = detector_class(**config["active_speaker_detection_conf"])
data = np.load(sys.argv[1])
assert "asdtune" not in sys.modules
scores = []
for center in data["centers"]:
    sound, pictures = detector.preprocess_input(
        data["waveform"], data["crops"], window_center=int(center),
        window_size=config["pipeline_conf"]["window_size"],
        total_video_frames=int(data["n_frames"]),
    )
    scores.append(detector.get_asd_scores(sound, pictures))
np.save(sys.argv[2], np.stack(scores))
"""


def window_of(array: np.ndarray, first: int, n: int) -> np.ndarray:
    rows = [array[i] if 0 <= i < len(array) else 0 * array[0] for i in range(first, first + n)]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("n_crops", [60, 9])  # of a long track, and of one shorter than a window
@pytest.mark.parametrize("name", ["light-asd", "lr-asd"])
def test_detector_laid_over_the_toolkit_scores_as_our_network(
    shared: Path, tmp_path: Path, name: str, n_crops: int
) -> None:
    weights = shared / "models" / f"{name.replace('-', '_')}_talkset.model"
    checkout, folder = tmp_path / "toolkit", tmp_path / "export"
    done = export(weights, folder, window_size=25)
    write_checkout(checkout, shared)
    (patch,) = folder.glob("*.patch")
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    subprocess.run(["git", "apply", str(patch)], cwd=checkout, check=True)
    shutil.copytree(folder, checkout, dirs_exist_ok=True)
    assert str(patch.name) in done.paths

    rng = np.random.default_rng(0)
    n_frames, size, centers = 70, 25, [0, 25, 50, 75]
    waveform = (rng.standard_normal(n_frames * 640) * 3000).astype(np.int16)
    crops = rng.integers(0, 256, (n_crops, 112, 112), dtype=np.uint8)
    np.savez(
        tmp_path / "in.npz", waveform=waveform, crops=crops, n_frames=n_frames, centers=centers
    )
    subprocess.run(
        [sys.executable, "-c", SCORE, tmp_path / "in.npz", tmp_path / "out.npy"],
        cwd=checkout, check=True,
    )  # fmt: skip
    found = np.load(tmp_path / "out.npy")

    coefficients = np.resize(mfcc(waveform), (4 * n_frames, 13))
    shown = crops if n_crops >= size else np.resize(crops, (size, 112, 112))
    _, network = load_network(weights)
    for center, scores in zip(centers, found, strict=True):
        first = center - size // 2
        with torch.inference_mode():
            logits = network.eval()(
                torch.from_numpy(window_of(coefficients, 4 * first, 4 * size))[None],
                torch.from_numpy(window_of(shown, first, size))[None],
            ).audio_visual
        np.testing.assert_allclose(scores, logits[0].softmax(-1), rtol=0, atol=1e-4)
    assert found.shape == (len(centers), size, 2)


TRACK = """
import sys
import numpy as np, yaml
from tasks.detect_candidate_scenes_task import active_speaker_detection_choices
from utils.pipeline import score_track

config = yaml.safe_load(open("configs/annotheia_pipeline_swahili.yaml"))
detector_class = active_speaker_detection_choices[config["active_speaker_detection"]]
detector = detector_class(**config["active_speaker_detection_conf"])
settings, data = config["pipeline_conf"], np.load(sys.argv[1])
scores = score_track(
    detector, data["waveform"], data["crops"], len(data["crops"]), settings["window_size"],
    settings["smoothing_window_size"],
)
np.save(sys.argv[2], scores)
"""


def test_pipeline_of_the_toolkit_gives_the_scores_that_the_threshold_was_found_on(
    shared: Path, tmp_path: Path
) -> None:
    weights = shared / "models" / "lr_asd_talkset.model"
    checkout, folder = write_checkout(tmp_path / "toolkit", shared), tmp_path / "export"
    export(weights, folder, window_size=25)
    subprocess.run(
        ["git", "apply", str(folder / "register_lr_asd.patch")], cwd=checkout, check=True
    )
    shutil.copytree(folder, checkout, dirs_exist_ok=True)
    rng = np.random.default_rng(1)
    waveform = (rng.standard_normal(60 * 640) * 3000).astype(np.int16)
    crops = rng.integers(0, 256, (60, 112, 112), dtype=np.uint8)
    np.savez(tmp_path / "in.npz", waveform=waveform, crops=crops)
    subprocess.run(
        [sys.executable, "-c", TRACK, tmp_path / "in.npz", tmp_path / "out.npy"],
        cwd=checkout, check=True,
    )  # fmt: skip
    _, network = load_network(weights)
    ours = ToolkitNetwork(LR_ASD, network).score_track(crops, mfcc(waveform), 25)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["light-asd", "lr-asd"])
def test_detector_module_holds_what_it_uses_and_nothing_of_training(name: str) -> None:
    source = detector_module(PLACES[name])
    tree = ast.parse(source)
    defined = {
        node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    }
    assert not defined & {"loss", "losses_of", "frozen_parts", "Losses", "StemNetwork"}
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert modules == {
        "__future__", "typing", "numpy", "python_speech_features", "torch", "modules",
    }  # fmt: skip
    assert "noqa" not in source


def test_of_another_network_the_folder_says_so(shared: Path, tmp_path: Path) -> None:
    weights = shared / "models" / "lr_asd_ava.model"
    done = export(weights, tmp_path, window_size=25)
    loaded = yaml.safe_load((tmp_path / "configs" / "annotheia_pipeline_swahili.yaml").read_text())
    assert loaded["active_speaker_detection"] == "lr_asd"
    path = "modules/active_speaker_detection/lr_asd/weights/swahili_lrasd_25frames.pth"
    assert loaded["active_speaker_detection_conf"]["checkpoint_path"] == f"./{path}"
    assert path in done.paths
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "LR-ASD for Swahili" in card
    assert "TalkNet" not in card
    assert "git apply" in (tmp_path / "PULL_REQUEST.md").read_text()


def test_pull_request_is_pushed_to_a_fork(
    small_checkpoint: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Grace")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "grace@example.org")
    folder, toolkit = tmp_path / "export", write_checkout(tmp_path / "toolkit", shared)
    export(small_checkpoint, folder)
    lines = (folder / "PULL_REQUEST.md").read_text().splitlines()
    told = [line.strip() for line in lines if line.startswith(7 * " ")]
    fork, rest = told[:2], told[2 : 1 + next(i for i, s in enumerate(told) if "git push" in s)]
    script = ["set -e", "git init --bare fork", "cd toolkit", "git init", "git add .",
              "git commit -m theirs", "git remote add origin nobody-may-push-here",
              *fork, f"cd {folder}", *rest]  # fmt: skip
    text = "\n".join(script)
    for word, path in {
        "https://github.com/YOU/AnnoTheia.git": tmp_path / "fork",
        "FOLDER": folder,
        "TOOLKIT": toolkit,
    }.items():
        assert word in text
        text = text.replace(word, str(path))
    subprocess.run(["bash", "-c", text], cwd=tmp_path, check=True, capture_output=True)
    show = ["git", "show", "--stat=200", "--format=%s", "swahili"]
    pushed = subprocess.run(show, cwd=tmp_path / "fork", check=True, capture_output=True, text=True)
    assert pushed.stdout.startswith("Add Swahili")
    for name in ("annotheia_pipeline_swahili.yaml", "lr_asd.py", "detect_candidate_scenes_task.py"):
        assert name in pushed.stdout


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("frensh", "French (fr)"),
        ("klingonn", "Klingon (tlh)"),
        ("swahilli", "Swahili (sw)"),
        ("zzz zzz", None),
    ],
)
def test_a_slip_of_the_pen_is_no_other_language(name: str, meant: str | None) -> None:
    with pytest.raises(UsageError, match="no language is called") as found:
        find_language(name)
    assert ("did you mean" in str(found.value.fix)) == (meant is not None)
    assert meant is None or meant in str(found.value.fix)
