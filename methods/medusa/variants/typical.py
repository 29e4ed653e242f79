"""Medusa with typical acceptance: faster, and no longer the target's own text (lossy)."""

from dataclasses import dataclass
from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.errors import HarnessError
from harness.method import Method
from methods.medusa import fused_heads
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.typical import TypicalAcceptance
from methods.shared.choices import read_setting


@dataclass(frozen=True, slots=True)
class Settings:
    """Upstream's defaults; ``temperature`` shapes the acceptance only, nothing is sampled."""

    temperature: float = 0.7
    threshold: float = 0.09
    alpha: float = 0.3

    def __post_init__(self) -> None:
        if min(self.temperature, self.threshold, self.alpha) <= 0:
            raise HarnessError(
                f"methods.medusa.variants.typical: temperature {self.temperature}, threshold "
                f"{self.threshold}, alpha {self.alpha}; expected numbers above 0"
            )


def build(target: Target, settings: Settings, folder: Path | None) -> Decoder:
    """The heads and the tree of ``medusa``."""
    heads = fused_heads(target, folder)
    assert folder is not None
    tree, _ = read_setting(folder)
    accept = TypicalAcceptance(settings.temperature, settings.threshold, settings.alpha)
    return EngineDecoder(target, MedusaDrafter(target, heads, tree.build()), accept)


METHOD = Method(build, Settings, lossless=False)
