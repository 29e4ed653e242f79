"""Medusa in the engine: heads read the newest state, and a tree of their best tokens is verified.

The heads run on the one row that the next draft starts from, after acceptance; upstream runs them
on every row of the tree and throws away all but one.
"""

import torch
from torch import Tensor

from harness.engine import Context, Drafter, Needs, Outcome, Target, Tree, Verified
from harness.errors import HarnessError
from methods.medusa.heads import FusedHeads
from methods.shared.trees import TreePolicy, by_depth


class MedusaDrafter(Drafter):
    """Drafts from trained heads; ``policy`` turns [K, V] head logits into a tree."""

    def __init__(self, target: Target, heads: FusedHeads, policy: TreePolicy) -> None:
        self._target, self._policy = target, policy
        if policy.max_depth > heads.count:
            raise HarnessError(
                f"medusa: a tree of depth {policy.max_depth}, expected at most {heads.count}, the "
                "number of heads"
            )
        # Heads beyond the depth of the tree would be computed and never used.
        self._heads = heads.first(policy.max_depth)
        self.needs = Needs(max_rows=policy.max_nodes)
        self.head_logits = torch.empty(0)
        self._table: list[list[float]] = []

    def extra_bytes(self) -> int:
        """The heads in use."""
        return self._heads.bytes

    def draft(self, context: Context) -> Tree:
        return self._policy.build(context.root, self._table)

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        """The policy's table, from the heads' logits at the last accepted node."""
        state = self._target.normed(verified.hidden[0].index_select(0, verified.last[None]))
        self.head_logits = self._heads(state)
        return self._policy.wanted(self.head_logits)

    def observe(self, context: Context, outcome: Outcome) -> None:
        self._table = by_depth(outcome.read, self._policy.max_depth)
