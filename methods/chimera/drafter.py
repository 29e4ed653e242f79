"""Chimera in the engine: after each verify forward its layer runs a row for each trigram.

A step first runs the final states of the accepted path, and keeps them behind those of the
committed text. Then it runs the trigram that ends in the next root and, depth by depth, those that
end in the drafted nodes that are followed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine import Context, Needs, Outcome, Target, Tree, Verified
from harness.errors import HarnessError
from methods.chimera.net import NetDecoder
from methods.shared.conditioned import Ahead, ConditionedDrafter, DraftTree
from methods.shared.own_layer import accepted


@dataclass(slots=True)
class Trigrams(Ahead):
    """Rows are [T, 4H]: the newest final state, the layer's output for a node's trigram, and the
    embeddings of the token before the node and of the node's own.

    ``path`` [W] bool: which of the rows that were run for the accepted path belong to it;
    ``position`` [1] int64: that of the root's trigram.
    """

    target: Target
    net: NetDecoder
    path: Tensor
    position: Tensor

    def start(self, final: Tensor, tokens: Tensor) -> None:
        """Run the root's trigram ``tokens`` [3]; ``final`` [1, H] is the newest final state."""
        first, before, root = self.target.embed_batch(tokens[:, None])
        visible = torch.cat([self.path, self.path.new_ones(1)])[None]
        self.first = self._rows(torch.cat([final, first, before, root], dim=-1), visible, 0)

    def logits(self, rows: Tensor, depth: int) -> Tensor:
        final, outputs, _, _ = rows.chunk(4, dim=-1)
        return self.net.logits(depth, final, outputs)

    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        final, _, before, parent = rows.chunk(4, dim=-1)
        embedded = self.target.embed_batch(tokens[None])[0]
        path, root = self.path.expand(len(tokens), -1), drafted.new_ones(len(tokens), 1)
        visible = torch.cat([path, root, drafted], dim=1)
        return self._rows(torch.cat([final, before, parent, embedded], dim=-1), visible, depth)

    def _rows(self, inputs: Tensor, visible: Tensor, depth: int) -> Tensor:
        """Rows [T, 4H] from a final state and the embeddings of a trigram each, [T, 4H]."""
        size = inputs.shape[1] // 4
        states = self.net.trigrams(inputs[:, size:])
        positions = (self.position + depth).expand(len(inputs))
        outputs = self.net.layer(states[None], positions, visible)[0]
        return torch.cat([inputs[:, :size], outputs, inputs[:, 2 * size :]], dim=-1)


class ChimeraDrafter(ConditionedDrafter):
    """Drafts ``tree`` with Chimera's net."""

    def __init__(self, target: Target, net: NetDecoder, tree: DraftTree) -> None:
        if tree.max_depth > net.count:
            raise HarnessError(
                f"chimera: a tree of depth {tree.max_depth}, expected at most {net.count}, the "
                "number of heads"
            )
        super().__init__(tree)
        self._target, self._net = target, net
        self._last_layer = len(target.layers)
        self._before = 0  # the token before the root
        states = frozenset({self._last_layer})
        self.needs = Needs(tree.max_nodes, states, prompt_states=True)

    def extra_bytes(self) -> int:
        """The net's bytes, its keys and values among them."""
        return self._net.bytes

    def begin(self, context: Context) -> None:
        """Run the prompt's final states."""
        target, tokens, tree = self._target, context.tokens, self._tree
        self._before = tokens[-2:][0]
        rows = tree.max_depth + 2 + tree.followed
        self._net.layer.begin(len(tokens) + context.cap + rows)
        self._net.layer.prompt(target.normed(context.prompt_states[self._last_layer][0]))

    def ahead(self, tree: Tree, verified: Verified) -> Trigrams:
        """Run the accepted path, and the trigram of the next root."""
        target, layer, last = self._target, self._net.layer, verified.last[None]
        nodes, depth = accepted(tree, verified)
        states = target.normed(verified.hidden[0].index_select(0, nodes))
        layer.path(states)
        path = torch.arange(len(nodes), device=nodes.device) <= depth
        ahead = Trigrams(target, self._net, path, depth + layer.arena.length + 1)
        ids = tree.ids(target.device)
        above = ids[tree.on(target.device).parents[last]]
        before = torch.where(last == 0, self._before, above)
        trigram = torch.cat([before, ids[last], verified.chosen[last]])
        ahead.start(states.index_select(0, depth), trigram)
        return ahead

    def observe(self, context: Context, outcome: Outcome) -> None:
        """Keep the accepted path's states in the layer: they now belong to the text."""
        super().observe(context, outcome)
        self._before = context.tokens[-2]
        self._net.layer.commit(len(outcome.path))
