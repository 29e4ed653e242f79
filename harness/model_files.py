"""Reading a model's files strictly: nothing is made up, left aside or run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

from transformers import AutoModelForCausalLM
from transformers.utils import logging

from harness.engine.weights import misshapen
from harness.errors import HarnessError, first_line


def read_model(where: str, **settings: Any) -> Any:
    """The model of a folder or hub id, every weight from its files.

    Safetensors, else ``.bin`` files that hold tensors alone; no code of theirs is run.
    """
    with _quiet():
        model, found = AutoModelForCausalLM.from_pretrained(
            where,
            **settings,
            trust_remote_code=False,
            weights_only=True,
            ignore_mismatched_sizes=True,  # told below by name
            output_loading_info=True,
        )
    found["mismatched_keys"] = [*found["mismatched_keys"], *misshapen(model)]
    _require_all_weights(where, found)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers warns of weights that it makes up; here they are an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _require_all_weights(where: str, found: dict[str, Any]) -> None:
    """Refuse what transformers would initialise at random or leave aside.

    It leaves out of ``found`` what is harmless, like the rotary buffers of old checkpoints.
    """
    missing, unknown = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    if missing:
        raise HarnessError(
            f"model '{where}': no weight '{missing[0]}' in its files{_more(missing)}; expected all"
        )
    for name, held, expected in sorted(found["mismatched_keys"]):
        raise HarnessError(
            f"model '{where}': weight '{name}' is {list(held)}, expected {list(expected)}"
        )
    if unknown:
        raise HarnessError(
            f"model '{where}': weight '{unknown[0]}' in its files{_more(unknown)} is not the "
            "model's; expected those of its config alone"
        )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if names[1:] else ""


def told(error: Exception) -> str:
    """One line of what to tell of an error that a library raised."""
    if isinstance(error, UnpicklingError):
        # torch's own message tells how to run the code after all.
        code = re.search(r"GLOBAL (\S+)", str(error))
        held = code[1] if code else "what is no tensor"
        return f"a .bin file holds {held}, expected tensors alone; nothing of it was run"
    return first_line(error)
