"""FIRP whose drafts follow their parents: ours, in no paper, and off unless asked for.

A pseudo state knows nothing of the tokens drafted before it, nor of the one that the target chose
after the row that it was made from: all of a depth's nodes have the same children. What Hydra and
EAGLE gain, they gain there. Here a bottleneck adds to the pseudo state what a node's own token
says of the next; the rows of the target's layers stay FIRP's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from harness.engine import Context, Outcome, Target, Tree, Verified
from methods.firp.bottlenecks import Weights, followed
from methods.firp.drafter import PseudoRows
from methods.firp.projections import Projections
from methods.shared.conditioned import Ahead, DraftTree


@dataclass(frozen=True, slots=True)
class Followed(Ahead):
    """Rows are the embeddings [T, H] of nodes' own tokens; ``states`` [K, H] the normed pseudo
    states of the last node accepted.
    """

    target: Target
    weights: Weights
    states: Tensor
    first: Tensor

    def logits(self, rows: Tensor, depth: int) -> Tensor:
        step = depth - 1
        of_state, of_token, up = (weight[step] for weight in self.weights)
        states = followed((of_state, of_token, up), self.states[step : step + 1], rows)
        logits: Tensor = self.target.head(states)
        return logits

    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        return self.target.embed_batch(tokens[None])[0]


class ParentsDrafter(PseudoRows):
    """Drafts ``tree`` in the combined pass."""

    def __init__(self, target: Target, projections: Projections, tree: DraftTree) -> None:
        super().__init__(target, projections, (tree.max_depth, tree.max_nodes), "combined")
        own = projections.parents
        assert own is not None
        of_state, of_token, up = (
            weight.detach().to(target.device, target.dtype)
            for weight in (own.of_state, own.of_token, own.up)
        )
        self._tree, self._weights = tree, (of_state, of_token, up)
        self._read: Sequence[float] = []

    def extra_bytes(self) -> int:
        """With the bottlenecks."""
        return super().extra_bytes() + sum(weight.nbytes for weight in self._weights)

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        """The next tree, drafted from the last accepted node's pseudo states and the next root."""
        target = self._target
        states = target.normed(self.accepted_rows(tree, verified))
        root = verified.chosen.index_select(0, verified.last[None])
        first = target.embed_batch(root[None])[0]
        return self._tree.expand(Followed(target, self._weights, states, first))

    def observe(self, context: Context, outcome: Outcome) -> None:
        self._read = outcome.read

    def draft(self, context: Context) -> Tree:
        return self._tree.build(context.root, self._read)
