"""`export-config --push-to-hub`: what is uploaded, when, and what can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, constants, errors

from asdtune.core.share.hub import check_repository
from asdtune.errors import UsageError
from tests.conftest import Run
from tests.small import write_checkpoint

REPO = "grace/swahili-asd"
NAME = "swahili_lrasd_25frames"
LINK = f"https://huggingface.co/{REPO}/resolve/main/{NAME}.pth"
FILES = [
    "README.md", "CITATION.cff", "annotheia_pipeline_swahili.yaml", f"{NAME}.pth",
    f"{NAME}.safetensors", "SHA256SUMS",
]  # fmt: skip
SECRET = "hf_" + "s" * 34


class FakeApi:
    """Keeps what is uploaded."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.files: dict[str, bytes] = {}
        self.error: tuple[str, Exception] | None = None

    def as_theirs(self) -> huggingface_hub.HfApi:
        """Give it with the signatures of the library, so that no call is one that it lacks."""
        theirs = create_autospec(huggingface_hub.HfApi, instance=True)
        for name in ("whoami", "create_repo", "upload_folder"):
            getattr(theirs, name).side_effect = getattr(self, name)
        return theirs

    def whoami(self) -> dict[str, str]:
        self._called("whoami")
        return {"name": "grace"}

    def create_repo(self, repo_id: str, *, repo_type: str, exist_ok: bool) -> None:
        assert (repo_id, repo_type, exist_ok) == (REPO, "model", True)
        self._called("create_repo")

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        assert repo_id == REPO
        assert commit_message
        self._called("upload_folder")
        self.files = {path.name: path.read_bytes() for path in folder_path.iterdir()}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None and self.error[0] == name:
            raise self.error[1]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    theirs = fake.as_theirs()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: theirs)
    return fake


@pytest.fixture
def push(run: Run, in_tmp: Path) -> Callable[..., str]:
    """Give a project with a checkpoint of which all is told but data and results; and the command.

    What no report tells is filled in by hand.
    """
    write_checkpoint(Path("best.pth"), 25)
    Path("asdtune.toml").write_text(
        '[project]\nlanguage = "swahili"\n[export-config]\nauthors = ["Okello, Grace"]\n'
        'license = "MIT"\nconsent = "They signed."\nrecordings = "By Grace."\n'
    )
    command = ("export-config", "--checkpoint", "best.pth", "--push-to-hub", REPO)

    def push_again(*flags: str, exit_code: int = 0) -> str:
        return run(*command, *flags, exit_code=exit_code).output

    return push_again


def fill_in() -> None:
    card = Path("export/MODEL_CARD.md")
    lines = card.read_text().splitlines()
    filled = ["Told." if "FILL IN: " in line and "link" not in line else line for line in lines]
    card.write_text("\n".join(filled))


def test_without_yes_it_says_what_it_would_do_and_nothing_is_sent(
    push: Callable[..., str], api: FakeApi
) -> None:
    output = push()
    for name in FILES:
        assert name in output
    assert "nothing is uploaded: these 6 files would go to https://huggingface.co/grace" in output
    assert "to fill in first: the results" in output
    assert "with --yes" in output
    assert api.calls == []
    assert LINK not in Path("export/MODEL_CARD.md").read_text()


def test_nothing_is_uploaded_that_asks_for_something(
    push: Callable[..., str], api: FakeApi
) -> None:
    output = push("--yes", exit_code=1)
    assert "error: still to be filled in: " in output
    assert "how it was trained" in output
    assert "the link" not in output  # which is filled in by the upload
    assert api.calls == []


def test_upload_is_whole_and_the_link_is_filled_in(
    push: Callable[..., str], api: FakeApi, tmp_path: Path
) -> None:
    push()
    fill_in()
    output = push("--yes")
    assert "6 files uploaded -> https://huggingface.co/grace/swahili-asd" in output
    assert f"as with --checkpoint-url {LINK}" in output
    assert api.calls == ["whoami", "create_repo", "upload_folder"]
    assert sorted(api.files) == sorted(FILES)
    for line in api.files["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(api.files[name]).hexdigest() == digest
    card = tmp_path / "README.md"
    card.write_bytes(api.files["README.md"])
    assert ModelCard.load(card).data.license == "mit"
    for text in (card.read_text(), Path("export/MODEL_CARD.md").read_text()):
        assert LINK in text
        assert "Told." in text
    for name in ("configs/annotheia_pipeline_swahili.yaml", "PULL_REQUEST.md", "CITATION.cff"):
        assert LINK in Path("export", name).read_text()


def test_broken_card_is_not_uploaded(push: Callable[..., str], api: FakeApi) -> None:
    push()
    Path("export/MODEL_CARD.md").write_text("---\na: [\n---\n")
    assert "error: MODEL_CARD.md cannot be read" in push("--yes", exit_code=1)
    assert api.calls == []


def test_card_that_names_another_checkpoint_is_not_uploaded(
    push: Callable[..., str], api: FakeApi
) -> None:
    push()
    fill_in()
    card = Path("export/MODEL_CARD.md")
    card.write_text(re.sub("[0-9a-f]{64}", "0" * 64, card.read_text()))
    assert "MODEL_CARD.md has another checksum, 00000000..." in push("--yes", exit_code=1)
    assert api.calls == []


def test_card_that_is_out_of_date_is_told_before_it_is_uploaded(push: Callable[..., str]) -> None:
    push()
    fill_in()
    project = Path("asdtune.toml")
    project.write_text(project.read_text().replace("By Grace", "By Grace and Ben"))
    told = " ".join(push().split())
    assert "MODEL_CARD.md is as you edited it, but for link, renewed" in told
    assert "and out of date" in told


def test_link_of_another_place_in_the_project_file_is_told(
    push: Callable[..., str], api: FakeApi
) -> None:
    project = Path("asdtune.toml")
    project.write_text(project.read_text() + 'checkpoint_url = "https://zenodo.org/1"\n')
    push()
    fill_in()
    assert "your project file has another checkpoint_url, https://zenodo.org/1" in push("--yes")
    assert LINK in api.files["annotheia_pipeline_swahili.yaml"].decode()


def answer(status: int, text: str = "it says") -> errors.HfHubHTTPError:
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return errors.HfHubHTTPError(f"{text} {SECRET}\nmore", response=response)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        ("whoami", errors.LocalTokenNotFoundError("none"), "error: not logged in"),
        ("whoami", answer(401), "does not accept the token"),
        ("create_repo", answer(403), f"no permission to write to {REPO}"),
        ("upload_folder", answer(404), f"no permission to write to {REPO}"),
        ("upload_folder", answer(500), "answers 500 (it says hf_...)"),
        ("upload_folder", errors.OfflineModeIsEnabled("offline"), "cannot be reached (offline)"),
        ("create_repo", errors.HTTPError(f"no route {SECRET}"), "cannot be reached (no route hf_"),
        ("whoami", ConnectionRefusedError("refused"), "cannot be reached (refused)"),
        ("upload_folder", errors.HTTPError("cut"), "cannot be reached (cut)"),
        ("upload_folder", OSError(f"Xet: {SECRET}"), "did not go through (Xet: hf_...)"),
        ("upload_folder", RuntimeError("Data processing error"), "did not go through (Data proc"),
        ("upload_folder", ValueError("Invalid path in repo"), "did not go through (Invalid path"),
        ("upload_folder", FileNotFoundError(2, "No such file", "x"), "did not go through ([Errno"),
    ],
)
def test_what_goes_wrong_is_told_without_a_token_and_the_link_stays_open(
    push: Callable[..., str], api: FakeApi, call: str, error: Exception, told: str
) -> None:
    push()
    fill_in()
    api.error = call, error
    output = push("--yes", exit_code=1)
    assert told in output
    assert "fix: " in output
    assert SECRET not in output
    assert LINK not in Path("export/MODEL_CARD.md").read_text()
    assert "Told." in Path("export/MODEL_CARD.md").read_text()


def test_hub_that_refuses_connections_is_an_error(
    push: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    push()
    fill_in()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("HF_TOKEN", SECRET)
    output = push("--yes", exit_code=1)
    assert "error: the Hugging Face Hub cannot be reached" in output
    assert SECRET not in output


def test_who_is_not_logged_in_is_told_how(push: Callable[..., str], in_tmp: Path) -> None:
    push()
    fill_in()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", "export-config", "--checkpoint", "best.pth",
         "--push-to-hub", REPO, "--yes"],
        env={**environment, "HF_HOME": str(in_tmp / "hf")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: not logged in to the Hugging Face Hub\n  fix:   make a")
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_how_to_install_it(
    push: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    push()  # what would be done needs no library
    fill_in()
    told = 'in the checkout of asdtune: python -m pip install ".[hub]"'
    assert told in push("--yes", exit_code=1)


@pytest.mark.parametrize(
    "name", ["swahili", "a/b/c", "grace/", "/asd", "grace/a--b", "grace/a..b", "grace/-a",
             "grace/a.git", "grace/a b", "grace/" + 97 * "a", "https://huggingface.co/a/b"],
)  # fmt: skip
def test_name_that_is_none_is_wrong_usage_before_anything_is_written(
    run: Run, in_tmp: Path, name: str
) -> None:
    write_checkpoint(Path("best.pth"), 25)
    output = run(
        "export-config", "--language", "sw", "--checkpoint", "best.pth", "--push-to-hub", name,
        exit_code=2,
    ).output  # fmt: skip
    assert "is no name of a repository" in output
    assert not Path("export").exists()


def test_names_that_the_hub_takes_are_taken() -> None:
    for name in ("a/b", "Grace_O/Swahili-ASD.v1", "org/" + 96 * "a"):
        assert check_repository(name) == name
        huggingface_hub.utils.validate_repo_id(name)
    with pytest.raises(UsageError):
        check_repository("a/-b")


def test_json_tells_the_link(push: Callable[..., str], api: FakeApi) -> None:
    told = json.loads(push("--json"))
    assert (told["link"], told["is_uploaded"]) == (LINK, False)
    assert list(told["files"]) == FILES


@pytest.mark.parametrize("flags", [("--yes",), ("--check", "--push-to-hub", "a/b")])
def test_flags_of_it_that_do_not_go_together_are_wrong_usage(
    run: Run, in_tmp: Path, flags: tuple[str, ...]
) -> None:
    run("export-config", *flags, exit_code=2)
