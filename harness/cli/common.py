"""What the subcommands share: adding one, and reading its JSON arguments."""

import json
from typing import Any

from harness.errors import HarnessError
from harness.files import checked


def command(commands: Any, name: str, text: str, run: Any) -> Any:
    """Add subcommand ``name``, which calls ``run``; returns what adds its arguments."""
    # no help: __main__ lists commands by stage
    parser = commands.add_parser(name, description=text)
    parser.set_defaults(run=run, command=name)
    return parser.add_argument


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


def parse_arms(text: str) -> dict[str, Any]:
    """Arms of a JSON argument: name -> method and its settings."""
    from methods import METHODS, load_method

    arms = {}
    given = checked(dict[str, dict[str, Any] | None], parse_json(text, "--methods"), "--methods")
    for name, settings in given.items():
        if name not in METHODS:
            raise HarnessError(f"method '{name}': expected one of {', '.join(METHODS)}")
        arms[name] = (load_method(name), settings or {})
    return arms


def parse_spec(text: str) -> Any:
    """Where the model of a JSON argument is."""
    from harness.models import ModelSpec

    given = checked(dict[str, str | None], parse_json(text, "--model"), "model")
    try:
        return ModelSpec(**given)  # type: ignore[arg-type]
    except TypeError as error:
        raise HarnessError(f"model: {error}") from None
