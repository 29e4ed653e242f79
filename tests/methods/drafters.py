"""Every engine method on a tiny random target, with random trained parts."""

import copy

import torch

from harness.engine.drafter import Drafter
from harness.engine.target import Target
from methods.draft_model import ModelDrafter
from methods.firp.drafter import FirpDrafter
from methods.firp.projections import Layout, Projections
from methods.hydra import heads as hydra
from methods.hydra.drafter import HydraDrafter
from methods.lookahead.drafter import LookaheadDrafter
from methods.medusa.drafter import MedusaDrafter
from methods.medusa.heads import FusedHeads, Heads
from methods.prompt_lookup import Lookup, PromptLookup
from methods.self_speculative.drafter import ExitRule, SkipDrafter, kept
from methods.shared.trees import BestFirstTree, StaticTree
from methods.token_recycling import Recycler, likeliest
from tests.models import tiny_model

PATHS = [(0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]
ENGINE_METHODS = (
    *("firp", "firp_two_pass", "firp_adapters", "medusa", "hydra", "lookahead"),
    *("self_speculative", "draft_model", "token_recycling", "lookup"),
)
SKIPPED = ((1, "attention"), (2, "mlp"), (3, "attention"))


def random_heads(target: Target, count: int = 3, layers: int = 1) -> Heads:
    """Zero blocks would hide a wrong bias, and equal heads a wrong order."""
    torch.manual_seed(4)
    heads = Heads(count, layers, target.model.lm_head.weight.detach())
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return heads


def random_maps(target: Target, adapters: int = 0) -> Projections:
    torch.manual_seed(3)
    layout = Layout((1, 2, 2), adapters=adapters)
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


def fused(target: Target, heads: Heads) -> FusedHeads:
    return FusedHeads(heads, target)


def drafter(name: str, target: Target) -> Drafter:
    if name == "firp":
        return FirpDrafter(target, random_maps(target), StaticTree(PATHS), "combined")
    if name == "firp_two_pass":
        return FirpDrafter(target, random_maps(target), BestFirstTree(5, 3), "two_pass")
    if name == "firp_adapters":
        maps = random_maps(target, adapters=4)
        return FirpDrafter(target, maps, BestFirstTree(6, 3), "combined")
    if name == "draft_model":
        return ModelDrafter(noisy_copy(target), 3)
    if name == "token_recycling":
        return Recycler(likeliest(20))
    if name == "medusa":
        return MedusaDrafter(target, fused(target, random_heads(target)), StaticTree(PATHS))
    if name == "hydra":
        torch.manual_seed(6)
        vocab = target.model.lm_head.weight.detach()
        return HydraDrafter(target, hydra.Heads(3, 2, vocab), PATHS)
    if name == "lookahead":
        return LookaheadDrafter(target, (4, 4, 3))
    if name == "self_speculative":
        return SkipDrafter(target, kept(len(target.layers), SKIPPED), ExitRule(4, 0.3))
    return PromptLookup(Lookup(drafts=5, longest=2))
