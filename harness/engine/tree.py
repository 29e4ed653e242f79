"""Draft trees: who follows whom, who sees whom, and the walk that accepts.

Node 0 is the root: the newest committed token, not yet in the arena. Parents come before
children. METHODS: SpecInfer (arXiv 2305.09781, section 4) and Medusa (arXiv 2401.10774, section
2.1.2) describe tree attention.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from harness.errors import HarnessError


@dataclass(frozen=True)
class TreeShape:
    """The topology of a tree of N nodes: ``parents[0] == -1``, ``parents[n] < n``."""

    parents: tuple[int, ...]
    depths: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        depths: list[int] = []
        for node, parent in enumerate(self.parents):
            if (node == 0) != (parent == -1) or parent >= node:
                raise HarnessError(
                    f"tree: parent of node {node} is {parent}, expected 0..{node - 1}"
                )
            depths.append(0 if node == 0 else depths[parent] + 1)
        object.__setattr__(self, "depths", tuple(depths))

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def ancestors(self) -> Tensor:
        """[N, N] bool: row n is True at n and at every ancestor of n."""
        return _ancestors(self.parents)


@lru_cache(maxsize=256)
def _ancestors(parents: tuple[int, ...]) -> Tensor:
    seen = torch.eye(len(parents), dtype=torch.bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            seen[node] |= seen[parent]
    return seen


@dataclass(frozen=True, slots=True)
class Tree:
    """A shape and the token of each node, the root's token first."""

    shape: TreeShape
    tokens: list[int]

    def walk(self, chosen: Sequence[int]) -> list[int]:
        """Nodes accepted, root first: from each node go to the child whose token was chosen there.

        ``chosen[n]`` is the target's token after node n. Exact for greedy and, with one draw per
        node, for sampling: what is emitted is that very draw. The token chosen at the last node is
        the bonus.
        """
        path = [0]
        for node in range(1, len(self.tokens)):
            # Parents precede children, so one ascending pass follows the path; of siblings with
            # the same token the first wins.
            if self.shape.parents[node] == path[-1] and self.tokens[node] == chosen[path[-1]]:
                path.append(node)
        return path


# (tree, the target's logits [N, V] after its nodes, the tokens chosen there) -> nodes accepted.
Accept = Callable[[Tree, Tensor, Sequence[int]], list[int]]


def exact(tree: Tree, logits: Tensor, chosen: Sequence[int]) -> list[int]:
    """The rule that keeps the output the target's own."""
    return tree.walk(chosen)


@lru_cache(maxsize=256)
def chain(drafts: int) -> TreeShape:
    """A root followed by ``drafts`` nodes in a row."""
    return TreeShape(tuple(range(-1, drafts)))


ROOT_ONLY = chain(0)
