"""Hydra: Medusa's heads made sequential (Ankner et al., arXiv 2402.05109).

A head is given the final state and the embeddings of the tokens drafted before its own, so that a
draft depends on its parents. ``heads`` the weights, ``drafter`` the method in the engine,
``training`` and ``tuning`` how heads are learnt and the tree chosen. Not here: Hydra++'s prefix
layer.
"""

from pathlib import Path

from harness.decoder import Decoder
from harness.engine import EngineDecoder, Target
from harness.errors import HarnessError
from harness.method import Method
from methods.hydra.drafter import HydraDrafter
from methods.hydra.heads import load
from methods.hydra.settings import HydraSettings
from methods.hydra.training import train
from methods.hydra.tuning import plain, tune
from methods.shared.choices import read_setting


def build(target: Target, settings: HydraSettings, folder: Path | None) -> Decoder:
    """Trained heads with the tree that tuning chose."""
    if folder is None:
        raise HarnessError("hydra: no trained heads; expected the folder of their training")
    heads = load(folder, target.model.lm_head.weight.detach(), target.weights_hash)
    tree, _ = read_setting(folder)
    return EngineDecoder(target, HydraDrafter(target, heads, tree.paths))


METHOD = Method(build, HydraSettings, train=train, tune=tune, plain=plain)
