"""Where decode time goes, phase by phase, in a pass of its own, since reading clocks costs time.

Every phase is timed by itself, so what lies between phases shows as a difference to the whole.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from harness.decoder import Request
from harness.engine.block import Block
from harness.engine.choice import TokenChoice
from harness.engine.drafter import Context, Drafter, ExtraRows, Outcome, Verified
from harness.engine.loop import EngineDecoder
from harness.engine.tree import Tree
from harness.experiment.records import PHASES, PREFILL
from harness.measure.timing import synchronise


class PhaseClock:
    """Seconds by phase. All up to the first commit counts as prefill, whatever phase it is in."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._prefilling = self._running = False
        self.seconds = dict.fromkeys((PREFILL, *PHASES), 0.0)

    def begin(self) -> None:
        """Start a request: its first step belongs to the prefill."""
        self._prefilling = True

    def end_prefill(self) -> None:
        """End the prefill: the first token is committed."""
        self._prefilling = False

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase; a phase inside another counts for the outer one."""
        if self._running:
            yield
            return
        self._running = True
        synchronise(self._device)
        started = time.perf_counter()
        yield
        synchronise(self._device)
        self.seconds[PREFILL if self._prefilling else name] += time.perf_counter() - started
        self._running = False


class _WatchedDrafter(Drafter):
    """A drafter under the clock. The rows that it adds to a forward count for the forward."""

    def __init__(self, drafter: Drafter, clock: PhaseClock) -> None:
        self._drafter, self._clock = drafter, clock
        self.needs = drafter.needs
        self.learns_from_logits = drafter.learns_from_logits

    def extra_bytes(self) -> int:
        return self._drafter.extra_bytes()

    def begin(self, context: Context) -> None:
        self._drafter.begin(context)

    def extra_rows(self, tree: Tree) -> ExtraRows | None:
        with self._clock.phase("draft"):
            return self._drafter.extra_rows(tree)

    def wanted(self, tree: Tree, verified: Verified) -> Tensor | None:
        with self._clock.phase("draft"):
            return self._drafter.wanted(tree, verified)

    def observe(self, context: Context, outcome: Outcome) -> None:
        with self._clock.phase("draft"):
            self._drafter.observe(context, outcome)

    def draft(self, context: Context) -> Tree:
        with self._clock.phase("draft"):
            return self._drafter.draft(context)


class WatchedDecoder(EngineDecoder):
    """The same loop, target and drafter as another engine decoder, every phase under a clock."""

    def __init__(self, decoder: EngineDecoder, clock: PhaseClock) -> None:
        super().__init__(decoder.target, _WatchedDrafter(decoder.drafter, clock), decoder.accept)
        self._clock = clock

    def prefill(self, request: Request) -> Context:
        self._clock.begin()
        with self._clock.phase(PREFILL):
            return super().prefill(request)

    def block(self, tree: Tree, extra: ExtraRows | None) -> Block:
        with self._clock.phase("tree"):
            return super().block(tree, extra)

    def verify(self, block: Block, nodes: int) -> tuple[Tensor, dict[int, Tensor], Tensor]:
        with self._clock.phase("forward"):
            return super().verify(block, nodes)

    def choose(
        self, context: Context, tree: Tree, logits: Tensor, choice: TokenChoice
    ) -> tuple[Tensor, Tensor]:
        with self._clock.phase("choose"):
            return super().choose(context, tree, logits, choice)

    def read(
        self, tree: Tree, chosen: Tensor, last: Tensor, wanted: Tensor | None
    ) -> tuple[list[int], list[int], list[float]]:
        with self._clock.phase("choose"):
            return super().read(tree, chosen, last, wanted)

    def commit(self, path: list[int]) -> None:
        with self._clock.phase("commit"):
            super().commit(path)
        self._clock.end_prefill()
