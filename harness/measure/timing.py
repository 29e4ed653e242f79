"""Timing an answer: a clock around its prefill and its decode phase, and none inside a step."""

import sys
import time
from dataclasses import dataclass, field

import torch

from harness.decoder import Decoder, EmittingDecoder, Request, StepRecord
from harness.engine.graphs import Graphs
from harness.errors import HarnessError
from harness.measure.machine import Disturbance

MOST_RUNS = 8  # of one request, until nothing is left to compile


@dataclass(frozen=True, slots=True)
class TimedRun:
    """Step records of one request and the seconds of its two phases, monotonic clock.

    ``disturbance``: what other processes took of the cores meanwhile.
    """

    records: list[StepRecord]
    prefill_seconds: float
    decode_seconds: float
    disturbance: dict[str, float] = field(default_factory=dict)

    @property
    def tokens(self) -> list[int]:
        """All committed token ids."""
        return [token for record in self.records for token in record.tokens]

    def stop_reason(self, request: Request) -> str:
        """``stop`` after a stop id, ``cap`` at the cap; anything else is a decoder's fault."""
        tokens = self.tokens
        if tokens and tokens[-1] in request.stop_ids:
            return "stop"
        if len(tokens) == request.max_new_tokens:
            return "cap"
        raise HarnessError(
            f"decoder ended after {len(tokens)} tokens without a stop id; expected one of "
            f"{sorted(request.stop_ids)} or {request.max_new_tokens} tokens"
        )


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished; the host clock is meaningless before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_timed(decoder: Decoder, request: Request, device: torch.device) -> TimedRun:
    """Decode once, and again as long as steps were compiled or captured meanwhile.

    The device is synchronised at phase ends only, never inside a step.
    """
    for _ in range(MOST_RUNS):
        before = _graphs_made()
        run = _timed(decoder, request, device)
        if _graphs_made() == before:
            return run
    raise HarnessError(f"steps are still compiled or captured in run {MOST_RUNS} of one request")


def _graphs_made() -> int:
    """Graphs that this process has compiled, and captured on a GPU, so far."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None:  # nothing has loaded the compiler
        return Graphs.captured
    recorded: int = dynamo.counters["inductor"]["cudagraph_recorded_non_static_inputs"]
    return Graphs.captured + recorded + int(dynamo.counters["stats"]["unique_graphs"])


def _timed(decoder: Decoder, request: Request, device: torch.device) -> TimedRun:
    records: list[StepRecord] = []
    first_token_at = 0.0

    def emit(record: StepRecord) -> None:
        nonlocal first_token_at
        records.append(record)
        if len(records) == 1:
            synchronise(device)
            first_token_at = time.perf_counter()

    disturbance = Disturbance()
    synchronise(device)
    started = time.perf_counter()
    decoder.decode(request, emit)
    synchronise(device)
    ended = time.perf_counter()
    first = len(records[0].tokens) if records else 0
    # A foreign decoder may draft before its first forward; ours never do.
    if first != 1 and not (first and isinstance(decoder, EmittingDecoder)):
        raise HarnessError(f"decoder's first record carries {first} tokens, expected exactly 1")
    prefill, decode = first_token_at - started, ended - first_token_at
    return TimedRun(records, prefill, decode, disturbance.seconds())
