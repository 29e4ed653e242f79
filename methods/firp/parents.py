"""FIRP whose drafts depend on their parents: an extension of ours, in no paper, off by default.

FIRP makes pseudo states from the row of the last accepted node. They depend neither on the token
that the target then chooses (the next root) nor on tokens drafted before them, so all nodes of one
depth have the same children. Hydra's and EAGLE's drafts do depend on both, and gain by it. Here a
bottleneck adds to the pseudo state what a node's own token says about the next one; the rows that
pass the target's layers stay FIRP's.

What goes into a bottleneck's SiLU is linear in the token's embedding, and the logits are linear in
what comes out. So two tables are made once: what each token adds to the input of the SiLU, and what
each dimension of its output adds to the logits. A drafted node then costs a row of the first table
and a product with the second, not a pass through the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import silu

from harness.engine import Context, Outcome, Target, Tree, Verified
from methods.firp.bottlenecks import Parents
from methods.firp.drafter import MapProducts, PseudoRows
from methods.shared.conditioned import Ahead, DraftTree


@dataclass(frozen=True, slots=True)
class Tables:
    """Parents' bottlenecks of the first K steps for a target of V tokens: ``of_state`` [K, H, r];
    ``of_token`` [K, V, r], what each token gives them; ``up`` [K, r, V], what they give to logits.
    """

    of_state: Tensor
    of_token: Tensor
    up: Tensor

    @property
    def bytes(self) -> int:
        """Bytes of all three."""
        return self.of_state.nbytes + self.of_token.nbytes + self.up.nbytes

    def first(self, steps: int) -> "Tables":
        """Those of the first ``steps`` steps."""
        return Tables(self.of_state[:steps], self.of_token[:steps], self.up[:steps])


@torch.no_grad()
def tables(parents: Parents, target: Target) -> Tables:
    """The tables of all steps, on the target's device and in its dtype."""
    of_state, of_token, up = (
        weight.detach().to(target.device, target.dtype)
        for weight in (parents.of_state, parents.of_token, parents.up)
    )
    embedded = target.embed_batch(torch.arange(target.config.vocab_size)[None])[0]
    bias = target.head(torch.zeros_like(up[0, :1]))  # 0 for heads without, which is nearly all
    to_logits = torch.stack([target.head(step) - bias for step in up])
    return Tables(of_state, embedded @ of_token, to_logits)


@dataclass(frozen=True, slots=True)
class Followed(Ahead):
    """FIRP behind an accepted path. A node's row [r] is what its token adds to the bottleneck of
    its children's step. ``states`` [K, r]: what the last accepted node's K pseudo states add to the
    bottlenecks of their steps; ``pseudo_logits`` [K, V]: the logits of these pseudo states alone.
    """

    tables: Tables
    states: Tensor
    pseudo_logits: Tensor
    first: Tensor

    def logits(self, rows: Tensor, depth: int) -> Tensor:
        step = depth - 1
        bottleneck = silu(rows + self.states[step])
        return torch.addmm(self.pseudo_logits[step], bottleneck, self.tables.up[step])

    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        return self.tables.of_token[depth].index_select(0, tokens)


class ParentsDrafter(PseudoRows):
    """Drafts ``tree`` from pseudo rows of the combined pass, each node for its own parent.

    ``shared``: the parents' tables, where several drafters have them in common.
    """

    def __init__(self, maps: MapProducts, tree: DraftTree, shared: Tables | None = None) -> None:
        super().__init__(maps, (tree.max_depth, tree.max_nodes), "combined")
        assert maps.parents is not None
        whole = shared or tables(maps.parents, maps.target)
        self._tree, self._tables = tree, whole.first(self.steps)
        self._read: Sequence[float] = []

    def extra_bytes(self) -> int:
        """Bytes of the projections, the adapters and the parents' tables."""
        return super().extra_bytes() + self._tables.bytes

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        """Draft the next tree from the last accepted node's pseudo states and the next root."""
        states = self._target.normed(self.accepted_rows(tree, verified))
        root = verified.chosen.index_select(0, verified.last[None])
        ahead = Followed(
            self._tables,
            torch.bmm(states[:, None], self._tables.of_state)[:, 0],
            self._target.head(states),
            self._tables.of_token[0].index_select(0, root),
        )
        return self._tree.expand(ahead)

    def observe(self, context: Context, outcome: Outcome) -> None:
        self._read = outcome.read

    def draft(self, context: Context) -> Tree:
        return self._tree.build(context.root, self._read)
