"""`export-config --push-to-hub`: what is uploaded, when, and what can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, ModelCard, errors

from asdtune.core.files import content_hash
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
CARD = Path("export/MODEL_CARD.md")


class FakeApi:
    """Keeps what is uploaded."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.files: dict[str, bytes] = {}
        self.error: tuple[str, Exception] | None = None

    def as_theirs(self) -> huggingface_hub.HfApi:
        """Give it with the signatures of the library, so that no call is one that it lacks."""
        theirs = create_autospec(huggingface_hub.HfApi, instance=True)
        for name in ("whoami", "create_repo", "create_commit"):
            getattr(theirs, name).side_effect = getattr(self, name)
        return theirs

    def whoami(self) -> dict[str, str]:
        self._called("whoami")
        return {"name": "grace"}

    def create_repo(self, repo_id: str, *, repo_type: str, exist_ok: bool) -> None:
        assert (repo_id, repo_type, exist_ok) == (REPO, "model", True)
        self._called("create_repo")

    def create_commit(
        self, repo_id: str, operations: Sequence[CommitOperationAdd], *, commit_message: str
    ) -> None:
        assert repo_id == REPO
        assert commit_message
        self._called("create_commit")
        for each in operations:
            with each.as_file() as file:
                self.files[each.path_in_repo] = file.read()

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
    """Give a project in which nothing is left open; and the command."""
    write_checkpoint(Path("best.pth"), 25)
    Path("asdtune.toml").write_text(
        '[project]\nlanguage = "swahili"\n[export-config]\nauthors = ["Okello, Grace"]\n'
        'license = "MIT"\nconsent = "They signed."\nrecordings = "By Grace."\n'
        'data = "40 speakers."\nrecipe = "Ten epochs."\n'
    )
    report = {
        "window_size": 25, "split": "test", "n_windows": 24, "n_speakers": 4, "mAP": 87.6,
        "by_kind": {}, "checkpoint": {"blake2b": content_hash(Path("best.pth"))},
    }  # fmt: skip
    Path("report").mkdir()
    Path("report/report.json").write_text(json.dumps(report))
    command = ("export-config", "--checkpoint", "best.pth", "--push-to-hub", REPO)

    def push_again(*flags: str, exit_code: int = 0) -> str:
        return run(*command, *flags, exit_code=exit_code).output

    return push_again


def test_without_yes_it_says_what_it_would_do_and_nothing_is_sent_or_written(
    push: Callable[..., str], api: FakeApi
) -> None:
    output = push()
    for name in FILES:
        assert name in output
    assert "nothing is uploaded: these 6 files would go to https://huggingface.co/grace" in output
    assert "with --yes" in output
    told = json.loads(push("--json"))
    assert (told["link"], told["is_uploaded"], list(told["files"])) == (LINK, False, FILES)
    assert api.calls == []
    assert not Path("export").exists()


def test_nothing_is_uploaded_that_asks_for_something(
    push: Callable[..., str], api: FakeApi
) -> None:
    Path("report/report.json").unlink()
    assert "to fill in first: the results" in push()
    output = push("--yes", exit_code=1)
    assert "error: still to be filled in: the results" in output
    assert "the link" not in output  # which is filled in by the upload
    assert api.calls == []
    assert not Path("export").exists()


def test_upload_is_whole_and_the_link_is_filled_in(
    push: Callable[..., str], api: FakeApi, tmp_path: Path
) -> None:
    output = push("--yes")
    assert "6 files uploaded -> https://huggingface.co/grace/swahili-asd" in output
    assert f'write into [export-config]: checkpoint_url = "{LINK}"' in " ".join(output.split())
    assert api.calls == ["whoami", "create_repo", "create_commit"]
    assert sorted(api.files) == sorted(FILES)
    for line in api.files["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(api.files[name]).hexdigest() == digest
    card = tmp_path / "README.md"
    card.write_bytes(api.files["README.md"])
    assert ModelCard.load(card).data.license == "mit"
    assert card.read_bytes() == CARD.read_bytes()
    for name in ("configs/annotheia_pipeline_swahili.yaml", "PULL_REQUEST.md", "CITATION.cff"):
        assert LINK in Path("export", name).read_text()


def test_edited_files_are_refused_before_anything_is_uploaded(
    push: Callable[..., str], api: FakeApi
) -> None:
    CARD.parent.mkdir()
    CARD.write_text("mine")
    assert "not as an export wrote them: MODEL_CARD.md" in push("--yes", exit_code=1)
    assert api.calls == []
    assert "moved aside" in push("--yes", "--overwrite")
    assert Path("export/MODEL_CARD.md.before").read_text() == "mine"
    assert LINK in CARD.read_text()


def answer(status: int) -> errors.HfHubHTTPError:
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return errors.HfHubHTTPError(f"{status} it says {SECRET}\nmore", response=response)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        ("whoami", errors.LocalTokenNotFoundError("no token"), "no token"),
        ("create_repo", answer(403), "403 it says hf_... more"),
        ("create_commit", errors.OfflineModeIsEnabled("offline"), "offline"),
        ("create_repo", errors.HTTPError(f"no route {SECRET}"), "no route hf_..."),
        ("create_commit", OSError(f"Xet: {SECRET}"), "Xet: hf_..."),
        ("create_commit", RuntimeError(""), "RuntimeError"),
        ("create_commit", ValueError("Invalid path in repo"), "Invalid path in repo"),
    ],
)
def test_what_goes_wrong_is_told_without_a_token_and_nothing_is_written(
    push: Callable[..., str], api: FakeApi, call: str, error: Exception, told: str
) -> None:
    api.error = call, error
    output = push("--yes", exit_code=1)
    assert f"error: the upload did not go through: {told}\n" in output
    assert "hf auth login" in output
    assert SECRET not in output
    assert not Path("export").exists()


def test_who_is_not_logged_in_is_told_how(push: Callable[..., str], in_tmp: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-m", "asdtune", "export-config", "--checkpoint", "best.pth",
         "--push-to-hub", REPO, "--yes"],
        env={**environment, "HF_HOME": str(in_tmp / "hf")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: the upload did not go through: ")
    assert "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_how_to_install_it(
    push: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert 'in the checkout of asdtune: python -m pip install ".[hub]"' in push(exit_code=1)


@pytest.mark.parametrize("name", ["swahili", "a/b/c", "grace/", "grace/a--b", "https://hf.co/a/b"])
def test_name_that_is_none_is_wrong_usage(run: Run, in_tmp: Path, name: str) -> None:
    output = run("export-config", "--language", "sw", "--push-to-hub", name, exit_code=2).output
    assert "where: --push-to-hub\n  fix:   give OWNER/NAME" in output


@pytest.mark.parametrize("flags", [("--yes",), ("--check", "--push-to-hub", "a/b")])
def test_flags_of_it_that_do_not_go_together_are_wrong_usage(
    run: Run, in_tmp: Path, flags: tuple[str, ...]
) -> None:
    run("export-config", *flags, exit_code=2)
