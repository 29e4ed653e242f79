"""Trees whose every node is drafted for its own parents: Hydra's, EAGLE's, Chimera's.

Depth by depth, and all of it is queued on the device before the step is read. What a method knows
of a node stands in a row of numbers; it says what follows from such a row, and how a row goes on
with a drafted token. The trees are the same for all: fixed ranks, or those of the best scores.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from harness.engine import Context, Drafter, Outcome, Tree, TreeShape, Verified, to_device
from methods.shared.trees import RankPath, StaticTree, top_tokens

BEAMS = 10  # nodes of a depth that are followed, and children of each: EAGLE-2's authors'


class Ahead(ABC):
    """A method behind an accepted path. ``first`` [1, D]: the row of the next root."""

    first: Tensor

    @abstractmethod
    def logits(self, rows: Tensor, depth: int) -> Tensor:
        """[T, V] of the tokens at ``depth`` (1-based) that are the children of nodes with ``rows``
        [T, D].
        """

    @abstractmethod
    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        """[T, D] rows of drafted ``tokens`` [T] at ``depth``, whose parents' ``rows`` [T, D] are.

        ``drafted`` [T, A + T] bool: which of the A drafted nodes that were followed before, and of
        these ones, are on a node's path.
        """


class DraftTree(ABC):
    """Which tree is drafted: ``max_nodes`` with the root, ``max_depth`` drafts on a path;
    ``followed``: its nodes that have rows, at the most.
    """

    max_nodes: int
    max_depth: int
    followed: int

    @abstractmethod
    def expand(self, ahead: Ahead) -> Tensor:
        """Queue all that is drafted; the numbers that :meth:`build` needs, on the device."""

    @abstractmethod
    def build(self, root: int, read: Sequence[float]) -> Tree:
        """The tree under token ``root`` of the numbers read."""


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one depth: the best ``width`` tokens of each of the ``inner`` nodes above that
    have children; ``parents`` [M] which of these a node's is, ``ranks`` [M] which of its tokens.
    ``inner`` indexes the nodes of the depth above; ``sight`` as ``drafted`` in :meth:`Ahead.follow`
    for them.
    """

    inner: Tensor
    sight: Tensor
    parents: Tensor
    ranks: Tensor
    width: int


class FixedTree(DraftTree):
    """The same rank ``paths`` at every step: node (.., r) is the r-th best child of its parent."""

    def __init__(self, paths: Sequence[RankPath], device: torch.device) -> None:
        self._shape = StaticTree(paths).shape
        self._levels: list[_Level] = []
        above: list[RankPath] = [()]
        followed: list[RankPath] = []
        for _, members in groupby(sorted(paths, key=lambda path: (len(path), path)), key=len):
            here = list(members)
            inner = sorted({above.index(path[:-1]) for path in here})
            parents = [inner.index(above.index(path[:-1])) for path in here]
            ranks = [path[-1] for path in here]
            nodes = [above[at] for at in inner]
            followed += [node for node in nodes if node]
            sight = [[other == node[: len(other)] for other in followed] for node in nodes]
            sent = [to_device(values, device) for values in (inner, parents, ranks)]
            seen = torch.tensor(sight, dtype=torch.bool)
            seen = seen.to(device) if followed else seen  # the root's row sees none
            self._levels.append(_Level(sent[0], seen, sent[1], sent[2], 1 + max(ranks)))
            above = here
        self.max_nodes, self.max_depth = len(self._shape), len(self._levels)
        self.followed = len(followed)

    def expand(self, ahead: Ahead) -> Tensor:
        """[N - 1] the drafted tokens."""
        rows, drafted = ahead.first, list[Tensor]()
        for depth, level in enumerate(self._levels):
            if depth:
                tokens = drafted[-1].index_select(0, level.inner)
                rows = ahead.follow(rows.index_select(0, level.inner), tokens, level.sight, depth)
            best = top_tokens(ahead.logits(rows, depth + 1), level.width)
            drafted.append(best[level.parents, level.ranks])
            if depth + 1 < len(self._levels):
                rows = rows.index_select(0, level.parents)
        return torch.cat(drafted) if drafted else torch.empty(0, device=ahead.first.device)

    def build(self, root: int, read: Sequence[float]) -> Tree:
        return Tree(self._shape, [root, *(int(token) for token in read)])


class ConfidentTree(DraftTree):
    """EAGLE-2's (Li et al., arXiv 2406.16858, section 4): the best ``drafts`` of all nodes that are
    scored by following the best ones of every depth down to ``depth``.

    A node's score is the sum of the log-probabilities along its path. No more than ``drafts`` of a
    depth can be among the best, so no more are followed.
    """

    def __init__(self, drafts: int, depth: int) -> None:
        self._drafts = drafts
        self._beams = min(BEAMS, drafts)
        self.max_nodes, self.max_depth = drafts + 1, depth
        self.followed = (depth - 1) * self._beams

    def expand(self, ahead: Ahead) -> Tensor:
        """[2 N - 2] the drafted tokens, then their parents."""
        rows, device = ahead.first, ahead.first.device
        scores = torch.zeros(1, device=device)
        sight = torch.empty(1, 0, dtype=torch.bool, device=device)
        parents = torch.full((1,), -1, device=device)  # the root's number
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        count = 0
        for depth in range(1, self.max_depth + 1):
            likely = ahead.logits(rows, depth).float().log_softmax(-1)
            beams = min(self._beams, likely.shape[-1])
            best = likely.topk(beams)
            sums, tokens = (scores[:, None] + best.values).flatten(), best.indices.flatten()
            found.append((sums, tokens, parents.repeat_interleave(beams)))
            if depth < self.max_depth:
                scores, at = sums.topk(min(self._beams, len(sums)))
                above, parents = at // beams, at + count
                count += len(sums)
                own = torch.eye(len(at), dtype=torch.bool, device=device)
                sight = torch.cat([sight.index_select(0, above), own], dim=1)
                chosen = tokens.index_select(0, at)
                rows = ahead.follow(rows.index_select(0, above), chosen, sight, depth)
        return self._kept(*(torch.cat(column) for column in zip(*found, strict=True)))

    def _kept(self, scores: Tensor, tokens: Tensor, parents: Tensor) -> Tensor:
        """The best of all, in the order in which they were found. A parent scores no less than its
        child, since no log-probability is above 0, and was found before it; equals are taken in
        that order, so none is without it.
        """
        kept = scores.argsort(descending=True, stable=True)[: self._drafts].sort().values
        above = parents.index_select(0, kept)
        nodes = torch.searchsorted(kept, above) + (above >= 0)  # the root's number is before all
        return torch.cat([tokens.index_select(0, kept), nodes])

    def build(self, root: int, read: Sequence[float]) -> Tree:
        numbers = [int(number) for number in read]
        tokens, parents = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        return Tree(TreeShape((-1, *parents)), [root, *tokens])


class ConditionedDrafter(Drafter, ABC):
    """Drafts ``tree`` from what :meth:`ahead` gives."""

    def __init__(self, tree: DraftTree) -> None:
        self._tree = tree
        self._read: Sequence[float] = []

    @abstractmethod
    def ahead(self, tree: Tree, verified: Verified) -> Ahead:
        """The method behind the last node accepted of ``tree``, on the device."""

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        return self._tree.expand(self.ahead(tree, verified))

    def observe(self, context: Context, outcome: Outcome) -> None:
        self._read = outcome.read

    def draft(self, context: Context) -> Tree:
        return self._tree.build(context.root, self._read)
