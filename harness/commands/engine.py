"""Time the engine by itself, beside memory bandwidth and transformers' ``generate``."""

import argparse
from dataclasses import replace
from pathlib import Path

from harness.commands.options import Argument, use_threads
from harness.enginebench.command import bench_engine, model_subject, random_subject
from harness.enginebench.rounds import Grid
from harness.errors import HarnessError
from harness.models import ModelSpec


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--shape", help="tiny, 135m, small, medium, 7b or 13b: random weights")
    add("--layers", type=int, help="of a shape, all by default")
    add("--model", type=Path, help="a model's folder instead of a shape")
    add("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    add("--device", default="cpu")
    add("--attention", default="sdpa", choices=("sdpa", "eager"), help="of a model")
    add("--weights", default="full", choices=("full", "int8", "nf4"), help="of a model")
    add("--device-map", choices=("auto", "balanced", "sequential"), help="of a model")
    add("--rows", default="1,2,4,8,16,32,64,128", help="of the forwards")
    add("--contexts", default="128,512,2048", help="tokens in the cache")
    add("--repeats", default=15, type=int, help="timings of each forward")
    add("--rounds", default=5, type=int, help="decodes of each arm at each context")
    add("--tokens", default=32, type=int, help="committed by each decode")
    add("--no-compile", action="store_true", help="leave out compiled generate")
    add("--out", required=True, type=Path, help="folder of what is measured")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    if (options.shape is None) == (options.model is None):
        raise HarnessError("engine: expected exactly one of --shape and --model")
    if options.model is not None and options.layers is not None:
        raise HarnessError(f"layers: {options.layers} of a model, expected --layers with --shape")
    for name in ("weights", "device_map"):
        value = getattr(options, name)
        if options.shape is not None and value not in ("full", None):
            raise HarnessError(f"{name}: {value} of a shape, expected it with --model")
    grid = Grid(
        rows=_numbers(options.rows, "--rows"),
        contexts=_numbers(options.contexts, "--contexts"),
        repeats=options.repeats,
        rounds=options.rounds,
        tokens=options.tokens,
    )
    use_threads(options.threads)
    where = (options.dtype, options.device)
    if options.model is None:
        subject = random_subject(options.shape, options.layers, *where)
    else:
        spec = ModelSpec(path=str(options.model), dtype=options.dtype, device=options.device)
        loading = {name: getattr(options, name) for name in ("attention", "weights", "device_map")}
        subject = model_subject(replace(spec, **loading))
    bench_engine(subject, grid, options.out, compiled=not options.no_compile)


def _numbers(text: str, what: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise HarnessError(f"{what}: '{text}', expected numbers with commas between") from None
