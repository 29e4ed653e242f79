"""Which drafts to verify: trees grown from rank traces, or built anew at each step.

These are for methods whose distribution at depth d does not depend on the drafts before it: FIRP's
steps and Medusa's heads, both called steps below. So a tree is a set of rank paths: node (r_1, ...,
r_d) carries the r_d-th best token of step d. A rank trace records, for each position of the
target's own answers, the rank that each step gave to the token that the answer has.
"""

import heapq
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engine.tree import Tree, TreeShape
from harness.errors import HarnessError

RankPath = tuple[int, ...]
# Ranks in one answer, a tuple (r_1, .., r_K) for each position, 0-based.
Trace = Sequence[RankPath]


class TreePolicy(ABC):
    """Turns the logits of all steps into the next tree."""

    max_depth: int
    max_nodes: int

    @abstractmethod
    def wanted(self, logits: Tensor) -> Tensor:
        """[D, M] numbers that a tree is built from; ``logits`` [K, V], row k-1 for depth k."""

    @abstractmethod
    def build(self, root: int, table: Sequence[Sequence[float]]) -> Tree:
        """The tree under token ``root``, from the numbers of :meth:`wanted` on the host."""


class StaticTree(TreePolicy):
    """The same rank paths at every step (Medusa's kind of tree, arXiv 2401.10774 section 2.3.3)."""

    def __init__(self, paths: Iterable[RankPath]) -> None:
        ordered = sorted(paths, key=lambda path: (len(path), path))
        index = {(): 0} | {path: node for node, path in enumerate(ordered, start=1)}
        orphan = next((path for path in ordered if path[:-1] not in index), None)
        if orphan is not None:
            raise HarnessError(
                f"tree path {list(orphan)}: no {list(orphan[:-1])}, expected its parent"
            )
        self.shape = TreeShape((-1, *(index[path[:-1]] for path in ordered)))
        self.max_depth = max((len(path) for path in ordered), default=0)
        self.max_nodes = len(self.shape)
        self._width = 1 + max((path[-1] for path in ordered), default=0)
        self._picks = [(len(path) - 1, path[-1]) for path in ordered]

    def wanted(self, logits: Tensor) -> Tensor:
        """The top-ranked tokens of each depth."""
        return top_tokens(logits[: self.max_depth], self._width)

    def build(self, root: int, table: Sequence[Sequence[float]]) -> Tree:
        """Take each node's token from those of its depth."""
        return Tree(self.shape, [root, *(int(table[level][rank]) for level, rank in self._picks)])


class BestFirstTree(TreePolicy):
    """At each step the ``drafts`` nodes whose paths have the largest products of probabilities."""

    def __init__(self, drafts: int, depth: int) -> None:
        self.max_depth, self.max_nodes = depth, drafts + 1
        self._drafts = drafts

    def wanted(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the top-ranked tokens of each depth, then these tokens."""
        likely = logits[: self.max_depth].float().log_softmax(-1)
        top = likely.topk(min(self._drafts, logits.shape[-1]))
        return torch.cat([top.values.double(), top.indices.double()], dim=-1)

    def build(self, root: int, table: Sequence[Sequence[float]]) -> Tree:
        """Take each node's token from those of its depth."""
        width = len(table[0]) // 2
        parents, drafted = [-1], [root]
        for level, rank, parent in best_first([row[:width] for row in table], self._drafts):
            parents.append(parent)
            drafted.append(int(table[level][width + rank]))
        return Tree(TreeShape(tuple(parents)), drafted)


def best_first(scores: Sequence[Sequence[float]], most: int) -> Iterator[tuple[int, int, int]]:
    """The ``most`` likeliest nodes of the tree of all rank paths, the likeliest first.

    ``scores[level]`` holds the log-probabilities of that depth's top-ranked tokens, descending; a
    node's score is the sum along its path. Yields (level, rank, parent): nodes are numbered from 1
    as they are yielded, and parent 0 is the root. Each node makes its next sibling and its first
    child candidates.
    """
    # (negative log-probability, level, rank, parent node, parent's negative log-probability)
    frontier = [(-scores[0][0], 0, 0, 0, 0.0)]
    node = 0
    while frontier and node < most:
        cost, level, rank, parent, base = heapq.heappop(frontier)
        node += 1
        yield level, rank, parent
        if rank + 1 < len(scores[level]):
            sibling = base - scores[level][rank + 1]
            heapq.heappush(frontier, (sibling, level, rank + 1, parent, base))
        if level + 1 < len(scores):
            child = cost - scores[level + 1][0]
            heapq.heappush(frontier, (child, level + 1, 0, node, cost))


def places(scores: Sequence[Sequence[float]], ranks: RankPath, most: int) -> RankPath:
    """The places, from 1 on, of the nodes along the path ``ranks`` in :func:`best_first`.

    A best-first tree of N drafts holds the nodes whose place is N or less. Nodes that do not come
    among the first ``most`` are left out.
    """
    numbers: list[int] = []  # places of the path's nodes so far
    at = 0  # the last node of the path that was yielded
    for place, (level, rank, parent) in enumerate(best_first(scores, most), start=1):
        if level == len(numbers) and level < len(ranks) and (rank, parent) == (ranks[level], at):
            numbers.append(place)
            at = place
    return tuple(numbers)


def by_depth(read: Sequence[float], depth: int) -> list[list[float]]:
    """The ``depth`` rows of a ``wanted`` table that was read flat."""
    width = len(read) // max(depth, 1)
    return [list(read[level * width : (level + 1) * width]) for level in range(depth)]


def top_tokens(logits: Tensor, width: int) -> Tensor:
    """[K, width] token ids, best first."""
    if width == 1:
        return logits.argmax(-1, keepdim=True)
    return logits.topk(width).indices


def ranks(logits: Tensor, tokens: Tensor) -> Tensor:
    """0-based rank [...] of ``tokens`` [...] among ``logits`` [..., V]; ties do not worsen it."""
    token_logits = logits.gather(-1, tokens[..., None])
    return (logits > token_logits).sum(-1)


def grow(traces: Iterable[Trace], drafts: int, depth: int, width: int = 10) -> list[RankPath]:
    """The ``drafts`` rank paths, of ranks below ``width``, that traces pass through most often.

    Counts are joint, not products of per-step accuracies: steps succeed and fail together. A path
    occurs at most as often as its parent, so picking by count keeps the set a tree.
    """
    counts: Counter[RankPath] = Counter()
    for trace in traces:
        for row in trace:
            for d in range(1, min(depth, len(row)) + 1):
                if row[d - 1] >= width:
                    break
                counts[row[:d]] += 1
    ordered = sorted(counts, key=lambda path: (-counts[path], len(path), path))
    return ordered[:drafts]


@dataclass(frozen=True, slots=True)
class Prediction:
    """How decoding the traced answers goes with a tree: its steps, and the tokens they commit."""

    steps: int
    tokens: int

    @property
    def acceptance_length(self) -> float:
        """Tokens committed per decode-phase step."""
        return self.tokens / self.steps if self.steps else math.nan


def replay(traces: Iterable[Trace], paths: Iterable[RankPath]) -> Prediction:
    """Walk the tree over the traces as decoding would, step by step.

    ``trace[i]`` belongs to the token at index i of (last prompt token, answer tokens...): its
    step-k rank is that of answer token i + k (0-based). The prefill gives the first answer token; a
    step drafted at index i commits its accepted drafts and one more token, none past the end.
    """
    tree = set(paths)

    def accepted(row: RankPath) -> int:
        return next((d for d in range(len(row)) if row[: d + 1] not in tree), len(row))

    return _replay(traces, accepted)


def replay_best_first(traces: Iterable[Trace], drafts: int) -> Prediction:
    """As :func:`replay`, for best-first trees of ``drafts`` nodes and traces of :func:`places`."""
    return _replay(traces, lambda row: sum(place <= drafts for place in row))


def _replay(traces: Iterable[Trace], accepts: Callable[[RankPath], int]) -> Prediction:
    """``accepts``: from a row of a trace, how many drafts of its position's path the tree has."""
    steps = tokens = 0
    for trace in traces:
        # trace[0] is the last prompt token's; its forward commits answer token 0 (prefill phase),
        # and each later step drafts from the row that committed the newest root.
        at, left = 0, len(trace) - 1
        while left > 0:
            count = min(accepts(trace[at]) + 1, left)
            steps, tokens, at, left = steps + 1, tokens + count, at + count, left - count
    return Prediction(steps, tokens)


def as_trace(table: Tensor) -> list[RankPath]:
    """[positions, K] ranks -> a trace of tuples; -1 marks steps past the answer's end."""
    return [tuple(r for r in row if r >= 0) for row in torch.as_tensor(table).tolist()]
