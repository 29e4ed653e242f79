"""EAGLE's settings. Defaults: the authors' losses and noise; their rate is for days on GPUs."""

from dataclasses import dataclass

from harness.errors import HarnessError
from methods.shared.choices import check_tree_settings
from methods.shared.schedule import TrainingSettings

STARTS = ("random", "target")
DEPTH = 5  # of the authors' tree, by which tries are compared


@dataclass(frozen=True, slots=True)
class EagleSettings(TrainingSettings):
    """The layer, its training, and the fixed trees that tuning tries.

    ``start``: the initial weights, ``random`` as the authors', or ``target``: those of the target's
    last layer, which then reads the feature alone. ``feature_weight`` and ``token_weight``: weights
    in the loss of the smooth L1 distance to the target's feature, and of the KL divergence to the
    target's tokens. ``noise``: width of the uniform noise on features in training, at sequences of
    512 tokens; more on shorter ones, less on longer ones, as in the authors' code. ``depth``: the
    most drafts on a path of a fixed tree. ``pretrained``: a folder of published weights, or
    ``hub:ID@REVISION``, used as they are.
    """

    step_decay: float = 1.0
    start: str = "target"
    feature_weight: float = 1.0
    token_weight: float = 0.1
    noise: float = 0.2
    pretrained: str = ""
    depth: int = DEPTH
    drafts: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    tuning_rounds: int = 2

    def __post_init__(self) -> None:
        check_tree_settings("eagle", self.drafts)
        if self.start not in STARTS:
            raise HarnessError(f"methods.eagle.start: '{self.start}', expected random or target")
        if self.depth < 1 or self.noise < 0:
            raise HarnessError(
                f"methods.eagle: depth {self.depth}, noise {self.noise}; expected >= 1, >= 0"
            )
