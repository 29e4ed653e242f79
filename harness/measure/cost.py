"""Timing the target's verify forward by rows and by committed tokens; nothing is committed.

What is timed is the profile's forward phase: the layers and the head over all rows, until the
device has finished. Trees and blocks are built outside the clock, as in the profile, where they are
another phase.
"""

import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

import torch
from tqdm import tqdm

from harness.decoder import Request
from harness.engine.drafter import Drafter, Needs
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree, chain
from harness.measure.timing import synchronise

ROWS = (1, 2, 4, 8, 16, 32, 64)
_C = TypeVar("_C")
Cell = tuple[int, int]  # rows of the forward, tokens in the arena


class VerifyForward(EngineDecoder):
    """The decode loop's own verify forward of a chain, behind any prefix of the tokens ``ids``."""

    def __init__(self, target: Target, ids: Sequence[int], most_rows: int = max(ROWS)) -> None:
        drafter = Drafter()
        drafter.needs = Needs(max_rows=most_rows)
        super().__init__(target, drafter)
        self._ids = list(ids)
        with torch.inference_mode():
            self.prefill(Request(tuple(ids), 1, frozenset()))

    @torch.inference_mode()
    def seconds(self, cell: Cell) -> float:
        """Seconds of one forward, right after another of the same kind, as steps follow steps."""
        rows, context = cell
        # The arena holds the tokens of every context already, since all begin the same text.
        self.target.arena.length = context
        block = self.block(Tree(chain(rows - 1), self._ids[:1] * rows), None)
        self.verify(block, rows)
        synchronise(self.target.device)
        started = time.perf_counter()
        self.verify(block, rows)
        synchronise(self.target.device)
        return time.perf_counter() - started


def time_forwards(
    forward: VerifyForward, contexts: Sequence[int], repeats: int
) -> dict[Cell, float]:
    """Median seconds for every number of rows at every context."""
    cells = [(rows, context) for rows in ROWS for context in contexts]
    samples = sample(forward.seconds, cells, repeats)
    return {cell: median(seconds) for cell, seconds in samples.items()}


def sample(
    time_one: Callable[[_C], float], cells: Sequence[_C], repeats: int
) -> dict[_C, list[float]]:
    """``repeats`` timings of every cell, in seconds.

    Each repeat goes through all cells in a new random order, so that drift meets all alike.
    """
    rng = random.Random(0)
    samples: dict[_C, list[float]] = {cell: [] for cell in cells}
    for cell in cells:
        time_one(cell)  # warm-up of masks and allocators
    for _ in tqdm(range(repeats), desc="cost", unit="round"):
        for cell in rng.sample(list(cells), len(cells)):
            samples[cell].append(time_one(cell))
    return samples
