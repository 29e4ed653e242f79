"""Medusa's heads in our engine with the tree of the ``medusa-llm`` package: its twin."""

from dataclasses import dataclass
from pathlib import Path

from harness.decoder import Decoder
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.method import Method
from methods.medusa import fused_heads
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.templates import cartesian


@dataclass(frozen=True, slots=True)
class CartesianSettings:
    """``widths``: best tokens of each head, all combined; the package's default is (7, 6)."""

    widths: tuple[int, ...] = (7, 6)

    def __post_init__(self) -> None:
        cartesian(self.widths)


def build(target: Target, settings: CartesianSettings, folder: Path | None) -> Decoder:
    """The heads that ``medusa`` trained, as many as there are widths."""
    heads = fused_heads(target, folder)
    tree = cartesian(settings.widths)
    return EngineDecoder(target, MedusaDrafter(target, heads, tree.build()))


METHOD = Method(build, CartesianSettings, reference=True)
