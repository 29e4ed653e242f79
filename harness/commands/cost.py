"""Time the target's verify forward by rows and context, once for all methods."""

import argparse
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from harness.commands.options import Argument, parse_caps, parse_spec, use_threads
from harness.decoder import Request
from harness.engine.target import Target
from harness.enginebench.bandwidth import copy_rates, weight_bytes
from harness.errors import HarnessError
from harness.files import write_csv
from harness.measure.cost import ROWS, VerifyForward, time_forwards
from harness.measure.machine import fingerprint, machine
from harness.measure.prepare import tune_requests
from harness.models import ModelSpec, load_target

COLUMNS = (
    *("rows", "context", "seconds", "repeats", "layers", "weight_bytes", "token_bytes"),
    *("copy_rate", "fingerprint"),
)
CONTEXTS, REPEATS = 4, 15


def write_cost(spec: ModelSpec, prompts: Sequence[Path], caps: dict[str, int], out: Path) -> None:
    """Write one line per number of rows and context: median seconds of a verify forward.

    Contexts span the lengths that the tune prompts and their answers reach. ``layers`` is the
    target's number of layers: rows that enter in the middle of the stack cost only the layers
    above. ``copy_rate`` is the copy speed of the device in bytes per second, to compare with what
    a forward reads: ``weight_bytes``, and ``token_bytes`` for each token in the cache.
    """
    target = load_target(spec)
    requests = tune_requests(spec, target, prompts, caps)
    contexts = _contexts(requests, _longest(target))
    text = itertools.cycle(itertools.chain.from_iterable(r.prompt_ids for r in requests))
    forward = VerifyForward(target, list(itertools.islice(text, contexts[-1] + 1)))
    medians = time_forwards(forward, contexts, REPEATS)
    rate = statistics.median(copy_rates(target.device))
    reads = (weight_bytes(target.model), target.arena.bytes_per_slot, round(rate))
    machine_hash = fingerprint(machine(target.devices, target.product_kind))
    constants = (REPEATS, len(target.layers), *reads, machine_hash)
    lines = ([*cell, seconds, *constants] for cell, seconds in medians.items())
    write_csv(out, COLUMNS, lines)


def _longest(target: Target) -> int | None:
    """The longest context that leaves room for the widest forward; None without a limit."""
    limit = getattr(target.config, "max_position_embeddings", None)
    return None if limit is None else limit - max(ROWS)


def _contexts(requests: Sequence[Request], longest: int | None) -> list[int]:
    """Even steps from the shortest prompt to the longest answer's end, each without the root."""
    if not requests:
        raise HarnessError("cost: no prompts, expected at least one")
    first = min(len(r.prompt_ids) for r in requests) - 1
    last = max(len(r.prompt_ids) + r.max_new_tokens for r in requests) - 1
    if longest is not None:
        first, last = (max(1, min(end, longest)) for end in (first, last))
    spread = range(CONTEXTS)
    return sorted({first + (last - first) * place // (CONTEXTS - 1) for place in spread})


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True, type=parse_caps, help="JSON: dataset -> new tokens at most")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    write_cost(options.model, options.prompts, options.caps, options.out)
