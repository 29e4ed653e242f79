"""Trees in which each draft depends on the drafts before it: Hydra's, EAGLE's, Chimera's.

They are drafted depth by depth, and all of that is queued on the device before the host reads the
step. What a method knows of a node is a row of numbers; the method computes logits from rows, and
a child's row from its parent's and the drafted token. The trees do not depend on the method: they
have fixed rank paths, or hold the nodes with the best scores.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from harness.engine import Context, Drafter, Outcome, Tree, TreeShape, Verified, to_device
from methods.shared.trees import RankPath, StaticTree, top_tokens

BEAMS = 10  # nodes followed per depth, and children scored of each: EAGLE-2's authors'


class Ahead(ABC):
    """A method's state after a step, to draft from. ``first`` [1, D]: the row of the next root."""

    first: Tensor

    @abstractmethod
    def logits(self, rows: Tensor, depth: int) -> Tensor:
        """[T, V] logits of the tokens at ``depth`` (1-based) that are the children of the nodes
        with ``rows`` [T, D].
        """

    @abstractmethod
    def follow(self, rows: Tensor, tokens: Tensor, drafted: Tensor, depth: int) -> Tensor:
        """[T, D] rows of drafted ``tokens`` [T] at ``depth``, from their parents' ``rows`` [T, D].

        ``drafted`` [T, A + T] bool: which nodes are on the path of each of these, itself included;
        first the A drafted nodes that were followed before, then these T.
        """


class DraftTree(ABC):
    """The tree to draft: at most ``max_nodes`` with the root, and ``max_depth`` drafts on a path.
    ``followed``: how many drafted nodes have rows at most.
    """

    max_nodes: int
    max_depth: int
    followed: int

    @abstractmethod
    def expand(self, ahead: Ahead) -> Tensor:
        """Queue all drafting; returns the numbers that :meth:`build` needs, on the device."""

    @abstractmethod
    def build(self, root: int, read: Sequence[float]) -> Tree:
        """The tree under token ``root``, from the numbers of :meth:`expand` on the host."""


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one depth. ``inner``: indices of those nodes of the depth above that have
    children, called parents here; ``above``: for each parent, the index of its own parent's row;
    ``sight``: the argument ``drafted`` of :meth:`Ahead.follow` for the parents. ``width``: how many
    best tokens are taken behind each parent; ``picks``: for each node, the index of its token in
    the flattened [parents, ``width``] table of these tokens.
    """

    inner: Tensor
    above: Tensor
    sight: Tensor
    width: int
    picks: Tensor


class FixedTree(DraftTree):
    """The same rank ``paths`` at every step: node (.., r) has its parent's token of rank r."""

    def __init__(self, paths: Sequence[RankPath], device: torch.device) -> None:
        self._shape = StaticTree(paths).shape
        self._levels: list[_Level] = []
        above: list[RankPath] = [()]
        rows: list[RankPath] = [()]
        followed: list[RankPath] = []
        for _, members in groupby(sorted(paths, key=lambda path: (len(path), path)), key=len):
            level = list(members)
            inner = sorted({above.index(path[:-1]) for path in level})
            nodes = [above[at] for at in inner]
            followed += [node for node in nodes if node]
            sight = [[other == node[: len(other)] for other in followed] for node in nodes]
            visible = torch.tensor(sight, dtype=torch.bool)
            width = 1 + max(path[-1] for path in level)
            picks = [nodes.index(path[:-1]) * width + path[-1] for path in level]
            places = [rows.index(node[:-1]) for node in nodes]
            self._levels.append(
                _Level(
                    to_device(inner, device),
                    to_device(places, device),
                    visible.to(device) if followed else visible,  # empty, and unused, at depth 1
                    width,
                    to_device(picks, device),
                )
            )
            above, rows = level, nodes
        self.max_nodes, self.max_depth = len(self._shape), len(self._levels)
        self.followed = len(followed)

    def expand(self, ahead: Ahead) -> Tensor:
        """[N - 1] the drafted tokens."""
        rows, drafted = ahead.first, list[Tensor]()
        for depth, level in enumerate(self._levels):
            if depth:
                tokens = drafted[-1].index_select(0, level.inner)
                rows = ahead.follow(rows.index_select(0, level.above), tokens, level.sight, depth)
            best = top_tokens(ahead.logits(rows, depth + 1), level.width)
            drafted.append(best.flatten().index_select(0, level.picks))
        return torch.cat(drafted) if drafted else torch.empty(0, device=ahead.first.device)

    def build(self, root: int, read: Sequence[float]) -> Tree:
        return Tree(self._shape, [root, *(int(token) for token in read)])


class ConfidentTree(DraftTree):
    """EAGLE-2's tree (Li et al., arXiv 2406.16858, section 4). At each depth down to ``depth`` the
    best nodes are followed and their children scored; the tree has the ``drafts`` best of all.

    A node's score is the sum of the log-probabilities along its path. ``BEAMS`` nodes of a depth
    are followed, or ``drafts`` if that is less: no more of one depth can be in the tree.
    """

    def __init__(self, drafts: int, depth: int) -> None:
        self._drafts = drafts
        self._beams = min(BEAMS, drafts)
        self.max_nodes, self.max_depth = drafts + 1, depth
        self.followed = (depth - 1) * self._beams

    def expand(self, ahead: Ahead) -> Tensor:
        """[2 N - 2] the drafted tokens, then their parents' node numbers."""
        rows, device = ahead.first, ahead.first.device
        scores = torch.zeros(1, device=device)
        sight = torch.empty(1, 0, dtype=torch.bool, device=device)
        parents = torch.full((1,), -1, device=device)  # the root's number
        scored: list[tuple[Tensor, Tensor, Tensor]] = []
        count = 0
        for depth in range(1, self.max_depth + 1):
            likely = ahead.logits(rows, depth).float().log_softmax(-1)
            beams = min(self._beams, likely.shape[-1])
            best = likely.topk(beams)
            sums, tokens = (scores[:, None] + best.values).flatten(), best.indices.flatten()
            scored.append((sums, tokens, parents.repeat_interleave(beams)))
            if depth < self.max_depth:
                scores, at = sums.topk(min(self._beams, len(sums)))
                above, parents = at // beams, at + count
                count += len(sums)
                diagonal = torch.eye(len(at), dtype=torch.bool, device=device)
                sight = torch.cat([sight.index_select(0, above), diagonal], dim=1)
                chosen = tokens.index_select(0, at)
                rows = ahead.follow(rows.index_select(0, above), chosen, sight, depth)
        return self._best(*(torch.cat(column) for column in zip(*scored, strict=True)))

    def _best(self, scores: Tensor, tokens: Tensor, parents: Tensor) -> Tensor:
        """The best of all scored nodes, in the order in which they were scored. A parent comes
        before its child there and scores no less, since no log-probability is above 0; the sort is
        stable, so the parent of a node that is taken is taken too.
        """
        best = scores.argsort(descending=True, stable=True)[: self._drafts].sort().values
        above = parents.index_select(0, best)
        nodes = torch.searchsorted(best, above) + (above >= 0)  # -1, the root, becomes node 0
        return torch.cat([tokens.index_select(0, best), nodes])

    def build(self, root: int, read: Sequence[float]) -> Tree:
        numbers = [int(number) for number in read]
        tokens, parents = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        return Tree(TreeShape((-1, *parents)), [root, *tokens])


class ConditionedDrafter(Drafter, ABC):
    """Drafts ``tree`` from the method's state after each step, which :meth:`ahead` gives."""

    def __init__(self, tree: DraftTree) -> None:
        self._tree = tree
        self._read: Sequence[float] = []

    @abstractmethod
    def ahead(self, tree: Tree, verified: Verified) -> Ahead:
        """The method's state behind the last accepted node of ``tree``, on the device."""

    def wanted(self, tree: Tree, verified: Verified) -> Tensor:
        return self._tree.expand(self.ahead(tree, verified))

    def observe(self, context: Context, outcome: Outcome) -> None:
        self._read = outcome.read

    def draft(self, context: Context) -> Tree:
        return self._tree.build(context.root, self._read)
