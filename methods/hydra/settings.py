"""Hydra's settings. Defaults: the paper's teacher loss and learning rate, one block per head."""

from dataclasses import dataclass

from harness.errors import HarnessError
from methods.medusa.templates import TEMPLATES
from methods.shared.choices import CONDITIONED, HEADS, LOSSES, check_options, check_tree_settings
from methods.shared.schedule import TrainingSettings


@dataclass(frozen=True, slots=True)
class HydraSettings(TrainingSettings):
    """Heads, training and tuning of Hydra.

    ``layers``: blocks of a head, its first included; 4 in Hydra++. ``prefix``: whether Hydra++'s
    decoder layer runs over the text's states. ``loss``: ``kl`` to the target's distributions, the
    paper's teacher loss, or ``cross_entropy`` to the answers' tokens. ``head``: ``own`` vocabulary
    matrices, as the authors' heads have, or the target's, ``shared`` by all. ``policies``: fixed
    trees, as the authors', or ``dynamic`` ones as EAGLE-2's. ``template``: a published tree that is
    tried beside the others, the authors' by default; none if it is empty.
    """

    learning_rate: float = 5e-4
    heads: int = 4
    layers: int = 1
    prefix: bool = False
    loss: str = "kl"
    head: str = "own"
    drafts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8)
    policies: tuple[str, ...] = CONDITIONED
    template: str = "generic_63"
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_tree_settings("hydra", self.drafts, self.policies, CONDITIONED)
        check_options("hydra", "loss", (self.loss,), LOSSES)
        check_options("hydra", "head", (self.head,), HEADS)
        if self.template:
            check_options("hydra", "template", (self.template,), tuple(TEMPLATES))
        if self.heads < 1 or self.layers < 1:
            raise HarnessError(
                f"methods.hydra: {self.heads} heads of {self.layers} blocks; expected >= 1 of both"
            )
