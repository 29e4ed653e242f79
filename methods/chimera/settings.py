"""Chimera's settings. Defaults: the published code's loss, rate and heads."""

from dataclasses import dataclass

from harness.errors import HarnessError
from methods.shared.choices import CONDITIONED, HEADS, LOSSES, check_options, check_tree_settings
from methods.shared.schedule import TrainingSettings


@dataclass(frozen=True, slots=True)
class ChimeraSettings(TrainingSettings):
    """The net, its training, and the trees that tuning tries.

    ``loss``: ``cross_entropy`` to the answers' tokens, as the code's, or ``kl`` to the target's
    distributions. ``head``: each step's ``own`` vocabulary matrix [V, 2H], as the authors', or the
    target's, ``shared`` by all.
    """

    learning_rate: float = 2e-4
    step_decay: float = 1.0
    heads: int = 4
    loss: str = "cross_entropy"
    head: str = "own"
    drafts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8)
    policies: tuple[str, ...] = CONDITIONED
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_tree_settings("chimera", self.drafts, self.policies, CONDITIONED)
        check_options("chimera", "loss", (self.loss,), LOSSES)
        check_options("chimera", "head", (self.head,), HEADS)
        if self.heads < 1:
            raise HarnessError(f"methods.chimera.heads: {self.heads}, expected >= 1")
