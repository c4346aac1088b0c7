"""The submission folder: what is in it, whose work is kept, and what the toolkit makes of it."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from asdtune.core.evaluation.toolkit_scoring import ToolkitNetwork
from asdtune.core.export import folder as folder_module
from asdtune.core.export.annotheia import PLACES
from asdtune.core.export.detector_module import detector_files
from asdtune.core.export.folder import SUMS, write_folder
from asdtune.core.files import content_hash
from asdtune.core.models.checkpoints import CheckpointInfo, load_network, read_state, save_weights
from asdtune.core.models.talknet import TalkNet
from asdtune.core.prepare.extract_mfccs import mfcc
from asdtune.errors import AsdtuneError, UsageError
from tests.annotheia import ENGLISH_YAML, write_checkout
from tests.conftest import Run
from tests.small import write_checkpoint, write_export

MODULES = "modules/active_speaker_detection"
WEIGHTS = f"{MODULES}/talknet_asd/weights/swahili_talknetasd_25frames.pth"
CONFIG = "configs/annotheia_pipeline_swahili.yaml"
URL = "https://zenodo.org/records/1"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "best.pth"
    save_weights(path, TalkNet().state_dict(), CheckpointInfo(25, 7, 91.2, "english", "0.1.0"))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a checkpoint of the smallest network."""
    return write_checkpoint(tmp_path_factory.mktemp("small") / "best.pth", 25)


def contents(folder: Path) -> dict[str, bytes]:
    """Give what the files of a folder hold; those in `.asdtune` are nobody's."""
    files = (
        path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".asdtune"
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_sums_hold(folder: Path, names: set[str]) -> None:
    lines = (folder / SUMS).read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    assert sums.keys() == names
    assert len(lines) == len(names)
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_yaml_is_the_toolkits_but_for_what_changes(checkpoint: Path, tmp_path: Path) -> None:
    write_export(checkpoint, tmp_path)
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
    done = write_export(checkpoint, tmp_path)
    TalkNet().load_state_dict(read_state(tmp_path / WEIGHTS), strict=True)
    assert_sums_hold(tmp_path, set(done.files))


def test_link_stands_in_every_file_and_on_the_line_before_the_path(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = write_export(checkpoint, tmp_path, checkpoint_url=URL)
    lines = (tmp_path / CONFIG).read_text().splitlines()
    i_path = next(i for i, line in enumerate(lines) if "checkpoint_path" in line)
    assert lines[i_path - 1].strip() == f"# download: {URL}"
    for name in ("MODEL_CARD.md", "PULL_REQUEST.md", "CITATION.cff"):
        assert URL in (tmp_path / name).read_text()
    assert not any("--checkpoint-url" in item for item in done.to_do)


def test_files_are_written_anew_and_those_of_others_stay(small: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    for name in ("README.md", "configs/mine.yaml"):
        (tmp_path / name).write_text("mine")
    write_export(small, tmp_path)
    before = contents(tmp_path)
    write_export(small, tmp_path)
    assert contents(tmp_path) == before
    write_export(small, tmp_path, checkpoint_url=URL)
    assert URL in (tmp_path / "MODEL_CARD.md").read_text()
    (tmp_path / "MODEL_CARD.md").unlink()
    write_export(small, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("has_sums", [True, False])
def test_edited_files_are_refused_by_name_or_moved_aside(
    small: Path, tmp_path: Path, has_sums: bool
) -> None:
    write_export(small, tmp_path)
    ours = contents(tmp_path)
    edited = ("MODEL_CARD.md", CONFIG)
    for name in edited:
        (tmp_path / name).write_text("mine")
    if not has_sums:
        (tmp_path / SUMS).unlink()
    before = contents(tmp_path)
    with pytest.raises(
        AsdtuneError, match=f"not as an export wrote them: {', '.join(edited)}\n"
    ) as e:
        write_export(small, tmp_path)
    assert "--overwrite" in str(e.value.fix)
    assert contents(tmp_path) == before
    write_export(small, tmp_path, overwrite=True)
    moved = {f"{name}.before": b"mine" for name in edited}
    assert contents(tmp_path) == {**ours, **moved}
    (tmp_path / "MODEL_CARD.md").write_text("mine again")
    write_export(small, tmp_path, overwrite=True)
    moved["MODEL_CARD.md.before-2"] = b"mine again"
    assert contents(tmp_path) == {**ours, **moved}


@pytest.mark.parametrize("text", [f"{'a' * 64}  first.mp4\n", "notes\n", "\xff"])
def test_checksums_of_somebody_else_are_refused(small: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / SUMS).write_bytes(text.encode("latin-1"))
    with pytest.raises(AsdtuneError, match=f"not as an export wrote them: {SUMS}\n"):
        write_export(small, tmp_path)
    assert list(contents(tmp_path)) == [SUMS]
    done = write_export(small, tmp_path, overwrite=True)
    assert_sums_hold(tmp_path, set(done.files))
    assert (tmp_path / f"{SUMS}.before").read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("n_written", range(10))
def test_killed_export_ends_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    def killed_after(path: Path) -> contextlib.AbstractContextManager[Path]:
        if len(done) == n_written:
            raise KeyboardInterrupt
        done.append(path)
        return whole_file(path)

    whole_file, folder = folder_module.whole_file, tmp_path / "export"
    names = ["MODEL_CARD.md", CONFIG, *(f"{i}.md" for i in range(7))]
    write_folder({**dict.fromkeys(names, b"first"), WEIGHTS: b"first"}, folder, overwrite=False)
    done: list[Path] = []
    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(folder_module, "whole_file", killed_after)
        write_folder(dict.fromkeys(names, b"second"), folder, overwrite=False)
    for path in (folder, tmp_path / "whole"):
        write_folder(dict.fromkeys(names, b"second"), path, overwrite=False)
    assert contents(folder) == contents(tmp_path / "whole")


def test_another_network_or_language_leaves_nothing_of_the_earlier_export(
    checkpoint: Path, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    write_export(checkpoint, folder, language="eu")
    write_export(small, folder)
    write_export(small, tmp_path / "fresh")
    assert contents(folder) == contents(tmp_path / "fresh")
    config = folder / CONFIG
    config.write_text("mine")
    write_export(checkpoint, folder, language="eu")
    assert config.read_text() == "mine"  # somebody's work
    assert not list(folder.rglob("*lrasd*"))


def test_one_export_at_a_time_works_in_a_folder(small: Path, tmp_path: Path) -> None:
    write_export(small, tmp_path)
    with (
        filelock.FileLock(tmp_path / ".asdtune" / "export-config.lock"),
        pytest.raises(AsdtuneError, match="another asdtune export-config is at work"),
    ):
        write_export(small, tmp_path)


def test_command_refuses_edited_files_or_moves_them_aside(
    run: Run, in_tmp: Path, small: Path
) -> None:
    command = ("export-config", "--language", "sw", "--checkpoint", small)
    run(*command, "--checkpoint-url", URL)
    Path("export/MODEL_CARD.md").write_text("mine")
    said = run(*command, exit_code=1).output
    assert "error: not as an export wrote them: MODEL_CARD.md\n  where: export" in said
    told = json.loads(run(*command, "--overwrite", "--json").stdout)
    assert told["moved"] == ["MODEL_CARD.md.before"]
    assert Path("export/MODEL_CARD.md.before").read_text() == "mine"


def test_twin_holds_the_same_tensors_and_nothing_is_larger_than_it_must_be(
    checkpoint: Path, tmp_path: Path
) -> None:
    write_export(checkpoint, tmp_path)
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


def test_window_size_is_that_of_the_run_or_must_be_given(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="windows of 25 frames, not 51"):
        write_export(checkpoint, tmp_path, window_size=51)
    bare = tmp_path / "bare.pth"
    bare.write_bytes(checkpoint.read_bytes())
    with pytest.raises(UsageError, match="window size is unknown"):
        write_export(bare, tmp_path / "out")
    write_export(bare, tmp_path / "out", window_size=51)
    assert (tmp_path / "out" / "configs").is_dir()


def test_pull_request_says_whose_code_a_variety_has(checkpoint: Path, tmp_path: Path) -> None:
    done = write_export(checkpoint, tmp_path, language="arz")
    note = "Whisper has no code for Egyptian Arabic: `lang` holds `ar`, that of Arabic."
    assert note in (tmp_path / "PULL_REQUEST.md").read_text()
    assert done.notes == [note]
    assert not any("Whisper" in item for item in done.to_do)
    text = (tmp_path / "configs" / "annotheia_pipeline_egyptian_arabic.yaml").read_text()
    assert yaml.safe_load(text)["automatic_speech_recognition_conf"]["lang"] == "ar"


TRACK = """
import sys
import numpy as np, yaml
from tasks.detect_candidate_scenes_task import active_speaker_detection_choices
from utils.pipeline import score_track

config = yaml.safe_load(open("configs/annotheia_pipeline_swahili.yaml"))
detector_class = active_speaker_detection_choices[config["active_speaker_detection"]]
detector = detector_class(**config["active_speaker_detection_conf"])
assert "asdtune" not in sys.modules
settings, data = config["pipeline_conf"], np.load(sys.argv[1])
scores = score_track(
    detector, data["waveform"], data["crops"], len(data["crops"]), settings["window_size"],
    settings["smoothing_window_size"],
)
np.save(sys.argv[2], scores)
"""


@pytest.mark.parametrize("n_crops", [60, 9])  # of a long track, and of one shorter than a window
@pytest.mark.parametrize("name", ["light-asd", "lr-asd"])
def test_pipeline_of_the_toolkit_gives_the_scores_that_the_threshold_was_found_on(
    shared: Path, tmp_path: Path, name: str, n_crops: int
) -> None:
    weights = shared / "models" / f"{name.replace('-', '_')}_talkset.model"
    checkout, folder = write_checkout(tmp_path / "toolkit", shared), tmp_path / "export"
    write_export(weights, folder, window_size=25)
    (patch,) = folder.glob("*.patch")
    subprocess.run(["git", "apply", str(patch)], cwd=checkout, check=True)
    shutil.copytree(folder, checkout, dirs_exist_ok=True)
    rng = np.random.default_rng(1)
    waveform = (rng.standard_normal(n_crops * 640) * 3000).astype(np.int16)
    crops = rng.integers(0, 256, (n_crops, 112, 112), dtype=np.uint8)
    np.savez(tmp_path / "in.npz", waveform=waveform, crops=crops)
    subprocess.run(
        [sys.executable, "-c", TRACK, tmp_path / "in.npz", tmp_path / "out.npy"],
        cwd=checkout, check=True,
    )  # fmt: skip
    found, network = load_network(weights)
    ours = ToolkitNetwork(found, network).score_track(crops, mfcc(waveform), 25)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["light-asd", "lr-asd"])
def test_detector_module_holds_what_it_uses_and_nothing_of_training(name: str) -> None:
    source = detector_files(PLACES[name])[PLACES[name].module]
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


def test_pull_request_is_pushed_to_a_fork(
    small: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Grace")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "grace@example.org")
    folder, toolkit = tmp_path / "export", write_checkout(tmp_path / "toolkit", shared)
    write_export(small, folder)
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


@pytest.mark.parametrize("name", ["report.json", "report_labels.json"])
@pytest.mark.parametrize(
    ("judged", "problem"),
    [
        ({"verdict": {"lost": True, "text": "Do not submit this network: it forgot."}}, "forgot"),
        ({"in_toolkit": {"AUC": 51.0}}, "hardly better than by chance"),
    ],
)
def test_a_network_that_is_not_fit_for_use_is_refused_unless_forced(
    run: Run, small: Path, in_tmp: Path, name: str, judged: dict[str, object], problem: str
) -> None:
    of_checkpoint = {"blake2b": content_hash(small), "intervals": {}, **judged}
    report = {
        "mAP": 90.0, "by_kind": {}, "window_size": 25, "split": "test", "n_windows": 9,
        "n_speakers": 7, "checkpoint": of_checkpoint, **judged,
    }  # fmt: skip
    Path("report").mkdir()
    Path("report", name).write_text(json.dumps(report))
    flags = ("export-config", "--language", "swahili", "--checkpoint", small)
    said = " ".join(run(*flags, exit_code=1).output.split())
    assert problem in said
    assert f"where: {Path('report', name)}" in said
    assert "--force exports it all the same" in said
    assert not Path("export").exists()
    run(*flags, "--force")
    assert Path("export", SUMS).is_file()
    report["checkpoint"]["blake2b"] = "of another checkpoint"
    Path("report", name).write_text(json.dumps(report))
    run(*flags, "--overwrite")
