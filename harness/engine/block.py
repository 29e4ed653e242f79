"""What one forward of the target runs: rows, where they enter, and who sees whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from harness.engine.masks import BlockLayout

# By layer, what is made of the states [1, T, H] that are about to enter it.
Between = Mapping[int, Callable[[Tensor], Tensor]]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """``count`` rows that enter at layer ``entry`` (0-based).

    ``make(hidden)`` gets the states [1, T, H] of all rows entered before, as they enter that layer
    (None for the first group), and returns the new rows [1, count, H].
    """

    entry: int
    count: int
    make: Callable[[Tensor | None], Tensor]


@dataclass(frozen=True, slots=True)
class Block:
    """One forward: row groups in order of entry, and who sees whom among all their rows.

    ``once``: its shape will not come again, as a prompt's: nothing is kept for it. ``between``:
    what is made of the states that are about to enter a layer, before new rows do.
    """

    groups: tuple[RowGroup, ...]
    layout: BlockLayout
    once: bool = False
    between: Between = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows in flight at the last layer."""
        return sum(group.count for group in self.groups)
