"""FIRP in the engine: pseudo rows beside the tree, and the tree drafted from their logits.

Combined pass: every tree node carries its K pseudo rows through the verify forward, so that one
forward verifies this step's drafts and predicts the next step's. Two-pass: the tree is verified
alone, then the K pseudo rows of the last accepted node run through the layers above their entry.
Both draft the same tokens; they differ in cost. Source: arXiv 2410.20488.
"""

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from harness.engine import (
    Between,
    Block,
    BlockLayout,
    Context,
    Drafter,
    ExtraRows,
    Needs,
    Outcome,
    Product,
    RowGroup,
    Target,
    Tree,
    Verified,
)
from harness.engine.masks import recent
from harness.errors import HarnessError
from methods.firp.adapters import Weights, adapted
from methods.firp.projections import Projections
from methods.shared.trees import TreePolicy, by_depth

PASSES = ("combined", "two_pass")


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive steps that enter at one layer from the same source, as one matrix product.

    ``product`` gives [.., count * H]; ``from_real`` says whether it multiplies the real states or
    the pseudo states of the previous step.
    """

    entry: int
    count: int
    from_real: bool
    product: Product

    def __call__(self, real: Tensor, earlier: Tensor | None) -> Tensor:
        """[1, count * R, H] pseudo states, step-major, from the ``real`` states [1, R, H] or the
        last R of the ``earlier`` pseudo states.
        """
        rows, size = real.shape[1:]
        if not self.from_real:
            assert earlier is not None
            real = earlier[:, -rows:]
        pseudo = self.product(real)
        if self.count == 1:
            return pseudo
        return pseudo.view(rows, self.count, size).transpose(0, 1).reshape(1, -1, size)


class MapProducts:
    """Trained projections as decoding multiplies them, on the target's device and in its dtype.

    All drafters of a target may share one. The projections themselves do not change. ``adapters``:
    the weights of FIRP's adapters, None without any; ``behind``: the layers whose incoming pseudo
    rows the adapters change.
    """

    def __init__(self, projections: Projections, target: Target) -> None:
        self.layout, self.target, self.parents = projections.layout, target, projections.parents
        self.layout.check_depth(len(target.layers))
        self.adapters = self._adapters(projections)
        self.behind = projections.between(len(target.layers))
        self._maps: list[Any] = list(projections.maps)
        self._runs: dict[int, list[_Run]] = {}

    def first(self, steps: int) -> list[_Run]:
        """The first ``steps`` steps, grouped as far as they can be computed together."""
        if steps not in self._runs:
            grouped = groupby(range(steps), key=self._source)
            self._runs[steps] = [self._run(*source, list(members)) for source, members in grouped]
        return self._runs[steps]

    def _source(self, step: int) -> tuple[int, int]:
        """A step's entry layer, and 0 or, if it starts from the step before it, a number of its
        own.
        """
        chained = self.layout.feed == "previous" and step > 0
        return self.layout.entry_layers[step], step if chained else 0

    def _run(self, entry: int, chained: int, members: list[int]) -> _Run:
        weights = torch.cat([self._maps[step].weight for step in members])
        bias = None
        if self.layout.bias:
            bias = self._placed(torch.cat([self._maps[step].bias for step in members]))
        return _Run(entry, len(members), chained == 0, Product(self._placed(weights), bias))

    def _adapters(self, projections: Projections) -> Weights | None:
        own = projections.adapters
        if own is None:
            return None
        scale, shift, down, up = map(self._placed, (own.scale, own.shift, own.down, own.up))
        return scale, shift, down, up

    def _placed(self, weight: Tensor) -> Tensor:
        return weight.detach().to(self.target.device, self.target.dtype)


class PseudoRows(Drafter):
    """Runs the pseudo rows of trained ``maps``; subclasses decide what is drafted from them.

    ``reach``: the largest depth and the largest number of nodes of the drafted trees.
    """

    def __init__(self, maps: MapProducts, reach: tuple[int, int], passes: str) -> None:
        if passes not in PASSES:
            raise HarnessError(f"firp passes: '{passes}', expected {' or '.join(PASSES)}")
        self._target, self._layout = maps.target, maps.layout
        depth, nodes = reach
        # Steps beyond the depth of the tree would be computed and never used.
        self.steps = min(maps.layout.steps, depth)
        self._entry = maps.layout.entry_layers[: self.steps]
        self._runs = maps.first(self.steps)
        self._adapters, self._behind = maps.adapters, maps.behind
        self._extra: dict[tuple[int, ...], ExtraRows] = {}
        self._combined = passes == "combined"
        rows = nodes * (1 + self.steps) if self._combined else max(nodes, self.steps)
        states = frozenset() if self._combined else frozenset(self._entry)
        self.needs = Needs(max_rows=rows, states=states)
        self._second = None if self._combined else self._second_layout()

    def extra_bytes(self) -> int:
        """Bytes of the projections as decoding uses them, and of the adapters."""
        adapters = sum(weight.nbytes for weight in self._adapters or ())
        return adapters + sum(run.product.bytes for run in self._runs)

    def extra_rows(self, tree: Tree) -> ExtraRows | None:
        """K pseudo rows for each of the N nodes, k-major: row k * N + n is pseudo k of node n."""
        if not self._combined:
            return None
        return recent(self._extra, tree.shape.parents, lambda: self._pseudo_rows(tree))

    def _pseudo_rows(self, tree: Tree) -> ExtraRows:
        nodes = len(tree.shape)
        groups = tuple(
            RowGroup(run.entry, nodes * run.count, partial(self._project, run=run, rows=nodes))
            for run in self._runs
        )
        depths = torch.tensor(tree.shape.depths)
        positions = torch.cat([depths + step for step in range(1, self.steps + 1)])
        visible = self._visible(tree.shape.ancestors)
        key = ("firp", self.steps, self._layout.steps_see_earlier)
        return ExtraRows(groups, visible, positions, key, self._adapted(nodes, nodes))

    def _adapted(self, real: int, rows: int) -> Between:
        """By layer, the function that adapts the pseudo rows of the states about to enter it.

        The first ``real`` rows of the states are left as they are; behind them stand ``rows``
        pseudo rows of each step.
        """
        weights = self._adapters
        if weights is None:
            return {}

        def adapt(hidden: Tensor, place: int) -> Tensor:
            if hidden.shape[1] == real:
                return hidden
            pseudo = adapted(weights, hidden[:, real:], place, rows)
            return torch.cat([hidden[:, :real], pseudo], dim=1)

        return {layer: partial(adapt, place=place) for place, layer in enumerate(self._behind)}

    def accepted_rows(self, tree: Tree, verified: Verified) -> Tensor:
        """[K, H] final pseudo states of the last accepted node, after a combined pass."""
        nodes = verified.hidden[0].unflatten(0, (-1, len(tree.shape)))
        return nodes.index_select(1, verified.last[None])[1:, 0]

    def _project(self, hidden: Tensor | None, run: _Run, rows: int) -> Tensor:
        assert hidden is not None
        return run(hidden[:, :rows], hidden[:, rows:])

    def _between(self) -> Tensor:
        """[K, K] bool: whether the row's step sees the column's step."""
        ones = torch.ones(self.steps, self.steps, dtype=torch.bool)
        return ones.tril() if self._layout.steps_see_earlier else ones.diag().diag()

    def _visible(self, ancestors: Tensor) -> Tensor:
        """[K*N, N + K*N] bool: what the pseudo rows see of the N tree rows and of each other.

        The pseudo rows of a node see the node, its ancestors, and each other as the layout says.
        """
        nodes = len(ancestors)
        pseudo = torch.kron(self._between().int(), torch.eye(nodes, dtype=torch.int32)).bool()
        return torch.cat([ancestors.repeat(self.steps, 1), pseudo], dim=1)

    def _second_layout(self) -> BlockLayout:
        """K rows behind the committed rows, of which the last accepted node is at position -1."""
        return BlockLayout(self._between(), torch.arange(self.steps), self._target.device)

    def _second_pass(self, outcome: Outcome, last: int) -> Tensor:
        """[1, K, H] final pseudo states of node ``last``, run behind the committed rows."""
        assert self._second is not None
        real = {layer: states[:, last : last + 1] for layer, states in outcome.states.items()}

        groups = tuple(
            RowGroup(run.entry, run.count, partial(run, real[run.entry])) for run in self._runs
        )
        block = Block(groups, self._second, between=self._adapted(0, 1))
        return self._target.forward(block)[0]


class FirpDrafter(PseudoRows):
    """Drafts with trained projections; ``policy`` turns [K, V] pseudo logits into a tree."""

    def __init__(self, maps: MapProducts, policy: TreePolicy, passes: str) -> None:
        super().__init__(maps, (policy.max_depth, policy.max_nodes), passes)
        self._policy = policy
        self.pseudo_logits = torch.empty(0)
        self._table: list[list[float]] = []

    def draft(self, context: Context) -> Tree:
        return self._policy.build(context.root, self._table)

    def wanted(self, tree: Tree, verified: Verified) -> Tensor | None:
        """Combined pass: the policy's table, from the pseudo rows of the last accepted node alone.
        Two-pass: None, since pseudo rows run later, in :meth:`observe`.
        """
        if not self._combined:
            return None
        self.pseudo_logits = self._target.logits(self.accepted_rows(tree, verified))
        return self._policy.wanted(self.pseudo_logits)

    def observe(self, context: Context, outcome: Outcome) -> None:
        """Keep the table for the next draft; two-pass makes it here, with a forward and a read."""
        if self._combined:
            self._table = by_depth(outcome.read, self.steps)
            return
        self.pseudo_logits = self._target.logits(self._second_pass(outcome, outcome.path[-1])[0])
        self._table = self._policy.wanted(self.pseudo_logits).tolist()
