"""Draft trees: their shape, which nodes see which, and which drafts are accepted.

Node 0 is the root: the newest committed token, not yet in the arena. Parents come before children.
Tree attention is described in SpecInfer (arXiv 2305.09781, section 4) and Medusa (arXiv 2401.10774,
section 2.1.2).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from harness.engine.host import to_device
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
class ShapeTensors:
    """The tensors of a shape of N nodes on a device.

    ``parents`` [N] int64, the root being its own parent; ``drafted`` [N, N] bool: row n is True at
    n and its ancestors, except at the root; ``depths`` [N] int64; ``order`` [N] int64 > 0, larger
    for deeper nodes, and among equally deep nodes for earlier ones.
    """

    parents: Tensor
    drafted: Tensor
    depths: Tensor
    order: Tensor


@lru_cache(maxsize=256)
def _on_device(shape: TreeShape, device: torch.device) -> ShapeTensors:
    nodes = len(shape)
    drafted = shape.ancestors.clone()
    drafted[:, 0] = False
    return ShapeTensors(
        to_device([max(parent, 0) for parent in shape.parents], device),
        drafted.to(device, non_blocking=True),
        to_device(shape.depths, device),
        to_device([(depth + 1) * nodes - n for n, depth in enumerate(shape.depths)], device),
    )


@dataclass(frozen=True)
class Tree:
    """A shape and the token of each node, the root's token first."""

    shape: TreeShape
    tokens: list[int]
    _sent: dict[torch.device, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def ids(self, device: torch.device) -> Tensor:
        """[N] int64 tokens on a device, sent once."""
        if device not in self._sent:
            self._sent[device] = to_device(self.tokens, device)
        return self._sent[device]

    def path(self, last: int) -> list[int]:
        """Nodes from the root to ``last``."""
        nodes = [last]
        while nodes[-1]:
            nodes.append(self.shape.parents[nodes[-1]])
        return nodes[::-1]

    def ends(self, before: int) -> list[tuple[int, int]]:
        """[N] pairs of the token before a node and its own token; ``before`` precedes the root."""
        above = [self.tokens[parent] if parent >= 0 else before for parent in self.shape.parents]
        return list(zip(above, self.tokens, strict=True))

    def on(self, device: torch.device) -> ShapeTensors:
        """The tensors of its shape on a device, sent once."""
        return _on_device(self.shape, device)

    def reached(self, passes: Tensor) -> Tensor:
        """[N] bool: the root, and nodes that pass with all their ancestors; ``passes`` [N] bool."""
        return ~(self.on(passes.device).drafted & ~passes).any(-1)


# (tree, the target's logits [N, V] after its nodes, the tokens [N] chosen there) -> [] int64, the
# last node accepted; all on the device, so that nothing waits for it.
Accept = Callable[[Tree, Tensor, Tensor], Tensor]


def exact(tree: Tree, logits: Tensor, chosen: Tensor) -> Tensor:
    """The lossless rule: a draft passes if it is the very token that was chosen after its parent.

    Lossless for greedy decoding and, with one draw per node, for sampling, since each token emitted
    is that draw. The token chosen after the last accepted node is the bonus. Of siblings with the
    same token, the one whose path is accepted farthest is taken.
    """
    if len(tree.tokens) == 1:
        return root_only(tree, logits, chosen)
    shape = tree.on(chosen.device)
    passes = tree.ids(chosen.device) == chosen[shape.parents]
    return (tree.reached(passes) * shape.order).argmax()


def root_only(tree: Tree, logits: Tensor, chosen: Tensor) -> Tensor:
    """Accept no draft: the step commits the target's token after the root."""
    return chosen.new_zeros(())


@lru_cache(maxsize=256)
def chain(drafts: int) -> TreeShape:
    """A root followed by ``drafts`` nodes in a row."""
    return TreeShape(tuple(range(-1, drafts)))


ROOT_ONLY = chain(0)
