"""What a decode step costs, predicted from what forwards of the target cost by rows and context.

The table of forwards is timed once for all methods (``python -m harness cost`` writes it). Tunings
predict candidates from it, and tables compare its predictions with what was measured. This module
does without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

TWO_PASS = "two_pass"


@dataclass(frozen=True, slots=True)
class Steps:
    """Decode steps of an arm: nodes of the tree, all rows, tokens in the arena; each [N]."""

    nodes: np.ndarray
    rows: np.ndarray
    context: np.ndarray


def rows_by_layer(steps: Steps, entries: Sequence[int], layers: int) -> list[np.ndarray]:
    """Rows [N] of N steps in each layer. ``entries``: the layer at which each of a node's pseudo
    rows enters, ascending; without entries all rows run through all layers.
    """
    if not entries:
        return [steps.rows] * layers
    per_node = steps.rows // steps.nodes - 1
    return [
        steps.nodes * (1 + np.minimum(per_node, sum(entry <= layer for entry in entries)))
        for layer in range(layers)
    ]


@dataclass(frozen=True, slots=True)
class ForwardCost:
    """``grid`` [R, C] milliseconds of a forward of ``rows`` [R] behind ``contexts`` [C] tokens."""

    rows: np.ndarray
    contexts: np.ndarray
    grid: np.ndarray
    layers: int

    def __call__(self, rows: np.ndarray, context: np.ndarray) -> np.ndarray:
        """[N] milliseconds of N forwards, by bilinear interpolation.

        Beyond the most rows that were timed, the line through the last two numbers of rows goes on;
        a context outside the grid costs what the grid's edge costs; no rows cost nothing.
        """
        lines = np.array([np.interp(context, self.contexts, line) for line in self.grid])
        below = np.searchsorted(self.rows, rows, side="right") - 1
        below = np.clip(below, 0, len(self.rows) - 2)
        share = (rows - self.rows[below]) / (self.rows[below + 1] - self.rows[below])
        low, high = (np.take_along_axis(lines, at[None], 0)[0] for at in (below, below + 1))
        return np.where(rows > 0, (1 - share) * low + share * high, 0.0)

    def of_steps(self, steps: Steps, entries: Sequence[int]) -> np.ndarray:
        """[N] milliseconds of the forwards of N steps.

        ``entries`` as in :func:`rows_by_layer`: a pseudo row is free below its entry. The head
        counts for every row, though it reads only the tree's; making pseudo states does not count.
        """
        if not entries:
            return self(steps.rows, steps.context)
        return self.by_layer(rows_by_layer(steps, entries, self.layers), steps.context)

    def by_layer(self, rows: Sequence[np.ndarray], context: np.ndarray) -> np.ndarray:
        """[N] milliseconds of forwards with ``rows[l]`` [N] rows in layer l: a mean over layers."""
        return np.mean([self(in_layer, context) for in_layer in rows], axis=0)


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a method's steps cost with trees of any size, behind ``context`` tokens.

    ``drafting``: milliseconds of a step outside its forwards, taken as the same for every size.
    ``entries``: layers at which a node's pseudo rows enter, empty for a method without such rows.
    """

    forward: ForwardCost
    context: float
    drafting: float
    entries: list[int]

    def step_ms(self, way: str, sizes: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """[N] milliseconds of a step for each number of drafts.

        ``way``: ``two_pass`` where pseudo rows have a forward of their own; otherwise they ride
        along, or there are none.

        ``depths`` [N]: levels of the trees of ``sizes`` drafts. A tree runs as many of the K pseudo
        rows as it has levels: at every node, or once in a forward of their own.
        """
        deep = np.minimum(depths, len(self.entries))
        nodes, context = 1 + sizes, np.full(len(sizes), self.context)
        if way == TWO_PASS:
            return self.forward(nodes, context) + self.second_ms(deep) + self.drafting
        steps = Steps(nodes, nodes * (1 + deep), context)
        return self.forward.of_steps(steps, self.entries) + self.drafting

    def second_ms(self, deep: np.ndarray) -> np.ndarray:
        """[N] milliseconds of a forward of ``deep`` [N] pseudo rows alone, each from its entry."""
        entered = [
            np.minimum(deep, sum(entry <= layer for entry in self.entries))
            for layer in range(self.forward.layers)
        ]
        return self.forward.by_layer(entered, np.full(len(deep), self.context))


def read_forward_cost(file: Path) -> ForwardCost:
    """Read the table that ``python -m harness cost`` wrote."""
    return forward_cost(pd.read_csv(file))


def forward_cost(table: pd.DataFrame) -> ForwardCost:
    """Forward costs from a table as that command writes it, with seconds."""
    wide = table.pivot(index="rows", columns="context", values="seconds")
    return ForwardCost(
        wide.index.to_numpy(), wide.columns.to_numpy(), 1000 * wide.to_numpy(), table["layers"][0]
    )
