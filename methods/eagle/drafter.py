"""EAGLE in the engine: a few forwards of one layer after each verify forward, drafting a tree.

A row of the layer is a pair: a feature, and the token after it. A step first runs the pairs of the
accepted path, with the target's true features, and keeps them behind those of the committed text.
Then it runs the drafted nodes that are followed, depth by depth, with features that the layer
predicted itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine import Context, Needs, Outcome, Target, Tree, Verified, to_device
from methods.eagle.net import NetDecoder
from methods.shared.conditioned import Ahead, ConditionedDrafter, DraftTree
from methods.shared.own_layer import accepted


@dataclass(frozen=True, slots=True)
class Features(Ahead):
    """Rows are predicted features [T, H], from which the target's head reads tokens.

    ``path`` [W] bool: which of the rows that were run for the accepted path belong to it;
    ``position`` [1] int64: that of the first pair behind the path.
    """

    target: Target
    net: NetDecoder
    first: Tensor
    path: Tensor
    position: Tensor

    def logits(self, rows: Tensor, depth: int) -> Tensor:
        logits: Tensor = self.target.head(rows)
        return logits

    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        visible = torch.cat([self.path.expand(len(tokens), -1), drafted], dim=1)
        positions = (self.position + depth - 1).expand(len(tokens))
        return self.net.layer(self.net.pairs(rows, tokens)[None], positions, visible)[0]


class EagleDrafter(ConditionedDrafter):
    """Drafts ``tree`` with EAGLE's net."""

    def __init__(self, target: Target, net: NetDecoder, tree: DraftTree) -> None:
        super().__init__(tree)
        self._target, self._net = target, net
        self._last_layer = len(target.layers)
        states = frozenset({self._last_layer})
        self.needs = Needs(tree.max_nodes, states, prompt_states=True)

    def extra_bytes(self) -> int:
        """The net's bytes, its keys and values among them."""
        return self._net.bytes

    def begin(self, context: Context) -> None:
        """Run the prompt's pairs: every token but the first, with the feature before it."""
        target, tokens, tree = self._target, context.tokens, self._tree
        rows = tree.max_depth + 1 + tree.followed
        self._net.layer.begin(len(tokens) + context.cap + rows)
        features = target.normed(context.prompt_states[self._last_layer][0])
        self._net.layer.prompt(self._net.pairs(features, to_device(tokens[1:], target.device)))

    def ahead(self, tree: Tree, verified: Verified) -> Features:
        """Run the pairs of the accepted path; drafting goes on from there."""
        nodes, depth = accepted(tree, verified)
        features = self._target.normed(verified.hidden[0].index_select(0, nodes))
        # On the accepted path, the token after a node is the one that the target chose there.
        following = verified.chosen.index_select(0, nodes)
        layer = self._net.layer
        predicted = layer.path(self._net.pairs(features, following))
        path = torch.arange(len(nodes), device=nodes.device) <= depth
        position = depth + layer.arena.length + 1
        return Features(self._target, self._net, predicted.index_select(0, depth), path, position)

    def observe(self, context: Context, outcome: Outcome) -> None:
        """Keep the accepted path's pairs, which now belong to the text."""
        super().observe(context, outcome)
        self._net.layer.commit(len(outcome.path))
