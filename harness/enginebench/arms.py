"""The decode loops that the engine benchmark compares."""

import torch
from torch._dynamo.utils import counters
from transformers import CompileConfig

from harness.decoder import Decoder, Request, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.enginebench.record import FirpStep
from methods.firp.drafter import PASSES, FirpDrafter, MapProducts
from methods.firp.projections import Layout, Projections
from methods.hf.generate import HfGenerate
from methods.shared.trees import StaticTree

STEPS = 3
# With the root 9 nodes: seven of the eight drafts are, or follow, the two best first tokens.
PATHS = ((0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1))
COMPILED = ("hf_compiled", "autoregressive_compiled", "firp_combined_compiled")
GRAPHS = ("autoregressive_graphs", "firp_combined_graphs")


def engine_arms(target: Target) -> dict[str, Decoder]:
    """Autoregressive decoding, and FIRP with combined and with two-pass forwards.

    FIRP's projections are random: its steps cost what trained ones do, and accept next to nothing.
    """
    arms: dict[str, Decoder] = {"autoregressive": EngineDecoder(target, Drafter())}
    if len(target.layers) > 1:
        arms |= {f"firp_{passes}": _firp(target, passes) for passes in PASSES}
    return arms


def _firp(target: Target, passes: str) -> Decoder:
    maps = MapProducts(_random_projections(target), target)
    return EngineDecoder(target, FirpDrafter(maps, StaticTree(PATHS), passes))


def firp_facts(target: Target) -> FirpStep:
    """The size of FIRP's steps: tree, pseudo rows and their entry layer."""
    return {
        "nodes": 1 + len(PATHS),
        "steps": STEPS,
        "entry_layer": len(target.layers) // 2,
        "projections": "random: the cost of a step, not its acceptance",
    }


def generate_arms(target: Target) -> dict[str, Decoder]:
    """transformers' generate with its default cache, and with a static one."""
    static = {"cache_implementation": "static", "disable_compile": True}
    return {"hf_dynamic": HfGenerate(target, {}), "hf_static": HfGenerate(target, static)}


def compiled_arms(target: Target, slots: int) -> dict[str, Decoder]:
    """Arms that torch.compile runs: generate with a static cache, and on CUDA the engine's steps.

    The engine's have an arena of their own of ``slots`` slots, since what is compiled is compiled
    for the size of one arena.
    """
    static = {"cache_implementation": "static", "compile_config": _compile_config()}
    arms: list[Decoder] = [HfGenerate(target, static)]
    if target.device.type == "cuda":
        compiled = in_arena_of_its_own(target, "compiled", slots)
        arms.append(EngineDecoder(compiled, Drafter()))
        if len(target.layers) > 1:
            arms.append(_firp(compiled, "combined"))
    return dict(zip(COMPILED, arms, strict=False))


def graph_arms(target: Target, slots: int) -> dict[str, Decoder]:
    """The engine's own steps captured as CUDA graphs; no arms on other devices."""
    if target.device.type != "cuda":
        return {}
    captured = in_arena_of_its_own(target, "graphs", slots)
    arms: list[Decoder] = [EngineDecoder(captured, Drafter())]
    if len(target.layers) > 1:
        arms.append(_firp(captured, "combined"))
    return dict(zip(GRAPHS, arms, strict=False))


def in_arena_of_its_own(target: Target, execution: str, slots: int) -> Target:
    """Another target of the same model, with its own arena of ``slots`` slots and ``execution``."""
    other = Target(target.model, execution=execution)
    other.begin(slots)
    return other


def why_not_compiled(decoder: Decoder, request: Request) -> str | None:
    """Compile for ``request``, untimed; returns the reason where that fails, else None.

    Call ``torch.compiler.reset()`` first: where earlier code can be used again, nothing compiles.
    """
    counters.clear()
    try:
        for _ in range(2):
            collect(decoder, request)
    except Exception as error:  # compilers fail in their own ways
        return f"{type(error).__name__}: {' '.join(str(error).split()):.160}"
    return None if counters["stats"]["unique_graphs"] else "it ran without compiling"


def _compile_config() -> CompileConfig:
    """transformers' defaults, applied on CPUs too, where generate does not compile by itself."""
    config = CompileConfig()
    config._compile_all_devices = True
    return config


def _random_projections(target: Target) -> Projections:
    layout = Layout((len(target.layers) // 2,) * STEPS)
    with torch.device(target.device), torch.no_grad():
        maps = Projections(layout, target.hidden_size)
        for parameter in maps.parameters():
            parameter.normal_(std=target.hidden_size**-0.5)
    return maps
