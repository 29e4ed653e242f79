"""Models on the Hugging Face hub: commits of revisions, downloads, and reasons for failures."""

import os
from functools import lru_cache
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from harness.errors import HarnessError, first_line

LOGIN = (
    "a gated or private model needs its terms accepted and your own login (`hf auth login`, or "
    "HF_TOKEN)"
)
_PARTS = ("*.json", "*.pt", "*.bin", "*.safetensors")
# For a repository with .bin files alone, transformers would hand the user's token to a web service
# that converts them, in a thread that runs while decoding is timed.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


HUB = "hub:"  # prefix of a model id where a folder is allowed as well


def named(source: str) -> tuple[str, str | None]:
    """Id and revision of ``hub:ID`` or ``hub:ID@REVISION``."""
    name, _, revision = source.removeprefix(HUB).partition("@")
    return name, revision or None


def pinned(source: str) -> str:
    """``hub:ID`` and ``hub:ID@REVISION`` as ``hub:ID@COMMIT``; a folder as it is."""
    if not source.startswith(HUB):
        return source
    hub, revision = named(source)
    return f"{HUB}{hub}@{commit_of(hub, revision)}"


def folder_of(source: str) -> Path:
    """``source`` as a folder; ``hub:ID@REVISION`` is downloaded: configs and weights, no code."""
    if not source.startswith(HUB):
        return Path(source)
    hub, revision = named(source)
    commit = commit_of(hub, revision)
    try:
        snapshot = snapshot_download(hub, revision=commit, allow_patterns=list(_PARTS))
    except Exception as error:
        raise HarnessError(f"hub model '{hub}' (revision {commit}): {_why(error)}") from None
    return Path(snapshot)


@lru_cache
def commit_of(hub: str, revision: str | None) -> str:
    """Hash of the commit that ``revision`` (None: the default branch) of model ``hub`` stands for.

    Fetches the model's config too, since a gated model has a name and a commit for everybody, but
    refuses its files.
    """
    try:
        commit = HfApi().resolve_revision(hub, revision=revision).resolved
        hf_hub_download(hub, "config.json", revision=commit)
    except Exception as error:  # the hub fails in many ways; in all of them nothing is loaded
        where = f"hub model '{hub}' (revision {revision or 'main'})"
        raise HarnessError(f"{where}: {_why(error)}; {LOGIN}") from None
    return commit


def _why(error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return "gated, and your login has no access"
    if isinstance(error, RepositoryNotFoundError):
        return "no such model, or none that your login may see"
    if isinstance(error, RevisionNotFoundError):
        return "no such revision"
    return f"could not be loaded: {type(error).__name__}: {first_line(error)}"
