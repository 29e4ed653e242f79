"""Decoding methods, one file or folder each. To add one: write it, and add its line here.

The table names modules instead of importing them, so that the workflow can read it without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harness.method import Method


class Entry(NamedTuple):
    """Module whose ``METHOD`` it is, and whether it is trained and tuned before sessions.

    ``tuning`` names the settings that only its tuning reads: a change of one trains nothing anew.
    """

    module: str
    trained: bool = False
    tuned: bool = False
    tuning: tuple[str, ...] = ()


METHODS = {
    "autoregressive": Entry("methods.autoregressive"),
    "autoregressive_again": Entry("methods.autoregressive"),
    "hf_generate": Entry("methods.hf_generate", tuned=True),
    "firp": Entry(
        "methods.firp",
        trained=True,
        tuned=True,
        tuning=("drafts", "policies", "passes", "tuning_rounds"),
    ),
}


def load_method(name: str) -> "Method":
    """The method of that name; KeyError for a name that is not in the table."""
    method: Method = import_module(METHODS[name].module).METHOD
    return method
