"""The table of decoding methods, one file or folder each. To add one: write it, and a line here.

The table names modules instead of importing them, so that the workflow can read it without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harness.method import Method


class Entry(NamedTuple):
    """A method's line in the table.

    ``module``: where its ``METHOD`` is. ``trained``, ``tuned``: whether this is done before
    sessions. ``tuning``: settings that its training does not read; changing one does not repeat the
    training. ``uses``: the method whose training and tuning this one decodes with. ``parts_of``:
    the method whose trained parts this one takes; its tuning is its own. ``examined``: whether it
    writes learnt.csv, which shows what its training gave; ``pseudo_states``: whether it also writes
    cosine.csv, which compares its pseudo states with real ones. ``greedy``: it cannot sample, so
    experiments that draw tokens leave it out. ``searches``: its training decodes, so that it
    depends on how the engine runs steps.
    """

    module: str
    trained: bool = False
    tuned: bool = False
    tuning: tuple[str, ...] = ()
    uses: str = ""
    parts_of: str = ""
    examined: bool = False
    pseudo_states: bool = False
    greedy: bool = False
    searches: bool = False


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
        pseudo_states=True,
    ),
    "width_matched": Entry("methods.firp.width_matched", uses="firp"),
    "medusa": Entry(
        "methods.medusa",
        trained=True,
        tuned=True,
        tuning=("drafts", "policies", "templates", "tuning_rounds"),
        examined=True,
    ),
    "medusa_template": Entry("methods.medusa.variants.template", uses="medusa"),
    "medusa_cartesian": Entry("methods.medusa.variants.cartesian", uses="medusa"),
    "medusa_llm": Entry("methods.medusa.variants.package", uses="medusa", greedy=True),
    "medusa_typical": Entry(
        "methods.medusa.variants.typical",
        trained=True,
        tuned=True,
        tuning=(
            *("temperature", "threshold", "alpha", "evaluation_batch"),
            *("drafts", "policies", "templates", "tuning_rounds"),
        ),
        parts_of="medusa",
    ),
    "hydra": Entry(
        "methods.hydra",
        trained=True,
        tuned=True,
        tuning=("drafts", "policies", "template", "tuning_rounds"),
        examined=True,
    ),
    "eagle": Entry(
        "methods.eagle",
        trained=True,
        tuned=True,
        tuning=("drafts", "depth", "tuning_rounds"),
        examined=True,
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
        examined=True,
    ),
    "lookahead": Entry("methods.lookahead", tuned=True),
    "self_speculative": Entry(
        "methods.self_speculative",
        trained=True,
        tuned=True,
        tuning=("tuning_rounds",),
        searches=True,
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
    """The ``METHOD`` called ``name``; KeyError for a name that is not in the table."""
    method: Method = import_module(METHODS[name].module).METHOD
    return method
