"""Every engine method on a tiny random target, with random trained parts."""

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from harness.engine.drafter import Drafter
from harness.engine.target import Target
from methods.chimera import net as chimera
from methods.chimera.drafter import ChimeraDrafter
from methods.draft_model import ModelDrafter
from methods.eagle import net as eagle
from methods.eagle.drafter import EagleDrafter
from methods.firp.drafter import FirpDrafter, MapProducts
from methods.firp.parents import ParentsDrafter
from methods.firp.projections import Layout, Projections
from methods.hydra import heads as hydra
from methods.hydra.drafter import HeadProducts, HydraDrafter
from methods.lookahead.drafter import LookaheadDrafter
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import FusedHeads, Heads
from methods.prompt_lookup import Lookup, PromptLookup
from methods.self_speculative.drafter import ExitRule, SkipDrafter, kept
from methods.shared.conditioned import ConfidentTree, FixedTree
from methods.shared.trees import BestFirstTree, StaticTree
from methods.token_recycling import Recycler, likeliest
from tests.models import tiny_model

PATHS = [(0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]
ModuleT = TypeVar("ModuleT", bound=nn.Module)
SKIPPED = ((1, "attention"), (2, "mlp"), (3, "attention"))


def random_heads(target: Target, count: int = 3, layers: int = 1) -> Heads:
    """Zero blocks would hide a wrong bias, and equal heads a wrong order."""
    torch.manual_seed(4)
    heads = Heads(count, layers, target.model.lm_head.weight.detach())
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return heads


def random_maps(target: Target, adapters: int = 0, parents: int = 0) -> Projections:
    torch.manual_seed(3)
    layout = Layout((1, 2, 2), adapters=adapters, parents=parents)
    maps = Projections(layout, target.hidden_size, len(target.layers))
    with torch.no_grad():
        for parameter in maps.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return maps


def noisy_copy(target: Target) -> Target:
    """A draft model that is often right and often wrong."""
    torch.manual_seed(5)
    # noise would break packed weights
    model = copy.deepcopy(target.model if target.weights == "full" else tiny_model("llama"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter))
    return Target(model)


def shaken(module: ModuleT) -> ModuleT:
    """Zeros and identities would hide what is left out."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def hydra_heads(target: Target, layers: int = 2, **options: bool) -> hydra.Heads:
    torch.manual_seed(6)
    prefix = hydra.Prefix(target) if options.get("prefix") else None
    vocab = target.model.lm_head.weight.detach()
    shared = bool(options.get("shared"))
    return shaken(hydra.Heads(3, layers, vocab, shared=shared, prefix=prefix))


def eagle_net(target: Target) -> eagle.Net:
    torch.manual_seed(7)
    return shaken(eagle.Net(target))


def chimera_net(target: Target, *, shared: bool = False) -> chimera.Net:
    torch.manual_seed(8)
    return shaken(chimera.Net(target, 3, shared=shared))


def fused(target: Target, heads: Heads) -> FusedHeads:
    return FusedHeads(heads, target)


def fixed_tree(target: Target) -> FixedTree:
    return FixedTree(PATHS, target.device)


def _firp(target: Target) -> Drafter:
    return FirpDrafter(MapProducts(random_maps(target), target), StaticTree(PATHS), "combined")


def _two_pass(target: Target) -> Drafter:
    return FirpDrafter(MapProducts(random_maps(target), target), BestFirstTree(5, 3), "two_pass")


def _adapted(target: Target) -> Drafter:
    maps = MapProducts(random_maps(target, adapters=4), target)
    return FirpDrafter(maps, BestFirstTree(6, 3), "combined")


def _parents(target: Target) -> Drafter:
    maps = MapProducts(random_maps(target, parents=4), target)
    return ParentsDrafter(maps, ConfidentTree(6, 3))


def _medusa(target: Target) -> Drafter:
    return MedusaDrafter(target, fused(target, random_heads(target)), StaticTree(PATHS))


def _hydra(target: Target, *, prefix: bool = False) -> Drafter:
    heads = HeadProducts(hydra_heads(target, prefix=prefix), target)
    return HydraDrafter(target, heads, fixed_tree(target))


def _eagle(target: Target) -> Drafter:
    net = eagle.NetDecoder(target, eagle_net(target))
    return EagleDrafter(target, net, fixed_tree(target))


def _eagle2(target: Target) -> Drafter:
    net = eagle.NetDecoder(target, eagle_net(target))
    return EagleDrafter(target, net, ConfidentTree(7, 4))


def _chimera(target: Target) -> Drafter:
    net = chimera.NetDecoder(target, chimera_net(target))
    return ChimeraDrafter(target, net, fixed_tree(target))


def _self_speculative(target: Target) -> Drafter:
    return SkipDrafter(target, kept(len(target.layers), SKIPPED), ExitRule(4, 0.3))


_MADE: dict[str, Callable[[Target], Drafter]] = {
    "firp": _firp,
    "firp_two_pass": _two_pass,
    "firp_adapters": _adapted,
    "firp_parents": _parents,
    "medusa": _medusa,
    "hydra": _hydra,
    "hydra_plus": partial(_hydra, prefix=True),
    "eagle": _eagle,
    "eagle2": _eagle2,
    "chimera": _chimera,
    "lookahead": lambda target: LookaheadDrafter(target, (4, 4, 3)),
    "self_speculative": _self_speculative,
    "draft_model": lambda target: ModelDrafter(noisy_copy(target), 3),
    "token_recycling": lambda _: Recycler(likeliest(20)),
    "lookup": lambda _: PromptLookup(Lookup(drafts=5, longest=2)),
}
ENGINE_METHODS = tuple(_MADE)


def drafter(name: str, target: Target) -> Drafter:
    return _MADE[name](target)
