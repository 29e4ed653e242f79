"""Medusa's settings. Defaults: the Medusa-1 recipe (arXiv 2401.10774, section 2.2.1)."""

from dataclasses import dataclass

from harness.errors import HarnessError
from methods.medusa.templates import TEMPLATES
from methods.shared.choices import HEADS, LOSSES, POLICIES, check_options, check_tree_settings
from methods.shared.schedule import TrainingSettings


@dataclass(frozen=True, slots=True)
class MedusaSettings(TrainingSettings):
    """Heads, training and tuning of Medusa.

    ``loss``: cross-entropy to the answers' tokens, as in Medusa-1, or KL to the target's
    distributions. ``head``: ``own`` gives every head a vocabulary matrix to learn, as the authors
    do; with ``shared`` all use the target's, which stays frozen. ``pretrained``: folder of
    ``heads`` published heads, or ``hub:ID@REVISION``; they are not trained further.
    ``templates``: published trees that tuning tries beside those grown from rank traces, the
    authors' default first.
    """

    step_decay: float = 0.8
    heads: int = 4
    layers: int = 1
    loss: str = "cross_entropy"
    head: str = "own"
    pretrained: str = ""
    drafts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8)
    policies: tuple[str, ...] = POLICIES
    templates: tuple[str, ...] = ("generic_63",)
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_tree_settings("medusa", self.drafts, self.policies)
        check_options("medusa", "loss", (self.loss,), LOSSES)
        check_options("medusa", "head", (self.head,), HEADS)
        if self.templates:
            check_options("medusa", "templates", self.templates, tuple(TEMPLATES))
        if self.heads < 1 or self.layers < 0:
            raise HarnessError(
                f"methods.medusa: {self.heads} heads of {self.layers} blocks; expected >= 1, >= 0"
            )
