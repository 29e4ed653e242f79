"""The engine benchmark: what steps cost, beside the device's bandwidth and beside generate."""

import random
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

import torch
from tqdm import tqdm

from harness.decoder import Decoder, Request
from harness.engine.target import Target
from harness.engine.weights import library
from harness.enginebench.arms import (
    COMPILED,
    compiled_arms,
    engine_arms,
    firp_facts,
    generate_arms,
    graph_arms,
    in_arena_of_its_own,
    why_not_compiled,
)
from harness.enginebench.bandwidth import BUFFER, copy_rates, weight_bytes
from harness.enginebench.record import (
    Copies,
    Decodes,
    Forward,
    GridFacts,
    Products,
    Record,
    TargetFacts,
)
from harness.enginebench.rounds import Grid, operations, product_seconds, time_rounds
from harness.enginebench.shapes import find_shape, random_target
from harness.enginebench.show import show_engine
from harness.enginebench.tables import write_engine_tables
from harness.errors import HarnessError
from harness.files import write_json
from harness.measure.cost import VerifyForward, sample
from harness.measure.machine import (
    Disturbance,
    commit,
    device_state,
    machine,
    packages,
    source_hash,
)
from harness.models import ModelSpec, load_target

MEASURED = "engine.json"
ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Subject:
    """The target that is timed, its name, and where its weights come from."""

    name: str
    target: Target
    weights: str
    dtype: str


def random_subject(shape: str, layers: int | None, dtype: str, device: str) -> Subject:
    """A target of a published size with random weights, of only ``layers`` layers if given."""
    sizes = find_shape(shape)
    name = shape if layers is None else f"{shape}-{layers}-layers"
    if layers is not None:
        if not 1 <= layers <= sizes.layers:
            raise HarnessError(f"layers: {layers}, expected 1 to {sizes.layers} of '{shape}'")
        sizes = replace(sizes, layers=layers)
    return Subject(name, random_target(sizes, dtype, device), "random, seed 0", dtype)


def model_subject(spec: ModelSpec) -> Subject:
    """A model from a local folder."""
    target = load_target(spec)
    name = Path(spec.where).resolve().name
    kind = "" if spec.weights == "full" else f"{spec.weights}, "
    return Subject(name, target, f"{kind}sha256 {target.weights_hash}", spec.dtype)


def bench_engine(subject: Subject, grid: Grid, out: Path, *, compiled: bool) -> None:
    """Measure; write ``engine.json`` to ``out``, with the tables and the figure made from it."""
    measured = measure(subject, grid, compiled)
    write_json(out / MEASURED, measured)
    write_engine_tables(measured, out)
    print(show_engine(measured, out))


def measure(subject: Subject, grid: Grid, compiled: bool) -> Record:
    """All samples that were timed, in seconds, and the target and machine that they are of."""
    target = subject.target
    _check_context(target, grid)
    target.begin(grid.slots)  # once: the first arm would be charged for growth inside a decode
    facts = _facts(subject)
    before = copy_rates(target.device)
    disturbance = Disturbance()
    ways = _ways(target, grid)
    forwards = _forwards(ways, grid)
    products = _products(target, grid)
    disturbed = disturbance.seconds()  # before compilers run in other processes
    decodes, left_out = _decodes(target, grid, compiled)
    rates = before + copy_rates(target.device)
    copied: Copies = {"buffer": BUFFER[target.device.type], "rate": median(rates), "rates": rates}
    return {
        **facts,
        "grid": cast(GridFacts, asdict(grid)),
        "copy": copied,  # bytes, bytes per second
        "forwards": forwards.pop(ENGINE),
        "other_forwards": forwards,
        "products": products,
        "operations": {name: operations(forward) for name, forward in ways.items()},
        "decodes": decodes,
        "left_out": left_out,
        "disturbance": disturbed,
        "state_after": device_state(target.device),
    }


def _facts(subject: Subject) -> TargetFacts:
    target = subject.target
    return {
        "name": subject.name,
        "weights": subject.weights,
        "dtype": subject.dtype,
        "attention": target.config._attn_implementation,
        "layers": len(target.layers),
        "hidden_size": target.hidden_size,
        "vocabulary": target.config.vocab_size,
        "parameters": target.model.num_parameters(),
        "bytes": {
            "weights": weight_bytes(target.model),
            "per_token": target.arena.bytes_per_slot,
        },
        "firp": firp_facts(target) if len(target.layers) > 1 else None,
        "machine": machine(target.devices, target.product_kind),
        "packages": packages() | library(target.weights),
        "commit": commit(),
        "sources": source_hash(),
        "state_before": device_state(target.device),
    }


def _ways(target: Target, grid: Grid) -> dict[str, VerifyForward]:
    """Verify forwards by the way they run: the engine's, stock layers, and on CUDA graphs."""
    targets = {ENGINE: target}
    if target.why_stock is None:
        targets["stock"] = Target(target.model, layers="stock")
    if target.device.type == "cuda":
        targets["graphs"] = in_arena_of_its_own(target, "graphs", grid.slots)
    text = _text(target, max(grid.contexts) + 1)
    return {way: VerifyForward(variant, text, max(grid.rows)) for way, variant in targets.items()}


def _forwards(ways: dict[str, VerifyForward], grid: Grid) -> dict[str, list[Forward]]:
    """Times of verify forwards with their head, as the decode loop runs them, by their way."""
    cells = [(way, (r, c)) for way in ways for r in grid.rows for c in grid.contexts]
    times = sample(lambda cell: ways[cell[0]].seconds(cell[1]), cells, grid.repeats)
    forwards: dict[str, list[Forward]] = {way: [] for way in ways}
    for (way, (rows, context)), seconds in times.items():
        forwards[way].append({"rows": rows, "context": context, "seconds": seconds})
    return forwards


def _products(target: Target, grid: Grid) -> list[Products]:
    """Times of the products of all layers and the head alone, on rows that are there already."""
    if target.why_stock is not None:
        return []
    samples = sample(partial(product_seconds, target), grid.rows, grid.repeats)
    return [{"rows": rows, "seconds": seconds} for rows, seconds in samples.items()]


def _decodes(target: Target, grid: Grid, compiled: bool) -> tuple[list[Decodes], dict[str, str]]:
    """Rounds of every arm by context, shortest first; and the arms left out, with the reason."""
    fast = compiled_arms(target, grid.slots) if compiled else {}
    arms = engine_arms(target) | generate_arms(target) | graph_arms(target, grid.slots) | fast
    left_out = {} if compiled else dict.fromkeys(COMPILED, "not asked for")
    lines: list[Decodes] = []
    for context in tqdm(grid.contexts, desc="decode", unit="context"):
        request = Request(tuple(_text(target, context)), grid.tokens, frozenset())
        # Code compiled for other lengths is dropped: users compile for the length they have.
        torch.compiler.reset()
        left_out |= _uncompiled({n: a for n, a in fast.items() if n not in left_out}, request)
        present = {name: arm for name, arm in arms.items() if name not in left_out}
        timed = time_rounds(present, request, grid.rounds, target.device)
        for name, rounds in timed.items():
            lines.append({"arm": name, "context": context, "rounds": rounds})
    return lines, left_out


def _uncompiled(arms: dict[str, Decoder], request: Request) -> dict[str, str]:
    """The arms that cannot be compiled, each with the reason."""
    reasons = {name: why_not_compiled(arm, request) for name, arm in arms.items()}
    at = f"context {len(request.prompt_ids)}"
    return {name: f"{at}: {reason}" for name, reason in reasons.items() if reason}


def _text(target: Target, length: int) -> list[int]:
    """Random token ids; a shorter text is the beginning of a longer one."""
    rng = random.Random(0)
    return [rng.randrange(target.config.vocab_size) for _ in range(length)]


def _check_context(target: Target, grid: Grid) -> None:
    limit = getattr(target.config, "max_position_embeddings", None)
    longest = max(grid.contexts) + max(*grid.rows, grid.tokens)
    if limit is not None and longest > limit:
        raise HarnessError(
            f"contexts: {max(grid.contexts)} and {longest - max(grid.contexts)} rows or tokens "
            f"behind it, expected at most the model's context of {limit} together"
        )
