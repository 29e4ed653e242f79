"""Numbers as people write them in YAML."""

import re
from typing import Annotated, Any, TypeAlias

from pydantic import Field

Count: TypeAlias = Annotated[int, Field(ge=1)]
_SCIENTIFIC = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")
_NAMES = ("revision",)  # keys whose values are names even if they look like numbers


def with_numbers(value: Any) -> Any:
    """A copy of a config with texts like ``1e-4`` turned into numbers, and whole floats into ints.

    YAML 1.1, by which Snakemake reads configs, takes such numbers for text unless they have a
    decimal point; YAML 1.2, JSON and Python do not.
    """
    if isinstance(value, dict):
        return {k: v if k in _NAMES else with_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    if isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
