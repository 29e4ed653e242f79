"""FIRP's settings: what the paper leaves open, as options with defaults.

The paper discloses none of them (K, layers, input of step k, tree, learning rate, data), so the
defaults are ours, for ``mini``'s target of six layers; `snakemake sweep` compares others.
"""

from dataclasses import dataclass

from harness.errors import HarnessError
from methods.firp.drafter import PASSES
from methods.firp.projections import Layout


@dataclass(frozen=True, slots=True)
class FirpSettings:
    """Layout, training and tuning of FIRP. Units: positions, steps, nodes; rates are absolute."""

    entry_layers: tuple[int, ...] = (3, 3, 3, 3)
    feed: str = "real"
    bias: bool = False
    steps_see_earlier: bool = True
    learning_rate: float = 8e-3
    training_steps: int = 500
    batch: int = 12
    positions: int = 64  # trained positions per sequence, drawn at random
    step_decay: float = 1.0  # weight of step k in the loss: step_decay ** (k - 1)
    evaluate_every: int = 100
    patience: int = 4  # evaluations without a better tune loss before training stops
    drafts: tuple[int, ...] = (2, 3, 4, 5, 6, 8)  # draft sizes tried by the tuning
    policies: tuple[str, ...] = ("static", "best_first")
    passes: tuple[str, ...] = PASSES
    tuning_rounds: int = 1

    def __post_init__(self) -> None:
        for name, allowed in (("policies", ("static", "best_first")), ("passes", PASSES)):
            if not getattr(self, name):
                raise HarnessError(f"methods.firp.{name}: empty, expected {' or '.join(allowed)}")
            for value in getattr(self, name):
                if value not in allowed:
                    raise HarnessError(
                        f"methods.firp.{name}: '{value}', expected {' or '.join(allowed)}"
                    )
        if not self.drafts or min(self.drafts) < 1:
            raise HarnessError(f"methods.firp.drafts: {list(self.drafts)}, expected sizes >= 1")
        _ = self.layout

    @property
    def layout(self) -> Layout:
        """The part of the settings that the weights depend on."""
        return Layout(self.entry_layers, self.feed, self.bias, self.steps_see_earlier)
