"""An export as a model repository of the Hugging Face Hub.

The checkpoint and its twin in safetensors, the model card as README.md, the language file,
CITATION.cff, and SHA256SUMS of these. Nothing is sent before `upload` is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import ModuleType

from asdtune.core.export.export import CITATION, MODEL_CARD, Export
from asdtune.core.export.folder import SUMS, sums_of, sums_text
from asdtune.core.export.provenance import open_marks
from asdtune.errors import AsdtuneError, UsageError

HUB = "https://huggingface.co"
_TOKEN = re.compile(r"hf_\w+")


def check_repository(name: str) -> None:
    """Refuse what is no name of a repository on the Hub with a `UsageError`."""
    hub = _huggingface_hub()
    try:
        hub.utils.validate_repo_id(name)
        if "/" not in name:
            raise ValueError(f"{name!r} has no owner.")
    except ValueError as error:
        raise UsageError(
            str(error),
            where="--push-to-hub",
            fix="give OWNER/NAME, such as grace/swahili-asd: your name on the Hub, or that of an "
            "organisation, and a name for the checkpoint",
        ) from error


def link_of(repository: str, weights: str) -> str:
    """Give the link under which a checkpoint can be downloaded once it is uploaded."""
    return f"{HUB}/{repository}/resolve/main/{PurePosixPath(weights).name}"


def files_for_hub(export: Export) -> dict[str, bytes]:
    """Choose what is uploaded of an export: flat, by the names that the files get."""
    files, told = export.files, export.submission
    flat = {"README.md": files[MODEL_CARD], CITATION: files[CITATION]}
    flat |= {
        PurePosixPath(name).name: files[name] for name in (told.config, told.weights, told.twin)
    }
    return {**flat, SUMS: sums_text(sums_of(flat)).encode()}


def upload(files: Mapping[str, bytes], repository: str) -> None:
    """Upload as one commit, to a public repository, which is made if there is none.

    Raises:
        AsdtuneError: Something is still to be filled in, huggingface_hub is not installed, or the
            upload does not go through.
    """
    asked = open_marks(files)
    if asked:
        raise AsdtuneError(
            f"still to be filled in: {'; '.join(asked)}",
            where=repository,
            fix="fill it in, in the project file; nothing that asks for something is uploaded",
        )
    hub = _huggingface_hub()
    try:
        api = hub.HfApi()
        api.whoami()
        api.create_repo(repository, repo_type="model", exist_ok=True)
        api.create_commit(
            repository,
            [hub.CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Upload the checkpoint and its card",
        )
    except (hub.errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise AsdtuneError(
            f"the upload did not go through: {_TOKEN.sub('hf_...', said)}",
            where=f"{HUB}/{repository}",
            fix="log in with a token that may write there (hf auth login), and run the same "
            "command again on a machine with a network; what is uploaded already is not sent twice",
        ) from error


def _huggingface_hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise AsdtuneError(
            "huggingface_hub is not installed, which uploads",
            fix='in the checkout of asdtune: python -m pip install ".[hub]"',
        ) from error
    return huggingface_hub
