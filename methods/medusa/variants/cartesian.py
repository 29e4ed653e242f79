"""Medusa's heads in our engine with the tree of the ``medusa-llm`` package, whose twin this is."""

from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.method import Method
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import fused_heads
from methods.medusa.templates import CartesianSettings, cartesian


def build(target: Target, settings: CartesianSettings, folder: Path) -> Decoder:
    """Decode with the heads that ``medusa`` trained, as many as there are widths."""
    heads = fused_heads(target, folder)
    tree = cartesian(settings.widths)
    return EngineDecoder(target, MedusaDrafter(target, heads, tree.build()))


METHOD = Method(build, CartesianSettings, reference=True)
