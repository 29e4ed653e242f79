"""Forwards of static shape, eager and traced, give what forwards of exact shape give."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from harness.decoder import Request, collect
from harness.engine import masks
from harness.engine.drafter import Context, Drafter, Outcome
from harness.engine.loop import EngineDecoder
from harness.engine.target import BUCKET, Target
from methods.firp.drafter import FirpDrafter, MapProducts
from methods.firp.projections import Layout
from methods.shared.trees import StaticTree
from tests.methods.drafters import ENGINE_METHODS, PATHS, drafter
from tests.methods.test_firp_drafts import projections
from tests.models import ARCHITECTURES, VOCAB, tiny_model

# The answer begins in one bucket of the context and ends in the next.
PROMPT = tuple((11 * (i % 7) + i // 20 + 3) % VOCAB for i in range(BUCKET - 45))
REQUEST = Request(PROMPT, 60, frozenset())
LAYOUTS = {"equal": Layout((2, 2, 2)), "staggered": Layout((1, 2, 3))}


def target(name: str, execution: str = "static") -> Target:
    return Target(tiny_model(name), execution=execution)


def answer(engine: Target, method: str | None) -> list[int]:
    used = drafter(method, engine) if method else Drafter()
    return collect(EngineDecoder(engine, used), REQUEST)[0]


@pytest.mark.parametrize("method", [None, *ENGINE_METHODS])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_answer_is_that_of_exact_shapes(name: str, method: str | None) -> None:
    assert answer(target(name), method) == answer(target(name, "eager"), None)


class Watched(FirpDrafter):
    """Keeps the pseudo logits and the accepted path of every step."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.seen: list[tuple[Tensor, list[int]]] = []

    def observe(self, context: Context, outcome: Outcome) -> None:
        super().observe(context, outcome)
        self.seen.append((self.pseudo_logits.clone(), outcome.path))


@pytest.mark.parametrize("passes", ["combined", "two_pass"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_firp_s_drafts_are_those_of_exact_shapes(name: str, layout: str, passes: str) -> None:
    seen = {}
    for execution in ("eager", "static"):
        engine, maps = target(name, execution), projections(LAYOUTS[layout])
        watched = Watched(MapProducts(maps, engine), StaticTree(PATHS), passes)
        collect(EngineDecoder(engine, watched), REQUEST)
        seen[execution] = watched.seen
    for (logits, path), (expected, wanted) in zip(*seen.values(), strict=True):
        assert path == wanted
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def _spans(engine: Target, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of slots that attention was given, the prefill's left out."""
    found: list[int] = []
    update = engine.arena.update

    def watched(*args, **kwargs):  # type: ignore[no-untyped-def]
        given = update(*args, **kwargs)
        found.append(given[0].shape[2])
        return given

    monkeypatch.setattr(engine.arena, "update", watched)
    answer(engine, None)
    return found[len(engine.layers) :]


def test_shapes_follow_the_length_in_buckets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(_spans(target("llama"), monkeypatch)) == {BUCKET, 2 * BUCKET}
    assert len(set(_spans(target("llama", "eager"), monkeypatch))) == 60, "control"


def _behind_garbage(engine: Target) -> list[int]:
    answer(engine, None)
    with torch.inference_mode():
        engine.arena.stores[engine.device].normal_(std=5.0)
    return answer(engine, None)


def test_what_stands_behind_the_rows_is_hidden() -> None:
    assert _behind_garbage(target("llama")) == answer(target("llama", "eager"), None)


def test_control_slots_behind_the_rows_that_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    full = torch.full
    shown = lambda shape, _, **kwargs: full(shape, 0.0, **kwargs)  # noqa: E731
    monkeypatch.setattr(masks.torch, "full", shown)
    assert _behind_garbage(target("llama")) != answer(target("llama", "eager"), None)


# One row in either of two buckets; or the root in the first and a tree in both, each of these in
# the three pieces that maps at layers 1 and 2 make.
@pytest.mark.parametrize(("method", "graphs"), [(None, 2), ("medusa", 3), ("firp", 9)])
def test_steps_are_traced_whole_and_once_for_a_shape(
    method: str | None, graphs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced as for the compiler, and run as traced: fast, and the compiler is not ours to test.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch.compiler.reset()
    counters.clear()
    engine = target("qwen3", "compiled")
    assert answer(engine, method) == answer(target("qwen3", "eager"), None)
    traced = counters["stats"]["unique_graphs"]
    assert traced == graphs
    answer(engine, method)
    assert counters["stats"]["unique_graphs"] == traced, "nothing is traced again"
