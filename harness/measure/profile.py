"""Where a drafter's time goes, in a pass of its own: reading a clock inside steps costs time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.decoder import Decoder, Request
from harness.engine.drafter import Context, Drafter, ExtraRows, Outcome
from harness.engine.loop import EngineDecoder
from harness.engine.tree import Tree
from harness.measure.timing import TimedRun, run_timed, synchronise


class Stopwatch(Drafter):
    """Counts the decode-phase seconds of a drafter: all that is between two verify forwards.

    Rows that ride along in a verify forward are part of that forward, not of these seconds.
    """

    def __init__(self, drafter: Drafter, device: torch.device) -> None:
        self._drafter, self._device = drafter, device
        self._in_prefill = True
        self.needs = drafter.needs
        self.seconds = 0.0

    def extra_bytes(self) -> int:
        return self._drafter.extra_bytes()

    def begin(self, context: Context) -> None:
        self._in_prefill = True
        self._drafter.begin(context)

    def extra_rows(self, tree: Tree) -> ExtraRows | None:
        if self._in_prefill:  # the first forward gives the prefill's token
            self._in_prefill = False
            return self._drafter.extra_rows(tree)
        with self._running():
            return self._drafter.extra_rows(tree)

    def observe(self, context: Context, outcome: Outcome) -> None:
        with self._running():
            self._drafter.observe(context, outcome)

    def draft(self, context: Context) -> Tree:
        with self._running():
            return self._drafter.draft(context)

    @contextmanager
    def _running(self) -> Iterator[None]:
        synchronise(self._device)
        started = time.perf_counter()
        yield
        synchronise(self._device)
        self.seconds += time.perf_counter() - started


def run_watched(
    decoder: Decoder, request: Request, device: torch.device
) -> tuple[TimedRun, float | None]:
    """Decode with a stopwatch around the drafter: (run, drafting seconds).

    The seconds are None for a decoder outside the engine, which has no drafter to look at.
    """
    if not isinstance(decoder, EngineDecoder):
        return run_timed(decoder, request, device), None
    watch = Stopwatch(decoder.drafter, device)
    decoder.drafter, drafter = watch, decoder.drafter
    run = run_timed(decoder, request, device)
    decoder.drafter = drafter
    return run, watch.seconds
