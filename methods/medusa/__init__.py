"""Medusa: extra heads on the final state (Cai et al., arXiv 2401.10774), greedy acceptance.

``heads`` holds the weights and their files, ``drafter`` the method in the engine; ``training``
learns the heads, ``tuning`` chooses the tree; ``templates`` holds fixed trees, ``typical`` the
lossy acceptance. ``variants`` holds further arms that decode with the same heads.
"""

from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.method import Method
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import fused_heads
from methods.medusa.settings import MedusaSettings
from methods.medusa.training import train
from methods.medusa.tuning import examine, plain, sized, tune
from methods.shared.choices import read_setting


def build(target: Target, settings: MedusaSettings, folder: Path) -> Decoder:
    """Decode with trained heads and the tree that tuning chose."""
    heads = fused_heads(target, folder)
    tree, _ = read_setting(folder)
    return EngineDecoder(target, MedusaDrafter(target, heads, tree.build()))


METHOD = Method(
    build, MedusaSettings, train=train, tune=tune, sized=sized, plain=plain, examine=examine
)
