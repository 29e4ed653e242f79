"""The decode loops that the engine benchmark sets beside each other."""

import torch
from torch._dynamo.utils import counters
from transformers import CompileConfig

from harness.decoder import Decoder, Request, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.enginebench.record import FirpStep
from methods.firp.drafter import PASSES, FirpDrafter
from methods.firp.projections import Layout, Projections
from methods.hf.generate import HfGenerate
from methods.shared.trees import StaticTree

STEPS = 3
# With the root 9 nodes: two thirds of a tree of depth 3 lie on the two best first tokens.
PATHS = ((0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1))
COMPILED = ("hf_compiled", "autoregressive_compiled", "firp_combined_compiled")
GRAPHS = ("autoregressive_graphs", "firp_combined_graphs")


def engine_arms(target: Target) -> dict[str, Decoder]:
    """Autoregressive decoding and FIRP's two passes.

    FIRP's projections are random: its steps cost what trained ones do, and accept next to nothing.
    """
    arms: dict[str, Decoder] = {"autoregressive": EngineDecoder(target, Drafter())}
    if len(target.layers) > 1:
        arms |= {f"firp_{passes}": _firp(target, passes) for passes in PASSES}
    return arms


def _firp(target: Target, passes: str) -> Decoder:
    maps = _random_projections(target)
    return EngineDecoder(target, FirpDrafter(target, maps, StaticTree(PATHS), passes))


def firp_facts(target: Target) -> FirpStep:
    """What FIRP's steps are made of."""
    return {
        "nodes": 1 + len(PATHS),
        "steps": STEPS,
        "entry_layer": len(target.layers) // 2,
        "projections": "random: the cost of a step, not its acceptance",
    }


def generate_arms(target: Target) -> dict[str, Decoder]:
    """transformers' generate: its default cache, and the static one."""
    static = {"cache_implementation": "static", "disable_compile": True}
    return {"hf_dynamic": HfGenerate(target, {}), "hf_static": HfGenerate(target, static)}


def compiled_arms(target: Target, slots: int) -> dict[str, Decoder]:
    """By torch.compile: generate with a static cache, and on CUDA the engine's own steps.

    ``slots`` of an arena of their own: what is compiled for one is so for its size.
    """
    static = {"cache_implementation": "static", "compile_config": _compile_config()}
    arms: list[Decoder] = [HfGenerate(target, static)]
    if target.device.type == "cuda":
        ours = in_arena_of_its_own(target, "compiled", slots)
        arms.append(EngineDecoder(ours, Drafter()))
        if len(target.layers) > 1:
            arms.append(_firp(ours, "combined"))
    return dict(zip(COMPILED, arms, strict=False))


def graph_arms(target: Target, slots: int) -> dict[str, Decoder]:
    """The engine's own steps captured as CUDA graphs; none elsewhere."""
    if target.device.type != "cuda":
        return {}
    ours = in_arena_of_its_own(target, "graphs", slots)
    arms: list[Decoder] = [EngineDecoder(ours, Drafter())]
    if len(target.layers) > 1:
        arms.append(_firp(ours, "combined"))
    return dict(zip(GRAPHS, arms, strict=False))


def in_arena_of_its_own(target: Target, execution: str, slots: int) -> Target:
    """The same model, run in another way."""
    ours = Target(target.model, execution=execution)
    ours.begin(slots)
    return ours


def why_not_compiled(decoder: Decoder, request: Request) -> str | None:
    """Compile for ``request``; the reason where that fails, else None. Nothing is timed.

    What was compiled before has to be forgotten, or nothing is left to do.
    """
    counters.clear()
    try:
        for _ in range(2):
            collect(decoder, request)
    except Exception as error:  # compilers fail in their own ways
        return f"{type(error).__name__}: {' '.join(str(error).split()):.160}"
    return None if counters["stats"]["unique_graphs"] else "it ran without compiling"


def _compile_config() -> CompileConfig:
    """transformers' defaults, on CPUs too, where it does not compile unless told to."""
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
