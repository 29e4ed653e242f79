"""Types of the JSON arguments that the subcommands share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from harness.errors import HarnessError
from harness.experiment.arms import Arms, Settings, parse_arm
from harness.files import checked, parsed

Argument: TypeAlias = Callable[..., object]  # an ArgumentParser's add_argument
SAMPLING = "JSON: temperature, top_p, seed; greedy without"  # help of --sampling
MINI = Path("workflows/resources/mini-target"), Path("workflows/resources/mini-parts")


def use_threads(count: int) -> None:
    """Set torch's thread count, which is part of every row's fingerprint."""
    import torch

    torch.set_num_threads(count)


def parse_json(text: str, what: str) -> Any:
    """The value of a JSON argument."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise HarnessError(f"{what}: expected JSON, found {text[:60]!r} ({error})") from None


def parse_caps(text: str) -> dict[str, int]:
    """The most new tokens per data set, from a JSON argument."""
    return checked(dict[str, int], parse_json(text, "--caps"), "--caps")


def parse_mapping(text: str) -> Settings:
    """An arm's mapping, as under ``methods`` in a config, from a JSON argument."""
    return checked(Settings, parse_json(text, "--settings"), "--settings")


def parse_arms(text: str) -> Arms:
    """Arms from a JSON argument: name -> settings; a variant's include ``of`` and ``uses``."""
    arms = checked(dict[str, dict[str, Any] | None], parse_json(text, "--methods"), "--methods")
    return {name: parse_arm(name, settings) for name, settings in arms.items()}


def parse_spec(text: str) -> Any:
    """A ``ModelSpec`` from a JSON argument."""
    from harness.models import ModelSpec

    fields = checked(dict[str, str | None], parse_json(text, "--model"), "model")
    try:
        return ModelSpec(**fields)  # type: ignore[arg-type]
    except TypeError as error:
        raise HarnessError(f"model: {error}") from None


def parse_sampling(text: str) -> Any:
    """How tokens are drawn, a ``Sampling``, from a JSON argument; greedy where it is empty."""
    from harness.decoder import Sampling

    return parsed(Sampling, parse_json(text, "--sampling"), "--sampling")


def parse_target(text: str) -> Any:
    """A ``ModelSpec`` from what a person types, a folder or ``mini``, or from a rule's JSON."""
    from harness.models import ModelSpec

    if text.startswith("{"):
        return parse_spec(text)
    return ModelSpec(path=str(mini_folder() if text == "mini" else text))


def mini_folder() -> Path:
    """The shipped target's folder; raises HarnessError outside a checkout."""
    if not MINI[0].is_dir():
        raise HarnessError(f"{MINI[0]}: no such folder, it is part of a checkout; run from there")
    return MINI[0]
