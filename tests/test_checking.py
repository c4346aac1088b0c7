"""`export-config --check`: what holds, what does not, and that nothing in the folder is run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from asdtune.core.networks.catalogue import LR_ASD, TALKNET, make_network
from asdtune.core.networks.checkpoints import CheckpointInfo, save_weights
from asdtune.core.share import checking, copying, probe, trial
from asdtune.core.share.annotheia import SUMS, export_config
from asdtune.core.share.checking import check_export
from asdtune.core.share.checks import Check, run_steps
from asdtune.core.share.exported import Exported
from asdtune.core.share.findings import Declared, Sources
from asdtune.core.share.trial import Trial, trial_steps
from asdtune.errors import AsdtuneError, UsageError
from tests.annotheia import DETECTOR, KEYS, write_checkout
from tests.conftest import Run

MODULES = Path("modules/active_speaker_detection")
TALKNET_PTH = MODULES / "talknet_asd" / "weights" / "swahili_talknetasd_25frames.pth"
LR_ASD_PTH = MODULES / "lr_asd" / "weights" / "swahili_lrasd_25frames.pth"
CONFIG = Path("configs/annotheia_pipeline_swahili.yaml")


def export(folder: Path, network: str, language: str = "swahili") -> Path:
    torch.manual_seed(0)
    checkpoint = folder.parent / f"{folder.name}.pth"
    info = CheckpointInfo(25, 1, 50.0, "scratch", "0.1.0", network)
    save_weights(checkpoint, make_network(network).state_dict(), info)
    export_again(checkpoint, folder, None, language)
    return folder


def export_again(
    checkpoint: Path, folder: Path, link: str | None, language: str = "swahili"
) -> None:
    export_config(
        checkpoint, folder, language=language, checkpoint_url=link, window_size=None,
        sources=Sources(), declared=Declared(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def talknet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an export of TalkNet; nobody may write there."""
    return export(tmp_path_factory.mktemp("talknet") / "export", TALKNET)


@pytest.fixture
def talknet_folder(talknet: Path, tmp_path: Path) -> Path:
    """Give a copy of it, to spoil."""
    return shutil.copytree(talknet, tmp_path / "export")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an export of the smallest network, to spoil."""
    return export(tmp_path / "export", LR_ASD)


@pytest.fixture
def checkout(shared: Path, tmp_path: Path) -> Path:
    return write_checkout(tmp_path / "toolkit", shared)


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the toolkit's detector always do well: it takes seconds, and is not asked."""
    monkeypatch.setattr(trial, "_load", lambda _: None)
    monkeypatch.setattr(trial, "_answer", lambda *_: None)


def problems(folder: Path, toolkit: Path | None = None) -> dict[str, str | None]:
    """Give what was verified, each with its problem."""
    done = check_export(folder, toolkit=toolkit, python=sys.executable)
    return {each.name: each.problem for each in done if each.left_out is None}


@pytest.fixture(autouse=True)
def every_problem_has_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no check fail without saying how to mend it."""

    def steps(*args: object) -> Iterator[Check]:
        for each in run_steps(*args):
            assert each.problem is None or each.fix, each
            yield each

    monkeypatch.setattr(checking, "run_steps", steps)


def failed(folder: Path, toolkit: Path | None = None) -> dict[str, str]:
    return {name: text for name, text in problems(folder, toolkit).items() if text is not None}


def add_up(folder: Path) -> None:
    """Write the checksums anew, as who spoils a file on purpose would."""
    names = [line[66:] for line in (folder / SUMS).read_text().splitlines()]
    sums = (f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / SUMS).write_text("".join(sums))


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / CONFIG).read_text()
    assert old in text
    (folder / CONFIG).write_text(text.replace(old, new))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / TALKNET_PTH
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def test_export_holds_and_what_needs_a_checkout_is_named(talknet: Path) -> None:
    done = list(check_export(talknet, toolkit=None, python=sys.executable))
    assert [each.name for each in done if each.left_out is None] == [
        checking.CHECKSUMS, checking.READABLE, checking.KEYS, checking.NUMBERS,
        checking.RECOGNISED, checking.PATH, checking.PLAIN, checking.STRICT, checking.SAME,
        checking.REFERENCES, checking.METADATA, checking.CODE,
    ]  # fmt: skip
    assert not [each for each in done if each.problem]
    assert tuple(each.name for each in done if each.left_out) == trial.TRIED
    assert {each.left_out for each in done if each.left_out} == {"needs --toolkit CHECKOUT"}


def test_toolkit_loads_it_and_scores_and_the_checkout_stays_as_it_is(
    talknet: Path, checkout: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in checkout.rglob("*")}
    found = problems(talknet, checkout)
    assert set(trial.TRIED) <= found.keys()
    assert set(found.values()) == {None}
    assert {path: path.stat().st_mtime_ns for path in checkout.rglob("*")} == before


@pytest.mark.parametrize("is_registered", [False, True])
def test_detector_of_another_network_is_laid_over_and_scores(
    folder: Path, checkout: Path, is_registered: bool
) -> None:
    if is_registered:
        subprocess.run(
            ["git", "apply", str(folder / "register_lr_asd.patch")], cwd=checkout, check=True
        )
    assert set(problems(folder, checkout).values()) == {None}
    assert not (checkout / "modules/active_speaker_detection/lr_asd").exists()


def test_missing_key_and_wrong_shape_are_named_by_us_and_by_the_toolkit(
    talknet_folder: Path, checkout: Path
) -> None:
    change_weights(talknet_folder, lambda state: state.pop("lossAV.FC.bias"))
    change_weights(talknet_folder, lambda state: state.update({"lossV.FC.bias": torch.zeros(3)}))
    add_up(talknet_folder)
    found = failed(talknet_folder, checkout)
    assert list(found) == [checking.STRICT, checking.SAME, checking.REFERENCES, trial.LOADS]
    assert "missing: lossAV.FC.bias" in found[checking.STRICT]
    assert "of another shape: lossV.FC.bias (3,) instead of (2,)" in found[checking.STRICT]
    assert found[checking.SAME] == "lossAV.FC.bias is another; lossV.FC.bias is another"
    assert 'Missing key(s) in state_dict: "lossAV.FC.bias"' in found[trial.LOADS]
    assert "size mismatch for lossV.FC.bias" in found[trial.LOADS]


@pytest.mark.parametrize(
    "path", ["./weights/none.pth", "../export.pth", "/etc/hostname", "./modules/../SHA256SUMS"]
)
def test_wrong_path_is_named_and_nothing_is_loaded(folder: Path, checkout: Path, path: str) -> None:
    assert (folder.parent / "export.pth").is_file()
    edit(folder, f"./{LR_ASD_PTH.as_posix()}", path)
    add_up(folder)
    found = failed(folder, checkout)
    assert list(found) == [checking.PATH]
    assert str(Path(path)) in found[checking.PATH]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("min_length: 12", "min_lenght: 12", "pipeline_conf.min_length is missing; "
         "pipeline_conf.min_lenght is unknown"),
        ('model_id: "resnet50"', 'model_id: "mobilenet"',
         "face_detection_conf.model_id is 'mobilenet' instead of 'resnet50'"),
        ("  threshold: 0.8\n", "", "face_detection_conf.threshold is missing"),
        ("save_scenes: false", "save_scenes: 0", "pipeline_conf.save_scenes is 0 instead of False"),
        ("  min_length: 12\n", "  min_length: 2026-01-01\n",
         "pipeline_conf.min_length is datetime.date(2026, 1, 1) instead of 12"),
    ],
)  # fmt: skip
def test_changed_key_is_named_by_both(
    folder: Path, checkout: Path, no_process: None, old: str, new: str, problem: str
) -> None:
    edit(folder, old, new)
    add_up(folder)
    found = failed(folder, checkout)
    assert found[checking.KEYS] == found[trial.KEYS] == problem
    assert found.keys() == {checking.KEYS, trial.KEYS}


def test_order_comments_and_the_place_of_the_link_hold(folder: Path) -> None:
    edit(folder, "# --face alignment\n", "")
    edit(folder, "  # download:", "  # from:")
    edit(folder, '  device: "cpu"\n  threshold: 0.8\n', '  threshold: 0.8\n  device: "cpu"\n')
    add_up(folder)
    assert failed(folder) == {
        checking.KEYS: "the keys of face_detection_conf have another order; the comment "
        "'# --face alignment' is missing; the line before checkpoint_path is not '# download:' "
        "and the link"
    }


def test_checkout_with_other_keys_than_we_know_is_the_measure(
    folder: Path, checkout: Path, no_process: None
) -> None:
    english = checkout / "configs" / "annotheia_pipeline_english.yaml"
    english.write_text(english.read_text() + "  new_setting: 3\n")
    assert failed(folder, checkout) == {trial.KEYS: "pipeline_conf.new_setting is missing"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("window_size: 25", "window_size: 24", "window_size is 24, which is no odd number"),
        ("threshold: 0.04", "threshold: high", "threshold is 'high', which is no number"),
        ("pipeline_conf:", "pipeline_conf: 3\nother:", "window_size is None"),
        ("window_size: 25", "window_size: true", "window_size is True, which is no odd number"),
        ("threshold: 0.04", "threshold: yes", "threshold is True, which is no number"),
        (
            "threshold: 0.04",
            "threshold: 1.0",
            "threshold is 1.0, which is no number from 0 to below",
        ),
        ("threshold: 0.04", "threshold: .nan", "threshold is nan, which is no number"),
        (
            "window_size: 25",
            "window_size: 51",
            "window_size is 51, but the checkpoint is named _25frames.pth",
        ),
    ],
)
def test_impossible_numbers_are_named(folder: Path, old: str, new: str, problem: str) -> None:
    edit(folder, old, new)
    assert problem in failed(folder)[checking.NUMBERS]


@pytest.mark.parametrize("value", ["[sw]", "2026-01-01", "{sw: 1}", "", "no"])
def test_language_that_is_no_text_is_named(folder: Path, value: str) -> None:
    edit(folder, 'lang: "sw"', f"lang: {value}")
    assert "Whisper does not know the language" in failed(folder)[checking.RECOGNISED]


@pytest.mark.parametrize("line", ["since: 2026-01-01", "since: !!binary aGk=", "1: {2: 3}"])
def test_detector_is_not_tried_with_settings_that_it_does_not_have(
    folder: Path, checkout: Path, line: str
) -> None:
    edit(folder, "  # download:", f"  {line}\n  # download:")
    add_up(folder)
    checks = {
        each.name: each for each in check_export(folder, toolkit=checkout, python=sys.executable)
    }
    name = line.partition(":")[0]
    for keys in (checking.KEYS, trial.KEYS):
        assert f"active_speaker_detection_conf.{name} is unknown" in str(checks[keys].problem)
    assert checks[trial.DETECTS].left_out == f'only where "{checking.KEYS}" holds'


def test_changed_missing_and_unlisted_files_are_named(folder: Path) -> None:
    (folder / "MODEL_CARD.md").write_text("mine")
    (folder / "CITATION.cff").unlink()
    (folder / "configs" / "more.txt").write_text("")
    assert failed(folder)[checking.CHECKSUMS] == (
        "CITATION.cff is missing; MODEL_CARD.md has another checksum; "
        "configs/more.txt has no checksum"
    )
    (folder / SUMS).unlink()
    assert "missing or damaged" in failed(folder)[checking.CHECKSUMS]


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_archive", [True, False])
def test_code_in_the_checkpoint_is_refused_and_does_not_run(
    talknet_folder: Path, checkout: Path, is_archive: bool
) -> None:
    folder = talknet_folder
    path, trap = folder / TALKNET_PTH, folder.parent / "ran"
    state = {**torch.load(path, weights_only=True), "payload": Payload(trap)}
    if is_archive:
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps({"payload": Payload(trap)}, protocol=2))
    add_up(folder)
    done = check_export(folder, toolkit=checkout, python=sys.executable)
    checks = {each.name: each for each in done}
    assert "asks to run code, which is refused" in str(checks[checking.PLAIN].problem)
    assert checks[trial.LOADS].left_out == f'only where "{trial.DETECTS}" holds'
    assert not trap.exists()
    # The trap is a real one: the stand-in's own loader, like the toolkit's, would run it.
    torch.load(path, weights_only=False) if is_archive else pickle.loads(path.read_bytes())
    assert trap.exists()


def test_foreign_code_in_the_folder_is_refused_and_does_not_run(
    folder: Path, checkout: Path
) -> None:
    trap = folder.parent / "ran"
    (folder / DETECTOR).parent.mkdir()
    (folder / DETECTOR).write_text(f"open({str(trap)!r}, 'w')")
    found = failed(folder, checkout)
    assert found[checking.CODE] == f"{DETECTOR} is not of asdtune"
    assert trial.LOADS not in problems(folder, checkout)
    assert not trap.exists()


def test_edited_detector_module_is_refused(folder: Path, checkout: Path) -> None:
    module = folder / "modules/active_speaker_detection/lr_asd/lr_asd.py"
    module.write_text(module.read_text() + "import os\n")
    add_up(folder)
    assert list(failed(folder, checkout)) == [checking.CODE]


def test_language_that_whisper_lacks_needs_another_recogniser(
    tmp_path: Path, checkout: Path, no_process: None
) -> None:
    folder = export(tmp_path / "export", LR_ASD, "quechua")
    assert failed(folder) == {checking.RECOGNISED: "Whisper does not know the language 'qu'"}
    (config,) = folder.glob("configs/*.yaml")
    text = config.read_text().replace(": whisper", ": mms").replace('  model_size: "small"\n', "")
    config.write_text(text)
    add_up(folder)
    assert failed(folder, checkout) == {}


def test_safetensors_file_must_be_there_whole_and_the_same(folder: Path) -> None:
    path = (folder / LR_ASD_PTH).with_suffix(".safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert load_file(path)
    assert "is another" in failed(folder)[checking.SAME]
    path.write_bytes(b"damaged")
    assert "no readable safetensors file" in failed(folder)[checking.SAME]
    path.unlink()
    assert "is missing" in failed(folder)[checking.SAME]


@pytest.mark.parametrize("text", ["a: [", "- a list", "\xff"])
def test_no_yaml_is_named_and_the_rest_left_out(folder: Path, text: str) -> None:
    (folder / CONFIG).write_bytes(text.encode("latin-1"))
    found = problems(folder)
    assert found.keys() == {checking.CHECKSUMS, checking.READABLE, checking.METADATA}
    assert found[checking.READABLE] is not None


class FakeDetector:
    """A detector that scores as it is told."""

    def __init__(self, scores: Callable[[int], np.ndarray], **parts: object) -> None:
        self.scores = scores
        vars(self).update(parts)

    def preprocess_input(self, *args: object) -> tuple[object, object]:
        return args[3], None

    def get_asd_scores(self, size: int, _: object) -> np.ndarray:
        return self.scores(size)


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        (lambda size: np.full((size, 2), 0.5), None),
        (lambda size: np.full((size, 2), 0.4), "are no probabilities"),
        (lambda size: np.tile([1.5, -0.5], (size, 1)), "are no probabilities"),
        (lambda size: np.full((size, 2), np.nan), "are not finite"),
        (lambda size: np.full((size - 1, 2), 0.5), "have the shape (8, 2) instead of (9, 2)"),
    ],
)
def test_scores_must_be_probabilities_of_every_frame(
    scores: Callable[[int], np.ndarray], problem: str | None
) -> None:
    found = probe.score(FakeDetector(scores), {"window_size": 9})
    assert found == (None if problem is None else f"scores around frame 0 {problem}")


def test_detector_must_hold_what_the_checkpoint_has(tmp_path: Path) -> None:
    layer, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    torch.save(layer.state_dict(), tmp_path / "w.pth")
    request = {"conf": {"checkpoint_path": str(tmp_path / "w.pth")}}
    for part, problem in (
        ({"network": layer}, None),
        ({"network": other}, "2 of 2 tensors are not in the detector: weight, bias"),
        ({}, "2 of 2 tensors are not in the detector: weight, bias"),
    ):
        assert probe.compare_weights(FakeDetector(np.zeros, **part), request) == problem


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import absent", "ModuleNotFoundError: No module named 'absent'"),
        ("import hub  # absent", "ModuleNotFoundError: No module named 'hub'"),  # ours is none
        ("import os; os._exit(3)", "its process ended with status 3 and said: nothing"),
        ("import sys; sys.exit('no GPU')", "its process ended with status 1 and said: no GPU"),
        ("class TalkNetASD:\n    def __init__(self, **conf): 1 / 0",
         "ZeroDivisionError: division by zero"),
        ("class TalkNetASD:\n    def __init__(self, **conf): pass",
         "TypeError: TalkNetASD is no AbsASD"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_the_toolkit_is_told(
    talknet: Path, tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, source: str,
    problem: str,
) -> None:  # fmt: skip
    if "time" in source:
        monkeypatch.setattr(trial, "_TIMEOUT_SECONDS", 1)
    (checkout / DETECTOR).write_text(source)
    (tmp_path / "work").mkdir()
    tried = Trial(Exported(talknet), checkout, tmp_path / "work", sys.executable)
    *_, loads, scores = run_steps(trial_steps(tried, (), readable=""))
    assert (loads.name, loads.problem) == (trial.LOADS, problem)
    assert loads.fix
    assert ("--toolkit-python" in loads.fix) == ("absent" in source)
    assert scores.left_out is not None


def test_crash_while_it_scores_is_no_failure_to_load(
    folder: Path, tmp_path: Path, checkout: Path
) -> None:
    spoilt = Exported(shutil.copytree(folder, tmp_path / "spoilt"))
    module = spoilt.folder / "modules/active_speaker_detection/lr_asd/lr_asd.py"
    text = module.read_text()
    assert "    def preprocess_input(" in text
    crashing = (
        "    def preprocess_input(self, *_):\n        import os; os._exit(3)\n\n    def unused("
    )
    module.write_text(text.replace("    def preprocess_input(", crashing))
    (tmp_path / "work").mkdir()
    tried = Trial(spoilt, checkout, tmp_path / "work", sys.executable)
    *_, loads, scores = run_steps(trial_steps(tried, (), readable=""))
    assert (loads.name, loads.problem) == (trial.LOADS, None)
    assert (scores.name, scores.problem) == (
        trial.SCORES, "its process ended with status 3 and said: nothing",
    )  # fmt: skip
    assert scores.fix


def test_copy_has_what_links_lead_to_and_no_environment_of_python(
    talknet: Path, tmp_path: Path, checkout: Path, no_process: None
) -> None:
    elsewhere = tmp_path / "large_disk"
    elsewhere.mkdir()
    (checkout / TALKNET_PTH.parent).symlink_to(elsewhere, target_is_directory=True)
    (checkout / "dangling").symlink_to(tmp_path / "absent")
    (checkout / "relative").symlink_to("configs", target_is_directory=True)
    (checkout / "loop").symlink_to(checkout, target_is_directory=True)
    for name in ("env/pyvenv.cfg", "conda/conda-meta/history", ".git/config", "data/kept.txt",
                 "data/vlog.mp4", "data/crops.npz", "data/other.pth"):  # fmt: skip
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    with (checkout / "data" / "table.csv").open("wb") as file:
        file.truncate(20_000_000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(checkout / "data" / "fifo")
    work = checkout / "data" / "tmp"  # where TMPDIR may lead
    work.mkdir()
    tried = Trial(Exported(talknet), checkout, work, sys.executable)
    assert not [each for each in run_steps(trial_steps(tried, (), readable="")) if each.problem]
    assert list(elsewhere.iterdir()) == []
    assert (tried.copy / TALKNET_PTH).is_file()
    names = {path.name for path in tried.copy.iterdir()}
    assert names == {"configs", "data", "modules", "relative", "tasks", "utils"}
    assert [path.name for path in (tried.copy / "data").iterdir()] == ["kept.txt"]


@pytest.mark.parametrize(
    "error",
    [
        shutil.Error([("a.py", "b.py", "[Errno 28] No space left on device")]),
        OSError(errno.ENOSPC, "No space left on device", "a.py"),
    ],
)
def test_checkout_that_cannot_be_copied_is_told(
    folder: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def copytree(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(copying.shutil, "copytree", copytree)
    checks = {
        each.name: each for each in check_export(folder, toolkit=checkout, python=sys.executable)
    }
    problem = str(checks[trial.DETECTS].problem)
    assert "a.py cannot be copied" in problem
    assert "No space left on device" in problem
    assert "TMPDIR" in str(checks[trial.DETECTS].fix)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("MODEL_CARD.md", "---\na: [\n---\n", "MODEL_CARD.md cannot be read"),
        ("MODEL_CARD.md", "# No front", "MODEL_CARD.md has no metadata"),
        ("CITATION.cff", "a: b: c", "CITATION.cff cannot be read"),
        (".zenodo.json", "{,}", ".zenodo.json cannot be read"),
    ],
)
def test_metadata_that_an_edit_has_broken_is_named(
    folder: Path, name: str, text: str, problem: str
) -> None:
    (folder / name).write_text(text)
    assert problem in failed(folder)[checking.METADATA]


def test_other_detectors_and_patches_that_do_not_apply_are_named(
    talknet: Path, folder: Path, checkout: Path
) -> None:
    task = checkout / "tasks" / "detect_candidate_scenes_task.py"
    task.write_text(task.read_text().replace("talknet=TalkNetASD", '"other": TalkNetASD'))
    task.write_text(task.read_text().replace("dict(\n", "{\n").replace(",\n    ),", ",\n    },"))
    assert "has other, not talknet" in failed(talknet, checkout)[trial.DETECTS]
    assert "register_lr_asd.patch does not apply" in failed(folder, checkout)[trial.DETECTS]
    task.write_text("def")
    assert "is no Python (invalid syntax" in failed(talknet, checkout)[trial.DETECTS]


def test_no_folder_and_no_checkout_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AsdtuneError, match="no such folder"):
        problems(tmp_path / "absent")
    with pytest.raises(UsageError, match="not a checkout of AnnoTheia: it has no configs/"):
        problems(folder, tmp_path)


def test_python_is_named_as_seen_from_here(
    talknet: Path, checkout: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_TIMEOUT_SECONDS", 20)
    (checkout / DETECTOR).write_text("import sys; sys.exit(sys.executable)")
    Path("env").mkdir()
    Path("env/python").symlink_to(sys.executable)
    Path("work").mkdir()
    tried = Trial(Exported(talknet), checkout, in_tmp / "work", "env/python")
    *_, loads, _scores = run_steps(trial_steps(tried, (), readable=""))
    assert str(loads.problem).endswith(str(in_tmp / "env" / "python"))


def test_python_that_cannot_be_run_is_named(folder: Path, checkout: Path) -> None:
    done = {
        each.name: each
        for each in check_export(folder, toolkit=checkout, python=str(checkout / "absent"))
    }
    assert "cannot be run" in str(done[trial.LOADS].problem)
    assert "--toolkit-python" in str(done[trial.LOADS].fix)


def test_command_says_line_by_line_what_holds(
    run: Run, in_tmp: Path, folder: Path, checkout: Path
) -> None:
    output = run("export-config", "--check", folder, "--toolkit", checkout).stdout
    assert output.count("ok ") == 16
    assert "to fill in: whom to cite (export-config.authors in the project file): MODEL" in output
    assert "16 ok, 0 failed, 0 not verified" in output
    output = run("export-config", "--check").stdout  # ./export, without a checkout
    assert output.count("(needs --toolkit CHECKOUT)") == 4
    assert "12 ok, 0 failed, 4 not verified" in output
    edit(folder, "min_length: 12", "min_length: 13")
    output = run("export-config", "--check", "--output-dir", folder, exit_code=1).stdout
    assert f"failed {checking.CHECKSUMS}: {CONFIG.as_posix()} has another checksum" in output
    assert f"failed {checking.KEYS}: pipeline_conf.min_length is 13 instead of 12" in output
    told = json.loads(run("export-config", "--check", folder, "--json", exit_code=1).stdout)
    assert len(told["checks"]) == 16
    assert [each["name"] for each in told["failed"]] == [checking.CHECKSUMS, checking.KEYS]


def test_flags_that_do_not_go_together_are_wrong_usage(run: Run, in_tmp: Path) -> None:
    for flags in (("--toolkit", "x"), ("--toolkit-python", "x"), ("a", "--output-dir", "b")):
        run("export-config", *flags, exit_code=2)
    url = ("--checkpoint-url", "https://zenodo.org/records/1")
    for flags in (("--checkpoint", "x"), url, ("--language", "sw"), ("--window-size", "25")):
        output = run("export-config", "--check", *flags, exit_code=2).output
        assert "--check writes nothing and takes the folder as it is" in output
        assert f"where: {flags[0]}" in output
    output = run("export-config", "--push-to-hub", "a/b", *url, exit_code=2).output
    assert "where: --checkpoint-url" in output


def test_keys_of_the_stand_in_are_those_of_the_toolkit(checkout: Path) -> None:
    keys = json.loads((checkout / KEYS).read_text())
    assert keys.keys() == make_network(TALKNET).state_dict().keys()
    english = (checkout / "configs" / "annotheia_pipeline_english.yaml").read_text()
    assert yaml.safe_load(english)["pipeline_conf"]["window_size"] == 51


def test_sum_and_link_of_another_checkpoint_are_named(folder: Path) -> None:
    link, other = "https://zenodo.org/records/1", "https://zenodo.org/records/2"
    checkpoint = folder.with_suffix(".pth")
    export_again(checkpoint, folder, link)
    assert failed(folder) == {}
    card, note = folder / "MODEL_CARD.md", folder / "PULL_REQUEST.md"
    right = hashlib.sha256((folder / LR_ASD_PTH).read_bytes()).hexdigest()
    card.write_text(card.read_text().replace(right, "A" * 64).replace(link, other))
    note.write_text(note.read_text().replace(right, "b" * 64) + f"\nSee {other}.\n")
    edit(folder, link, f"{link}/files")
    add_up(folder)
    assert failed(folder) == {
        checking.REFERENCES: "MODEL_CARD.md has another checksum, aaaaaaaa...; MODEL_CARD.md has "
        f"another link, {other}; PULL_REQUEST.md has another checksum, bbbbbbbb...; {CONFIG.name} "
        f"has another link, {link}/files"
    }


def test_link_that_was_given_for_other_weights_is_named(folder: Path) -> None:
    link, mine = "https://zenodo.org/records/1", "https://zenodo.org/records/2"
    export_again(folder.with_suffix(".pth"), folder, link)
    mark = "FILL IN: the link to the checkpoint, once it is uploaded (--checkpoint-url)"
    record = folder / ".asdtune" / "export-config.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "links": {link: "0" * 64}}))
    assert "MODEL_CARD.md has another link" in failed(folder)[checking.REFERENCES]
    for path in (folder / "MODEL_CARD.md", folder / "PULL_REQUEST.md", folder / CONFIG):
        path.write_text(path.read_text().replace(link, mark))
    edit(folder, mark, mine)  # by hand, of which nobody knows
    add_up(folder)
    assert failed(folder) == {}
    twin = hashlib.sha256((folder / LR_ASD_PTH).with_suffix(".safetensors").read_bytes())
    with (folder / "MODEL_CARD.md").open("a") as file:
        file.write(f"The safetensors file: {twin.hexdigest()}\n")
    add_up(folder)
    assert failed(folder) == {}
