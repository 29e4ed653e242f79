"""A draft model's drafts are its own greedy text, whatever of its cache was thrown away."""

import json
from pathlib import Path

import pytest
import torch

from harness.decoder import Request, collect
from harness.engine.drafter import Context, Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree
from harness.experiment.arms import parse_arm
from methods import draft_model
from methods.draft_model import ModelDrafter
from tests.methods.drafters import noisy_copy
from tests.models import VOCAB, tiny_model

PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))


class Watched(ModelDrafter):
    """Keeps the text and the drafts of every step."""

    def __init__(self, model: Target, drafts: int) -> None:
        super().__init__(model, drafts)
        self.seen: list[tuple[list[int], list[int]]] = []

    def draft(self, context: Context) -> Tree:
        tree = super().draft(context)
        self.seen.append((list(context.tokens), tree.tokens[1:]))
        return tree


def watched(name: str, execution: str = "eager") -> Watched:
    target = Target(tiny_model(name), execution=execution)
    drafter = Watched(Target(noisy_copy(target).model, execution=execution), 4)
    _, records = collect(EngineDecoder(target, drafter), Request(PROMPT, 60, frozenset()))
    lengths = {len(record.path) for record in records[1:-1]}
    assert len(lengths) > 2, "drafts are accepted in part"
    return drafter


@torch.no_grad()
def wrong(drafter: Watched) -> int:
    """Steps whose drafts are not the model's own greedy text."""
    found = 0
    for text, drafts in drafter.seen:
        ids = list(text)
        for _ in drafts:
            logits = drafter._model.model(input_ids=torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax()))
        found += ids[len(text) :] != drafts
    return found


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2"])
def test_drafts_are_the_model_s_own_greedy_text(name: str) -> None:
    drafter = watched(name)
    assert len(drafter.seen) > 10
    assert wrong(drafter) == 0


def test_it_runs_as_its_target_does(monkeypatch: pytest.MonkeyPatch) -> None:
    drafter = watched("llama", "static")
    assert len(drafter.seen) > 10
    assert wrong(drafter) == 0
    monkeypatch.setattr(draft_model, "load_assistant", lambda target, folder: target.model)
    for execution, layers in (("eager", "stock"), ("eager", "fused"), ("static", "fused")):
        target = Target(tiny_model("llama"), execution=execution, layers=layers)
        own = draft_model._draft_model(target, Path())
        assert own.execution == execution
        assert (own.why_stock == "asked for") == (layers == "stock")


@pytest.mark.parametrize(("context", "drafted_to"), [(None, 9 + 20 - 1), (16, 17), (9, 0), (4, 0)])
def test_beyond_the_draft_model_s_context_nothing_is_drafted(
    monkeypatch: pytest.MonkeyPatch, context: int | None, drafted_to: int
) -> None:
    """``drafted_to``: the end of the last draft; the prompt has 9 tokens, the first is not drafted
    for."""
    target, positions = Target(tiny_model("llama")), []
    small = Target(tiny_model("llama"))
    drafter = ModelDrafter(small, 4)
    monkeypatch.setattr(drafter, "_longest", context)
    draft = drafter.draft

    def noted(state: Context) -> Tree:
        tree = draft(state)
        positions.append((len(state.tokens), len(tree.tokens) - 1))
        return tree

    monkeypatch.setattr(drafter, "draft", noted)
    answer, _ = collect(EngineDecoder(target, drafter), Request(PROMPT, 20, frozenset()))
    plain, _ = collect(EngineDecoder(target, Drafter()), Request(PROMPT, 20, frozenset()))
    assert answer == plain
    ends = [length + drafts for length, drafts in positions if drafts]
    assert max(ends, default=0) == drafted_to


def test_control_a_cache_of_another_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if rejected drafts were left in it: the last token that it had run was another one."""
    run = ModelDrafter._next

    def misled(self: ModelDrafter, ids: torch.Tensor) -> torch.Tensor:
        if len(ids) > 1:
            ids = torch.cat([(ids[:1] + 1) % VOCAB, ids[1:]])
        return run(self, ids)

    monkeypatch.setattr(ModelDrafter, "_next", misled)
    assert wrong(watched("llama")) > 0


def test_a_model_like_the_target_is_always_right() -> None:
    target = Target(tiny_model("llama"))
    drafter = ModelDrafter(Target(tiny_model("llama")), 4)
    _, records = collect(EngineDecoder(target, drafter), Request(PROMPT, 41, frozenset()))
    assert {len(record.tokens) for record in records[1:-1]} == {5}


def test_the_arm_takes_the_parts_of_assisted_generation() -> None:
    arm = parse_arm("draft_model", {"drafts": [3]})
    assert (arm.shares, arm.folder, arm.trained, arm.tuned) == (
        "hf_assisted",
        "draft_model",
        False,
        True,
    )
    assert parse_arm("draft_model", json.loads(json.dumps(arm.given()))) == arm
    assert Path(arm.method.build.__code__.co_filename).name == "draft_model.py"
