"""Checkpoints of a training, from which an interrupted one resumes."""

import pickle
from pathlib import Path
from typing import Any

import torch

from harness.errors import out_of_memory
from harness.files import replacing, set_aside


def save_checkpoint(file: Path, key: str, state: dict[str, Any]) -> None:
    """Write ``state`` atomically. ``key`` identifies the configuration that it belongs to."""
    with replacing(file) as temporary:
        torch.save({"key": key, **state}, temporary)


def load_checkpoint(file: Path, key: str, what: str) -> dict[str, Any] | None:
    """The state that was saved under ``key``, on the CPU. None if there is no file, or, after a
    line that begins with ``what``, if it is damaged or of another key; the latter is set aside.
    """
    if not file.is_file():
        return None
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        if out_of_memory(error):
            raise
        print(f"{what}: {file} is not whole, starting anew")
        return None
    if not isinstance(state, dict) or state.get("key") != key:
        aside = set_aside(file)
        print(f"{what}: {file} is of another configuration, set aside as {aside.name}")
        return None
    return state
