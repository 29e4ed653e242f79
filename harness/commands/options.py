"""What the subcommands share: reading their JSON arguments."""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from harness.errors import HarnessError
from harness.experiment.arms import Arms, parse_arm
from harness.files import checked

Argument: TypeAlias = Callable[..., object]  # an ArgumentParser's add_argument


def use_threads(count: int) -> None:
    """Set torch's thread count; recorded with every row's fingerprint."""
    import torch

    torch.set_num_threads(count)


def parse_json(text: str, what: str) -> Any:
    """The value of a JSON argument."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise HarnessError(f"{what}: expected JSON, found {text[:60]!r} ({error})") from None


def parse_caps(text: str) -> dict[str, int]:
    """New tokens at most, by data set, of a JSON argument."""
    return checked(dict[str, int], parse_json(text, "--caps"), "--caps")


def parse_arms(text: str) -> Arms:
    """Arms of a JSON argument: name -> settings, with ``of`` and ``uses`` of a variant."""
    given = checked(dict[str, dict[str, Any] | None], parse_json(text, "--methods"), "--methods")
    return {name: parse_arm(name, settings) for name, settings in given.items()}


def parse_spec(text: str) -> Any:
    """Where the model of a JSON argument is."""
    from harness.models import ModelSpec

    given = checked(dict[str, str | None], parse_json(text, "--model"), "model")
    try:
        return ModelSpec(**given)  # type: ignore[arg-type]
    except TypeError as error:
        raise HarnessError(f"model: {error}") from None
