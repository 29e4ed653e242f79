"""Models on the hub: the commit that a revision stands for, and why one cannot be had."""

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
# For a repository with .bin files alone, transformers would hand the user's token to a web service
# that converts it, in a thread that runs beside what is timed.
_PARTS = ("*.json", "*.pt", "*.bin", "*.safetensors")
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


HUB = "hub:"  # before the id of a model where a folder would do as well


def named(given: str) -> tuple[str, str | None]:
    """Id and revision of ``hub:ID`` or ``hub:ID@REVISION``."""
    name, _, revision = given.removeprefix(HUB).partition("@")
    return name, revision or None


def folder_of(given: str) -> Path:
    """A folder, or that of a download of ``hub:ID@REVISION``: configs and weights, no code."""
    if not given.startswith(HUB):
        return Path(given)
    hub, revision = named(given)
    commit = commit_of(hub, revision)
    try:
        held = snapshot_download(hub, revision=commit, allow_patterns=list(_PARTS))
    except Exception as error:
        raise HarnessError(f"hub model '{hub}' (revision {commit}): {_why(error)}") from None
    return Path(held)


@lru_cache
def commit_of(hub: str, revision: str | None) -> str:
    """Hash of the commit that ``revision`` (None: the default branch) of model ``hub`` stands for.

    Fetches the model's config too: a gated model is found by name and refuses its files.
    """
    try:
        commit = HfApi().resolve_revision(hub, revision=revision).resolved
        hf_hub_download(hub, "config.json", revision=commit)
    except Exception as error:  # the hub fails in many ways; all of them mean: not loaded
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
