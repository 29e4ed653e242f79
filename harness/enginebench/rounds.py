"""Timing whole decode loops, in the engine and outside it, by the tokens in the cache."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.decoder import Decoder, Request, collect
from harness.engine.target import SPARE_ROWS, Target
from harness.enginebench.record import Round
from harness.errors import HarnessError
from harness.measure.cost import VerifyForward
from harness.measure.timing import TimedRun, run_timed, synchronise


@dataclass(frozen=True, slots=True)
class Grid:
    """What is timed: forwards of ``rows`` rows behind ``contexts`` tokens, and decodes from there.

    Each forward is timed ``repeats`` times, each decode in ``rounds`` rounds of ``tokens`` tokens.
    """

    rows: tuple[int, ...]
    contexts: tuple[int, ...]
    repeats: int = 15
    rounds: int = 5
    tokens: int = 32

    def __post_init__(self) -> None:
        for name, values in (("rows", self.rows), ("contexts", self.contexts)):
            if not values or min(values) < 1 or list(values) != sorted(set(values)):
                raise HarnessError(
                    f"engine {name}: {list(values)}, expected ascending numbers from 1"
                )
        if max(self.rows) > SPARE_ROWS:
            raise HarnessError(f"engine rows: {max(self.rows)}, expected at most {SPARE_ROWS}")
        for name, value, least in (("rounds", self.rounds, 1), ("tokens", self.tokens, 3)):
            if value < least:
                raise HarnessError(f"engine {name}: {value}, expected at least {least}")
        if self.repeats < 1:
            raise HarnessError(f"engine repeats: {self.repeats}, expected at least 1")

    @property
    def slots(self) -> int:
        """Slots of the arena that every forward and decode fits into."""
        return max(self.contexts) + self.tokens + SPARE_ROWS


def product_seconds(target: Target, rows: int) -> float:
    """Seconds of the products of all fused layers and the head, one after the other, on ``rows``
    rows: the least that a forward costs.
    """
    products = target.all_products
    widths = {product.weight.shape[1] for product in products}
    inputs = {w: torch.randn(1, rows, w, dtype=target.dtype, device=target.device) for w in widths}
    with torch.inference_mode():
        synchronise(target.device)
        started = time.perf_counter()
        for product in products:
            product(inputs[product.weight.shape[1]])
        synchronise(target.device)
        return time.perf_counter() - started


def operations(forward: VerifyForward) -> float:
    """torch operations per layer that Python calls in a forward of one row, views included."""
    with _Counted() as counted:
        forward.seconds((1, 1))
    return counted.calls / 2 / len(forward.target.layers)  # ``seconds`` runs the forward twice


class _Counted(TorchDispatchMode):
    """Counts the operations that are dispatched while it is active."""

    calls = 0

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return function(*args, **(kwargs or {}))


def time_rounds(
    decoders: Mapping[str, Decoder], request: Request, rounds: int, device: torch.device
) -> dict[str, list[Round]]:
    """``rounds`` decodes of each; every round decodes with all of them, in a random order."""
    rng = random.Random(len(request.prompt_ids))
    timed: dict[str, list[Round]] = {name: [] for name in decoders}
    for decoder in decoders.values():
        collect(decoder, request)  # warm-up of masks and allocators
    for _ in range(rounds):
        for name in rng.sample(list(decoders), len(decoders)):
            run = run_timed(decoders[name], request, device)
            timed[name].append(as_round(run, len(request.prompt_ids)))
    return timed


def as_round(run: TimedRun, prompt: int) -> Round:
    """The decode phase of a run behind ``prompt`` tokens. A step's root is not in the cache yet."""
    counts = [len(record.tokens) for record in run.records]
    cached = [prompt - 1 + done for done in accumulate(counts[:-1])]
    return {
        "seconds": run.decode_seconds,
        "steps": len(cached),
        "tokens": sum(counts[1:]),
        "committed": mean(cached),
    }
