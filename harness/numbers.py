"""Numbers as people write them in YAML."""

import re
from typing import Any

_SCIENTIFIC = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")
_NAMES = ("revision",)  # whose values are names even where they read as numbers


def with_numbers(value: Any) -> Any:
    """A config in which texts like ``1e-4`` are numbers, and whole ones are integers.

    YAML 1.1, which Snakemake reads configs by, takes them for text unless they hold a point; YAML
    1.2, JSON and Python do not.
    """
    if isinstance(value, dict):
        return {k: v if k in _NAMES else with_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [with_numbers(one) for one in value]
    if isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
