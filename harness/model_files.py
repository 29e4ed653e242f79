"""Reading a model's files strictly: no weight is made up or ignored, and no code is run."""

import re
from collections.abc import Iterator, Mapping
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
        model, info = AutoModelForCausalLM.from_pretrained(
            where,
            **settings,
            trust_remote_code=False,
            weights_only=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    info["mismatched_keys"] = [*info["mismatched_keys"], *misshapen(model)]
    _require_all_weights(where, info)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' warnings of weights that it makes up; here they are an error."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _require_all_weights(where: str, info: Mapping[str, Any]) -> None:
    """Refuse weights that transformers would initialise at random or ignore.

    transformers leaves harmless ones out of ``info``, like rotary buffers of old checkpoints.
    """
    missing, unknown = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if missing:
        raise HarnessError(
            f"model '{where}': no weight '{missing[0]}' in its files{_more(missing)}; expected all"
        )
    for name, actual, expected in sorted(info["mismatched_keys"]):
        raise HarnessError(
            f"model '{where}': weight '{name}' is {list(actual)}, expected {list(expected)}"
        )
    if unknown:
        raise HarnessError(
            f"model '{where}': weight '{unknown[0]}' in its files{_more(unknown)} is not the "
            "model's; expected those of its config alone"
        )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if names[1:] else ""


def told(error: Exception) -> str:
    """One line that says to users what an error of a library means."""
    if isinstance(error, UnpicklingError):
        # torch's own message explains how to run the code nevertheless.
        code = re.search(r"GLOBAL (\S+)", str(error))
        content = code[1] if code else "what is no tensor"
        return f"a .bin file holds {content}, expected tensors alone; nothing of it was run"
    return first_line(error)
