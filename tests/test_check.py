"""`export-config --check`: what holds, what does not, and that nothing in the folder is run."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asdtune.core.export import check, trial
from asdtune.core.export.annotheia import PLACES
from asdtune.core.export.folder import SUMS
from asdtune.core.models.checkpoints import CheckpointInfo, save_weights
from asdtune.core.models.registry import LR_ASD, TALKNET, make_network
from asdtune.errors import AsdtuneError, UsageError
from tests.annotheia import DETECTOR, KEYS, write_checkout
from tests.conftest import Run
from tests.small import write_export

MODULES = Path("modules/active_speaker_detection")
TALKNET_PTH = MODULES / "talknet_asd" / "weights" / "swahili_talknetasd_25frames.pth"
LR_ASD_PTH = MODULES / "lr_asd" / "weights" / "swahili_lrasd_25frames.pth"
CONFIG = Path("configs/annotheia_pipeline_swahili.yaml")


def export(folder: Path, network: str) -> Path:
    torch.manual_seed(0)
    info = CheckpointInfo(25, 1, 50.0, "scratch", "0.1.0", network)
    save_weights(folder.with_suffix(".pth"), make_network(network).state_dict(), info)
    write_export(folder.with_suffix(".pth"), folder)
    return folder


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give exports by their network; nobody may write there."""
    root = tmp_path_factory.mktemp("exports")
    return {network: export(root / network, network) for network in (TALKNET, LR_ASD)}


@pytest.fixture
def talknet(exports: dict[str, Path], tmp_path: Path) -> Path:
    """Give an export of TalkNet, to spoil."""
    return shutil.copytree(exports[TALKNET], tmp_path / "export")


@pytest.fixture
def folder(exports: dict[str, Path], tmp_path: Path) -> Path:
    """Give an export of the smallest network, to spoil."""
    return shutil.copytree(exports[LR_ASD], tmp_path / "export")


@pytest.fixture
def checkout(shared: Path, tmp_path: Path) -> Path:
    return write_checkout(tmp_path / "toolkit", shared)


def verified(folder: Path, toolkit: Path | None = None) -> dict[str, str | None]:
    """Give what was verified, each with its problem; no problem is without a fix."""
    done = list(check.check_export(folder, toolkit=toolkit, python=sys.executable))
    assert all(each.fix for each in done if each.problem)
    return {each.name: each.problem for each in done if each.left_out is None}


def failed(folder: Path, toolkit: Path | None = None) -> dict[str, str]:
    return {name: text for name, text in verified(folder, toolkit).items() if text is not None}


def tried(folder: Path, checkout: Path) -> str:
    """Give what is wrong in the toolkit, of an export that nothing else is wrong with."""
    (name,) = found = failed(folder, checkout)
    assert name == check.TOOLKIT
    return found[name]


def add_up(folder: Path) -> None:
    """Write the checksums anew, as who spoils a file on purpose would."""
    names = [line[66:] for line in (folder / SUMS).read_text().splitlines()]
    sums = (f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / SUMS).write_text("".join(sums))


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / CONFIG).read_text()
    assert old in text
    (folder / CONFIG).write_text(text.replace(old, new))


def test_export_holds_and_what_needs_a_checkout_is_left_out(exports: dict[str, Path]) -> None:
    *done, last = check.check_export(exports[TALKNET], toolkit=None, python=sys.executable)
    assert [each.name for each in done] == [
        check.CHECKSUMS, check.WEIGHTS, check.CODE, check.KEYS,
    ]  # fmt: skip
    assert not [each for each in done if each.problem]
    assert {each.left_out for each in done[:3]} == {None}
    assert done[3].left_out == last.left_out == "needs --toolkit CHECKOUT"


@pytest.mark.parametrize(
    ("network", "is_registered"), [(TALKNET, True), (LR_ASD, False), (LR_ASD, True)]
)
def test_toolkit_loads_it_and_scores_and_the_checkout_stays_as_it_is(
    exports: dict[str, Path], checkout: Path, network: str, is_registered: bool
) -> None:
    if is_registered and network == LR_ASD:
        patch = exports[LR_ASD] / "register_lr_asd.patch"
        subprocess.run(["git", "apply", str(patch)], cwd=checkout, check=True)
    before = {path: path.stat().st_mtime_ns for path in checkout.rglob("*")}
    found = verified(exports[network], checkout)
    assert check.TOOLKIT in found
    assert set(found.values()) == {None}
    assert {path: path.stat().st_mtime_ns for path in checkout.rglob("*")} == before


def test_changed_and_missing_files_are_named(folder: Path) -> None:
    (folder / "MODEL_CARD.md").write_text("mine")
    (folder / "CITATION.cff").unlink()
    assert failed(folder) == {
        check.CHECKSUMS: "CITATION.cff is missing; MODEL_CARD.md has another checksum"
    }
    (folder / SUMS).write_text("damaged")
    assert "is missing or damaged" in failed(folder)[check.CHECKSUMS]


def test_keys_are_compared_with_those_of_the_checkout(folder: Path, checkout: Path) -> None:
    edit(folder, "min_length: 12", "min_lenght: 12")
    add_up(folder)
    problem = "pipeline_conf.min_length is missing; pipeline_conf.min_lenght is unknown"
    assert failed(folder, checkout) == {check.KEYS: problem}
    english = checkout / "configs" / "annotheia_pipeline_english.yaml"
    english.write_text(english.read_text().replace("min_length", "min_lenght"))
    assert failed(folder, checkout) == {}


@pytest.mark.parametrize("text", ["a: [", "- a list", "\xff", "a: 1"])
def test_no_language_file_is_named(folder: Path, checkout: Path, text: str) -> None:
    (folder / CONFIG).write_bytes(text.encode("latin-1"))
    assert failed(folder, checkout).keys() >= {check.CHECKSUMS, check.KEYS, check.WEIGHTS}


@pytest.mark.parametrize(
    "path",
    ["./weights/none.pth", "../export.pth", "/etc/hostname", "./modules/../w.pth", "./SHA256SUMS"],
)
def test_checkpoint_must_lie_in_the_folder(folder: Path, checkout: Path, path: str) -> None:
    for name in ("export.pth", "export/w.pth"):
        shutil.copyfile(folder / LR_ASD_PTH, folder.parent / name)
    edit(folder, f"./{LR_ASD_PTH.as_posix()}", path)
    add_up(folder)
    found = failed(folder, checkout)
    assert found.keys() == {check.WEIGHTS, check.CODE}
    assert path in found[check.WEIGHTS]


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_archive", [True, False])
def test_code_in_the_checkpoint_is_refused_and_does_not_run(
    talknet: Path, checkout: Path, is_archive: bool
) -> None:
    folder = talknet
    path, trap = folder / TALKNET_PTH, folder.parent / "ran"
    state = {**torch.load(path, weights_only=True), "payload": Payload(trap)}
    if is_archive:
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps({"payload": Payload(trap)}, protocol=2))
    add_up(folder)
    *_, last = checks = list(check.check_export(folder, toolkit=checkout, python=sys.executable))
    problems = [each.problem for each in checks if each.name == check.WEIGHTS]
    assert "asks to run code, which is refused" in str(problems)
    assert last.left_out == "only once all of the above holds"
    assert not trap.exists()
    # The trap is a real one: the stand-in's own loader, like the toolkit's, would run it.
    torch.load(path, weights_only=False) if is_archive else pickle.loads(path.read_bytes())
    assert trap.exists()


def test_edited_detector_module_is_refused_and_does_not_run(folder: Path, checkout: Path) -> None:
    trap, module = folder.parent / "ran", folder / MODULES / "lr_asd" / "lr_asd.py"
    module.write_text(f"open({str(trap)!r}, 'w')\n{module.read_text()}")
    add_up(folder)
    assert list(failed(folder, checkout)) == [check.CODE]
    assert not trap.exists()


SCORES = """
import numpy as np
class TalkNetASD:
    def __init__(self, **conf): pass
    def preprocess_input(self, *args): return args[:2]
    def get_asd_scores(self, *args): return {}
"""


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import absent", "ModuleNotFoundError: No module named 'absent'"),
        ("import card  # absent", "ModuleNotFoundError: No module named 'card'"),  # ours is none
        ("import os; os._exit(3)", "its process ended with status 3 and said nothing"),
        ("import sys; sys.exit(sys.executable)", "{here}/env/python"),
        ("class TalkNetASD:\n    def __init__(self, **conf): 1 / 0",
         "ZeroDivisionError: division by zero"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
        (SCORES.format("np.full((25, 2), 0.4)"), "scores around frame 0 are no probabilities"),
        (SCORES.format("np.full((25, 2), np.nan)"), "scores around frame 0 are no probabilities"),
        (SCORES.format("np.full((24, 2), 0.5)"),
         "scores have the shape (24, 2) instead of (25, 2)"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_the_toolkit_is_told(
    exports: dict[str, Path], in_tmp: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch,
    source: str, problem: str,
) -> None:  # fmt: skip
    if "time" in source:
        monkeypatch.setattr(trial, "_TIMEOUT_SECONDS", 1)
    (checkout / DETECTOR).write_text(source)
    Path("env").mkdir()
    Path("env/python").symlink_to(sys.executable)
    weights = f"./{TALKNET_PTH.as_posix()}"
    submitted = trial.Submitted(exports[TALKNET], PLACES[TALKNET], weights, 25)
    with pytest.raises(AsdtuneError) as caught:
        trial.try_in_toolkit(submitted, checkout, "env/python")
    assert caught.value.problem == problem.format(here=in_tmp)
    assert ("--toolkit-python" in str(caught.value.fix)) == ("absent" in source)


def test_checkout_for_which_the_patch_is_not_is_named(
    exports: dict[str, Path], checkout: Path
) -> None:
    task = checkout / "tasks" / "detect_candidate_scenes_task.py"
    task.write_text(task.read_text().replace("talknet=TalkNetASD", '"other": TalkNetASD'))
    assert "register_lr_asd.patch does not apply" in tried(exports[LR_ASD], checkout)


def test_checkout_or_python_that_cannot_be_used_is_named(
    exports: dict[str, Path], checkout: Path, tmp_path: Path
) -> None:
    (checkout / "utils" / "dangling").symlink_to(tmp_path / "absent")
    assert "the checkout cannot be copied" in tried(exports[LR_ASD], checkout)
    (checkout / "utils" / "dangling").unlink()
    absent = str(tmp_path / "python")
    *_, last = check.check_export(exports[LR_ASD], toolkit=checkout, python=absent)
    assert "cannot be run" in str(last.problem)
    with pytest.raises(AsdtuneError, match="no such folder"):
        verified(tmp_path / "absent")
    with pytest.raises(UsageError, match="not a checkout of AnnoTheia: it has no configs/"):
        verified(exports[LR_ASD], tmp_path)


def test_command_says_line_by_line_what_holds(
    run: Run, in_tmp: Path, folder: Path, checkout: Path
) -> None:
    output = run("export-config", "--check", folder, "--toolkit", checkout).stdout
    assert output.count("ok ") == 5
    assert "to fill in: whom to cite (export-config.authors in the project file): " in output
    assert "5 ok, 0 failed, 0 not verified" in output
    assert "(needs --toolkit CHECKOUT)" in run("export-config", "--check").stdout  # ./export
    edit(folder, "min_length: 12", "min_lenght: 12")
    flags = ("export-config", "--check", "--output-dir", folder, "--toolkit", checkout)
    output = run(*flags, exit_code=1).stdout
    assert f"failed {check.CHECKSUMS}: {CONFIG.as_posix()} has another checksum" in output
    told = json.loads(run(*flags, "--json", exit_code=1).stdout)
    assert len(told["checks"]) == 5
    assert [each["name"] for each in told["failed"]] == [check.CHECKSUMS, check.KEYS]


def test_flags_that_do_not_go_together_are_wrong_usage(run: Run, in_tmp: Path) -> None:
    for flags in (("--toolkit", "x"), ("--toolkit-python", "x"), ("a", "--output-dir", "b")):
        run("export-config", *flags, exit_code=2)
    for flags in (("--checkpoint", "x"), ("--window-size", "25"), ("--overwrite",)):
        output = run("export-config", "--check", *flags, exit_code=2).output
        assert "--check writes nothing and takes the folder as it is" in output
        assert f"where: {flags[0]}" in output


def test_keys_of_the_stand_in_are_those_of_the_toolkit(checkout: Path) -> None:
    keys = json.loads((checkout / KEYS).read_text())
    assert keys.keys() == make_network(TALKNET).state_dict().keys()
