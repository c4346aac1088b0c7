"""An export as a model repository of the Hugging Face Hub.

In: the folder that `export-config` wrote. Out: a flat folder of what is uploaded (the checkpoint
and its twin in safetensors, the model card as README.md, the language file, CITATION.cff, and
SHA256SUMS of these), and in the end the repository. Nothing is sent before `upload` is called.

    staged = stage_upload(Path("export"), Path("upload"), "grace/swahili-asd")
    upload(staged)
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asdtune.core.files import sha256, write_text
from asdtune.core.share.annotheia import CITATION, MODEL_CARD, SUMS
from asdtune.core.share.exported import Exported
from asdtune.core.share.findings import open_marks
from asdtune.core.share.weights import TWIN
from asdtune.errors import AsdtuneError, UsageError

HUB = "https://huggingface.co"
README = "README.md"
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(f"{_NAME}/{_NAME}")
_TOKEN = re.compile(r"hf_\w+")
_LOG_IN = (
    "make a token that may write at https://huggingface.co/settings/tokens, then: hf auth login"
)


@dataclass(frozen=True)
class Staged:
    """What is uploaded.

    Attributes:
        repository: `OWNER/NAME`.
        folder: Where its files lie, flat, under the names they get.
        names: Of these files.
        asked: What they still ask a person for, each with the files that ask.
    """

    repository: str
    folder: Path
    names: tuple[str, ...]
    asked: dict[str, list[str]]


def check_repository(name: str) -> str:
    """Give the name of a repository back, or refuse one that the Hub does not take.

    Examples:
        >>> check_repository("grace/swahili-asd")
        'grace/swahili-asd'
    """
    if not _REPOSITORY.fullmatch(name) or "--" in name or ".." in name or name.endswith(".git"):
        raise UsageError(
            f"{name!r} is no name of a repository",
            where="--push-to-hub",
            fix="give OWNER/NAME, such as grace/swahili-asd: your name on the Hub, or that of an "
            "organisation, and a name of letters, digits, - . and _",
        )
    return name


def link_of(repository: str, weights: Path) -> str:
    """Give the link under which the checkpoint can be downloaded once it is uploaded."""
    return f"{HUB}/{repository}/resolve/main/{weights.name}"


def stage_upload(export_dir: Path, folder: Path, repository: str) -> Staged:
    """Lay out what is uploaded of an export.

    Args:
        export_dir: What `export-config` wrote, with the link of this repository in it.
        folder: An empty folder.
        repository: `OWNER/NAME`.

    Raises:
        AsdtuneError: A person has edited something so that it cannot be read, or names another
            checkpoint.
    """
    exported = Exported(export_dir)
    exported.check_metadata()
    exported.check_references()
    weights, config = exported.weights_path(), exported.config_path()
    sources = {
        README: export_dir / MODEL_CARD,
        CITATION: export_dir / CITATION,
        config.name: config,
        weights.name: weights,
        weights.with_suffix(TWIN).name: weights.with_suffix(TWIN),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        shutil.copyfile(source, folder / name)
    sums = "".join(f"{sha256(folder / name)}  {name}\n" for name in sorted(sources))
    write_text(folder / SUMS, sums)
    texts = (README, CITATION, config.name)
    return Staged(repository, folder, (*sources, SUMS), open_marks(folder, texts))


def upload(staged: Staged) -> None:
    """Upload, as one commit; the repository is made if there is none, for everybody to see.

    Raises:
        AsdtuneError: Something is still to be filled in, huggingface_hub is not installed, nobody
            is logged in, the Hub cannot be reached, or does not let them write there.
    """
    if staged.asked:
        raise AsdtuneError(
            f"still to be filled in: {'; '.join(staged.asked)}",
            where=staged.repository,
            fix="fill it in, in the project file or in the files of the export; nothing that asks "
            "for something is uploaded",
        )
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise AsdtuneError(
            "huggingface_hub is not installed, which uploads",
            fix='in the checkout of asdtune: python -m pip install ".[hub]"',
        ) from error
    with _errors_of_hub(staged.repository):
        api = HfApi()
        api.whoami()
        api.create_repo(staged.repository, repo_type="model", exist_ok=True)
        with _errors_of_upload(staged.repository):
            api.upload_folder(
                repo_id=staged.repository,
                folder_path=staged.folder,
                commit_message="Upload the checkpoint and its card",
            )


@contextmanager
def _errors_of_upload(repository: str) -> Iterator[None]:
    """Say in our words what goes wrong in the transfer of files, which has errors of its own.

    That of Xet (hf_xet) raises `OSError` without a number and `RuntimeError`; `upload_folder` a
    `ValueError` for what it cannot commit. Errors of the Hub, of which some derive from these, are
    left to `_errors_of_hub`.
    """
    from huggingface_hub import errors

    of_hub = (errors.HTTPError, errors.HFValidationError, errors.LocalTokenNotFoundError)  # type: ignore[attr-defined]
    try:
        yield
    except (*of_hub, ConnectionError, TimeoutError):
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise AsdtuneError(
            f"the upload did not go through ({_redacted(error)})",
            where=f"{HUB}/{repository}",
            fix="run the same command again: what is uploaded already is not sent twice; if it "
            "stays so, set the environment variable HF_HUB_DISABLE_XET to 1",
        ) from error


@contextmanager
def _errors_of_hub(repository: str) -> Iterator[None]:
    """Say in our words what went wrong; a token is in none of them."""
    from huggingface_hub import errors

    # httpx's own, from which that of a refused connection derives, as that of a bad answer does
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise AsdtuneError("not logged in to the Hugging Face Hub", fix=_LOG_IN) from error
    except errors.HFValidationError as error:
        raise UsageError(_redacted(error), where="--push-to-hub") from error
    except errors.HfHubHTTPError as error:
        raise _refusal(error.response.status_code, _redacted(error), repository) from error
    except (http_error, ConnectionError, TimeoutError) as error:
        raise AsdtuneError(
            f"the Hugging Face Hub cannot be reached ({_redacted(error)})",
            where=HUB,
            fix="run the same command on a machine with a network; what is written stays",
        ) from error


def _refusal(status: int, said: str, repository: str) -> AsdtuneError:
    """Say what an answer of the Hub means."""
    if status == 401:
        return AsdtuneError("the Hugging Face Hub does not accept the token", fix=_LOG_IN)
    if status in (403, 404):
        return AsdtuneError(
            f"no permission to write to {repository}",
            where=f"{HUB}/{repository}",
            fix="name a repository of your own, or log in with a token that may write there",
        )
    return AsdtuneError(
        f"the Hugging Face Hub answers {status} ({said})", where=f"{HUB}/{repository}",
        fix="try again later; what is written stays",
    )  # fmt: skip


def _redacted(error: Exception) -> str:
    """Give the first line of what an error says, without what might be a token."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _TOKEN.sub("hf_...", lines[0])
