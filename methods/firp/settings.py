"""FIRP's settings: details of the paper that we do not know, as options with defaults.

K, the entry layers, the input of step k, the tree, the learning rate and the data were not at hand
(README, "How close to the paper"). The defaults are ours, for ``mini``'s target of six layers:
results/reference/mini/sweep/ compares others by loss, accuracy and speed (`snakemake sweep`).
Entering at layer 1 predicts best and costs most, entering at layer 5 predicts worst and costs
least; layer 3 is in between, and there a learning rate of 8e-3 ends at the lowest loss.
"""

from dataclasses import dataclass

from harness.errors import HarnessError
from harness.numbers import Count
from methods.firp.drafter import PASSES
from methods.firp.projections import Layout
from methods.shared.choices import POLICIES, check_options, check_tree_settings
from methods.shared.schedule import TrainingSettings


@dataclass(frozen=True, slots=True)
class FirpSettings(TrainingSettings):
    """Layout, training and tuning of FIRP.

    ``entry_layers`` to ``parents``: see :class:`Layout`. ``drafts``, ``policies`` and ``passes``:
    tuning tries their combinations; ``tuning_rounds``: how often finalists go through all requests.
    The other keys are those of :class:`TrainingSettings`.
    """

    learning_rate: float = 8e-3
    training_steps: Count = 800
    entry_layers: tuple[int, ...] = (3, 3, 3, 3)
    feed: str = "real"
    bias: bool = False
    steps_see_earlier: bool = True
    adapters: int = 0
    parents: int = 0
    drafts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8)  # draft sizes tried by the tuning
    policies: tuple[str, ...] = POLICIES
    passes: tuple[str, ...] = PASSES
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_tree_settings("firp", self.drafts, self.policies)
        check_options("firp", "passes", self.passes, PASSES)
        if self.parents and "combined" not in self.passes:
            raise HarnessError(
                f"methods.firp: parents are for the combined pass, passes are {list(self.passes)}"
            )
        _ = self.layout

    @property
    def layout(self) -> Layout:
        """The part of the settings that the weights depend on."""
        return Layout(
            self.entry_layers,
            self.feed,
            self.bias,
            self.steps_see_earlier,
            self.adapters,
            self.parents,
        )
