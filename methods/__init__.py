"""Decoding methods, one file or folder each. To add one: write it, and add its line here.

The table names modules instead of importing them, so that the workflow can read it without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harness.method import Method


class Entry(NamedTuple):
    """Module whose ``METHOD`` it is, and whether it is trained and tuned before sessions.

    ``tuning`` names the settings that its training does not read: a change of one trains nothing
    anew. ``uses`` names the method whose training and tuning this one decodes with, ``parts_of``
    one whose training alone: its parts are then tuned for this one. ``examined``: whether it writes
    tables of what its training gave. ``greedy``: it cannot draw tokens, and is no arm where an
    experiment does.
    """

    module: str
    trained: bool = False
    tuned: bool = False
    tuning: tuple[str, ...] = ()
    uses: str = ""
    parts_of: str = ""
    examined: bool = False
    greedy: bool = False


METHODS = {
    "autoregressive": Entry("methods.autoregressive"),
    "autoregressive_again": Entry("methods.autoregressive"),
    "hf_generate": Entry("methods.hf.generate", tuned=True),
    "firp": Entry(
        "methods.firp",
        trained=True,
        tuned=True,
        tuning=("drafts", "policies", "passes", "tuning_rounds"),
        examined=True,
    ),
    "width_matched": Entry("methods.firp.width_matched", uses="firp"),
    "medusa": Entry(
        "methods.medusa",
        trained=True,
        tuned=True,
        tuning=("drafts", "policies", "templates", "tuning_rounds"),
    ),
    "medusa_template": Entry("methods.medusa.variants.template", uses="medusa"),
    "medusa_cartesian": Entry("methods.medusa.variants.cartesian", uses="medusa"),
    "medusa_llm": Entry("methods.medusa.variants.package", uses="medusa", greedy=True),
    "medusa_typical": Entry("methods.medusa.variants.typical", uses="medusa"),
    "hydra": Entry(
        "methods.hydra",
        trained=True,
        tuned=True,
        tuning=("drafts", "policies", "template", "tuning_rounds"),
    ),
    "eagle": Entry(
        "methods.eagle",
        trained=True,
        tuned=True,
        tuning=("drafts", "depth", "tuning_rounds"),
    ),
    "eagle2": Entry(
        "methods.eagle.dynamic",
        trained=True,
        tuned=True,
        tuning=("drafts", "depths", "tuning_rounds"),
        parts_of="eagle",
    ),
    "chimera": Entry(
        "methods.chimera",
        trained=True,
        tuned=True,
        tuning=("drafts", "policies", "tuning_rounds"),
    ),
    "lookahead": Entry("methods.lookahead", tuned=True),
    "self_speculative": Entry(
        "methods.self_speculative", trained=True, tuned=True, tuning=("tuning_rounds",)
    ),
    "token_recycling": Entry("methods.token_recycling", tuned=True),
    "prompt_lookup": Entry("methods.prompt_lookup", tuned=True),
    "draft_model": Entry(
        "methods.draft_model",
        trained=True,
        tuned=True,
        tuning=("drafts", "tuning_rounds"),
        parts_of="hf_assisted",
    ),
    "hf_prompt_lookup": Entry("methods.hf.prompt_lookup"),
    "hf_assisted": Entry(
        "methods.hf.assisted",
        trained=True,
        tuned=True,
        tuning=("drafts", "confidence", "tuning_rounds"),
    ),
}


def load_method(name: str) -> "Method":
    """The method of that name; KeyError for a name that is not in the table."""
    method: Method = import_module(METHODS[name].module).METHOD
    return method
