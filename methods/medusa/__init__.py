"""Medusa: extra heads on the final state (Cai et al., arXiv 2401.10774), greedy acceptance.

``heads`` holds the weights and their files, ``drafter`` the method in the engine; ``training``
learns the heads, ``tuning`` chooses the tree; ``templates`` holds fixed trees, ``typical`` the
lossy acceptance. ``variants`` holds further arms that decode with the same heads.
"""

from pathlib import Path

from harness.engine import Decoder, EngineDecoder, Target
from harness.errors import HarnessError
from harness.method import Method
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import FusedHeads, Heads, load
from methods.medusa.settings import MedusaSettings
from methods.medusa.training import predictor, train
from methods.medusa.tuning import examine, plain, sized, tune
from methods.shared.choices import read_setting

__all__ = ["METHOD", "FusedHeads", "fused_heads", "load_heads", "plain", "predictor", "train"]


def load_heads(target: Target, folder: Path | None) -> Heads:
    """The heads that a training wrote to ``folder``, in float32 as they were trained."""
    if folder is None:
        raise HarnessError("medusa: no trained heads; expected the folder of their training")
    return load(folder, target.model.lm_head.weight.detach(), target.weights_hash)


def fused_heads(target: Target, folder: Path | None) -> FusedHeads:
    """The heads of :func:`load_heads` in the form in which decoding uses them."""
    return FusedHeads(load_heads(target, folder), target)


def build(target: Target, settings: MedusaSettings, folder: Path | None) -> Decoder:
    """Decode with trained heads and the tree that tuning chose."""
    heads = fused_heads(target, folder)
    assert folder is not None
    tree, _ = read_setting(folder)
    return EngineDecoder(target, MedusaDrafter(target, heads, tree.build()))


METHOD = Method(
    build, MedusaSettings, train=train, tune=tune, sized=sized, plain=plain, examine=examine
)
