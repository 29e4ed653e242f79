"""Hydra in the engine: a fixed tree whose every node is drafted for its own parents.

Level by level: a head reads the newest state and the embeddings of each path so far, and gives that
path's children. All of it is queued on the device before the step is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from harness.engine import Context, Drafter, Needs, Outcome, Target, Tree, Verified
from harness.engine.host import to_device
from harness.engine.products import Product
from harness.errors import HarnessError
from methods.hydra.heads import Heads
from methods.shared.trees import RankPath, StaticTree, top_tokens


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one depth: the best ``width`` tokens of each of the ``inner`` nodes above that
    have children; ``parents`` [M] which of these a node's is, ``ranks`` [M] which of its tokens.
    ``inner`` indexes the nodes of the depth above.
    """

    inner: Tensor
    parents: Tensor
    ranks: Tensor
    width: int


def levels(paths: Sequence[RankPath], device: torch.device) -> list[_Level]:
    """Of a tree of rank paths, sorted as :class:`StaticTree` numbers its nodes."""
    found: list[_Level] = []
    above: list[RankPath] = [()]
    for _, members in groupby(sorted(paths, key=lambda path: (len(path), path)), key=len):
        here = list(members)
        inner = sorted({above.index(path[:-1]) for path in here})
        parents = [inner.index(above.index(path[:-1])) for path in here]
        ranks = [path[-1] for path in here]
        sent = [to_device(values, device) for values in (inner, parents, ranks)]
        found.append(_Level(sent[0], sent[1], sent[2], 1 + max(ranks)))
        above = here
    return found


class HeadProducts:
    """Heads as decoding uses them: on packed weights, in the target's dtype."""

    def __init__(self, heads: Heads, target: Target, count: int) -> None:
        def product(layer: nn.Linear) -> Product:
            weight = layer.weight.detach().to(target.device, target.dtype)
            bias = None if layer.bias is None else layer.bias.detach().to(weight)
            return Product(weight, bias)

        blocks: list[Any] = list(heads.blocks)[:count]
        vocab: list[Any] = list(heads.vocab)[:count]
        self._blocks = [
            [
                (product(block.linear), None if block.skip is None else product(block.skip))
                for block in sequence
            ]
            for sequence in blocks
        ]
        own = [product(projection) for projection in vocab]
        self._vocab = own or [target.head] * count
        inside = [one for sequence in self._blocks for pair in sequence for one in pair if one]
        self.bytes = sum(one.bytes for one in (*own, *inside))

    def __call__(self, step: int, given: Tensor) -> Tensor:
        """[M, V] logits of head ``step`` (1-based) for [M, (1 + step) * H]."""
        state = given
        for wide, skip in self._blocks[step - 1]:
            state = (state if skip is None else skip(state)) + silu(wide(state))
        logits: Tensor = self._vocab[step - 1](state)
        return logits


class HydraDrafter(Drafter):
    """Drafts the tree of rank ``paths``."""

    def __init__(self, target: Target, heads: Heads, paths: Sequence[RankPath]) -> None:
        depth = max((len(path) for path in paths), default=0)
        if depth > heads.count:
            raise HarnessError(
                f"hydra: a tree of depth {depth}, expected at most {heads.count}, the number of "
                "heads"
            )
        self._target = target
        self._heads = HeadProducts(heads, target, depth)
        self._shape = StaticTree(paths).shape
        self._levels = levels(paths, target.device)
        self.head_logits: list[Tensor] = []
        self._tokens: list[int] = []
        self.needs = Needs(max_rows=len(self._shape))

    def extra_bytes(self) -> int:
        """The heads in use."""
        return self._heads.bytes

    def draft(self, context: Context) -> Tree:
        return Tree(self._shape, [context.root, *self._tokens])

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        """[N - 1] the drafted tokens, level by level."""
        target, last = self._target, verified.last[None]
        state = target.normed(verified.hidden[0].index_select(0, last))
        tokens = verified.chosen.index_select(0, last)  # the next root
        path = torch.cat([state, target.embed_batch(tokens[None])[0]], dim=-1)
        self.head_logits, drafted = [], []
        for step, level in enumerate(self._levels, start=1):
            path = path.index_select(0, level.inner)
            logits = self._heads(step, path)
            self.head_logits.append(logits)
            tokens = top_tokens(logits, level.width)[level.parents, level.ranks]
            drafted.append(tokens)
            if step < len(self._levels):
                grown = path.index_select(0, level.parents)
                path = torch.cat([grown, target.embed_batch(tokens[None])[0]], dim=-1)
        return torch.cat(drafted)

    def observe(self, context: Context, outcome: Outcome) -> None:
        self._tokens = [int(token) for token in outcome.read]
