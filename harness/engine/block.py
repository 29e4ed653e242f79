"""What one forward of the target runs: its rows, where each enters, and which rows see which."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from harness.engine.masks import BlockLayout

# By layer, a function that changes the states [1, T, H] about to enter it.
Between = Mapping[int, Callable[[Tensor], Tensor]]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """``count`` rows that enter at layer ``entry`` (0-based).

    ``make(hidden)`` gets the states [1, T, H] in which all earlier rows enter that layer (None for
    the first group), and returns the new rows [1, count, H].
    """

    entry: int
    count: int
    make: Callable[[Tensor | None], Tensor]


@dataclass(frozen=True, slots=True)
class Block:
    """One forward: row groups in order of entry, and which of all their rows see which.

    ``once``: its shape is not expected again, as a prompt's, so no mask is kept for it, and its
    forward is not static. ``between`` changes the states that are about to enter a layer, before
    new rows join them there. ``scored``: how many of the last rows, beside the tree's, get logits.
    """

    groups: tuple[RowGroup, ...]
    layout: BlockLayout
    once: bool = False
    between: Between = field(default_factory=dict)
    scored: int = 0

    @property
    def rows(self) -> int:
        """Rows that run through the last layer: those of all groups."""
        return sum(group.count for group in self.groups)
