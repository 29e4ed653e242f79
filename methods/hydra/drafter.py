"""Hydra in the engine: a head reads the newest state and the embeddings of a node's path.

With Hydra++'s prefix layer, that state is the layer's output over the final states so far.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from harness.engine import Context, Needs, Outcome, Target, Tree, Verified
from harness.errors import HarnessError
from methods.hydra.heads import Heads, Prefix
from methods.shared.conditioned import Ahead, ConditionedDrafter, DraftTree
from methods.shared.own_layer import LayerDecoder, accepted, packed


class HeadProducts:
    """Heads as decoding uses them: on packed weights, in the target's dtype."""

    def __init__(self, heads: Heads, target: Target) -> None:
        blocks: list[Any] = list(heads.blocks)
        vocab: list[Any] = list(heads.vocab)
        self.count = heads.count
        self.prefix = None if heads.prefix is None else PrefixDecoder(target, heads.prefix)
        self._blocks = [
            [
                (
                    packed(block.linear, target),
                    None if block.skip is None else packed(block.skip, target),
                )
                for block in sequence
            ]
            for sequence in blocks
        ]
        projections = [packed(projection, target) for projection in vocab]
        self._vocab = projections or [target.head] * heads.count
        inside = [p for sequence in self._blocks for pair in sequence for p in pair if p]
        self._bytes = sum(product.bytes for product in (*projections, *inside))

    @property
    def bytes(self) -> int:
        """Bytes of weights, packed copies, and the prefix layer with its keys and values."""
        return self._bytes + (0 if self.prefix is None else self.prefix.layer.bytes)

    def __call__(self, step: int, inputs: Tensor) -> Tensor:
        """[M, V] logits of head ``step`` (1-based) for inputs [M, (1 + step) * H]."""
        state = inputs
        for wide, skip in self._blocks[step - 1]:
            state = (state if skip is None else skip(state)) + silu(wide(state))
        logits: Tensor = self._vocab[step - 1](state)
        return logits


class PrefixDecoder:
    """The prefix layer and the norm behind it, as decoding uses them."""

    def __init__(self, target: Target, prefix: Prefix) -> None:
        self.layer = LayerDecoder(target, prefix.layer)
        self._norm = prefix.norm
        self._target = target

    def __call__(self, states: Tensor, last: Tensor) -> Tensor:
        """Run an accepted path's normed states [W, H]; the output [1, H] of row ``last`` [1]."""
        outputs = self.layer.path(states).index_select(0, last)
        normed: Tensor = self._norm(outputs.float())
        return normed.to(self._target.dtype)


@dataclass(frozen=True, slots=True)
class Paths(Ahead):
    """Rows are [T, (1 + depth) * H]: the state, then embeddings of the root and a path's drafts."""

    target: Target
    heads: HeadProducts
    first: Tensor

    def logits(self, rows: Tensor, depth: int) -> Tensor:
        return self.heads(depth, rows)

    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        return torch.cat([rows, self.target.embed_batch(tokens[None])[0]], dim=-1)


class HydraDrafter(ConditionedDrafter):
    """Drafts ``tree`` with Hydra's heads."""

    def __init__(self, target: Target, heads: HeadProducts, tree: DraftTree) -> None:
        if tree.max_depth > heads.count:
            raise HarnessError(
                f"hydra: a tree of depth {tree.max_depth}, expected at most {heads.count}, the "
                "number of heads"
            )
        super().__init__(tree)
        self._target, self._heads = target, heads
        self._last_layer = len(target.layers)
        states = frozenset[int]() if heads.prefix is None else frozenset({self._last_layer})
        self.needs = Needs(tree.max_nodes, states, prompt_states=heads.prefix is not None)

    def extra_bytes(self) -> int:
        """Bytes of the heads, and of the prefix layer with its keys and values."""
        return self._heads.bytes

    def begin(self, context: Context) -> None:
        """Run the prompt's states through the prefix layer."""
        if self._heads.prefix is not None:
            layer = self._heads.prefix.layer
            layer.begin(len(context.tokens) + context.cap + self._tree.max_depth + 1)
            layer.prompt(self._target.normed(context.prompt_states[self._last_layer][0]))

    def ahead(self, tree: Tree, verified: Verified) -> Paths:
        """The newest state, and the embedding of the next root."""
        target, last, prefix = self._target, verified.last[None], self._heads.prefix
        if prefix is None:
            state = target.normed(verified.hidden[0].index_select(0, last))
        else:
            nodes, depth = accepted(tree, verified)
            state = prefix(target.normed(verified.hidden[0].index_select(0, nodes)), depth)
        root = target.embed_batch(verified.chosen.index_select(0, last)[None])[0]
        return Paths(target, self._heads, torch.cat([state, root], dim=-1))

    def observe(self, context: Context, outcome: Outcome) -> None:
        """Keep the accepted path's states in the prefix layer: they now belong to the text."""
        super().observe(context, outcome)
        if self._heads.prefix is not None:
            self._heads.prefix.layer.commit(len(outcome.path))
