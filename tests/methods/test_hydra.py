"""Hydra's drafts follow their parents: engine, training and a slow reference agree."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.decoder import Request, collect
from harness.engine.drafter import Context, Outcome
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.method import Answer
from methods import load_method
from methods.hydra.drafter import HeadProducts, HydraDrafter
from methods.hydra.heads import Heads, load, save
from methods.hydra.training import predictor
from methods.shared.sequences import batch_sequences
from methods.shared.trees import RankPath
from tests.methods.test_firp_training import job as firp_job
from tests.models import VOCAB, tiny_model

PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))
PATHS: list[RankPath] = [(0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (2, 3), (0, 1, 0), (1, 0, 2)]
Step = tuple[list[int], list[int], list[torch.Tensor], list[int]]


def random_heads(target: Target, layers: int = 2, *, shared: bool = False) -> Heads:
    """Untrained ones would ignore the path."""
    torch.manual_seed(6)
    heads = Heads(3, layers, target.model.lm_head.weight.detach(), shared=shared)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return heads


class Watched(HydraDrafter):
    """Keeps the text, the drafts, the logits of every level and the path that was accepted."""

    seen: list[Step]

    def begin(self, context: Context) -> None:
        super().begin(context)
        self.seen = []

    def observe(self, context: Context, outcome: Outcome) -> None:
        super().observe(context, outcome)
        drafts = self.draft(context).tokens[1:]
        self.seen.append((list(context.tokens), drafts, list(self.head_logits), outcome.path))


def watched(name: str, *, shared: bool = False) -> tuple[Watched, Target, Heads]:
    target = Target(tiny_model(name))
    heads = random_heads(target, shared=shared)
    drafter = Watched(target, heads, PATHS)
    collect(EngineDecoder(target, drafter), Request(PROMPT, 40, frozenset()))
    assert len(drafter.seen) > 5
    return drafter, target, heads


@torch.no_grad()
def reference(target: Target, heads: Heads, tokens: list[int]) -> list[int]:
    """Drafts after ``tokens`` node by node: a plain forward for the state, then path by path."""
    body = target.model.model
    state = body(input_ids=torch.tensor([tokens[:-1]]), use_cache=False).last_hidden_state[0, -1]
    found: dict[RankPath, int] = {(): tokens[-1]}
    for path in sorted(PATHS, key=lambda path: (len(path), path)):
        above = [found[path[:depth]] for depth in range(len(path))]
        given = torch.cat([state, *body.embed_tokens(torch.tensor(above))])
        logits = heads(len(path), given)
        found[path] = int(logits.argsort(descending=True)[path[-1]])
    return list(found.values())[1:]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_drafts_are_those_of_a_slow_reference(name: str, *, shared: bool) -> None:
    drafter, target, heads = watched(name, shared=shared)
    for tokens, drafts, *_ in drafter.seen:
        assert drafts == reference(target, heads, tokens)


def test_control_heads_that_do_not_see_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    call = HeadProducts.__call__

    def blind_to_it(self: HeadProducts, step: int, given: torch.Tensor) -> torch.Tensor:
        size = given.shape[1] // (1 + step)
        return call(self, step, torch.cat([given[:, :size], 0 * given[:, size:]], dim=1))

    monkeypatch.setattr(HeadProducts, "__call__", blind_to_it)
    blind, target, heads = watched("llama")
    wrong = [d != reference(target, heads, tokens) for tokens, d, *_ in blind.seen]
    assert any(wrong)


@torch.no_grad()
def test_training_logits_are_those_of_decoding() -> None:
    """Along the text: at a position whose following tokens are drafted, levels agree."""
    drafter, target, heads = watched("llama")
    text = drafter.seen[-1][0]
    answer = Answer(PROMPT, tuple(text[len(PROMPT) :]))
    batch = batch_sequences([answer], 3, None, torch.Generator())
    logits, _ = predictor(target, heads, "kl")(batch)
    compared = 0
    for tokens, _, level_logits, _ in drafter.seen:
        at = len(tokens) - 2 - (len(PROMPT) - 1)
        if at < logits.shape[2]:
            # the first head sees the root alone, which is the text's own
            torch.testing.assert_close(logits[0, 0, at], level_logits[0][0], rtol=0, atol=1e-4)
            compared += 1
    assert compared > 5


def test_heads_are_read_as_they_were_written(tmp_path: Path) -> None:
    target = Target(tiny_model("llama"))
    heads = random_heads(target)
    save(heads, tmp_path, {"target_hash": "abc"})
    again = load(tmp_path, target.model.lm_head.weight.detach(), "abc")
    for name, value in again.state_dict().items():
        assert torch.equal(value, heads.state_dict()[name]), name
    with pytest.raises(HarnessError, match="Hydra target_hash is abc, expected other"):
        load(tmp_path, target.model.lm_head.weight.detach(), "other")


def test_training_and_tuning_give_a_decoder(tmp_path: Path) -> None:
    method = load_method("hydra")
    plain = firp_job(Target(tiny_model("llama")), tmp_path)
    settings = method.settings(
        heads=3, training_steps=30, batch=2, evaluate_every=10, learning_rate=5e-3, drafts=(3,)
    )
    own = replace(plain, settings=settings)
    assert method.train is not None
    assert method.tune is not None
    method.train(own)
    facts = json.loads((tmp_path / "config.json").read_text())
    curves = (tmp_path / "curves.csv").read_text().splitlines()
    assert facts["tune_loss"] < float(curves[1].split(",")[3]), "it learns"
    method.tune(own)
    decoder = method.build(own.target, settings, tmp_path)
    tokens, records = collect(decoder, own.requests[0])
    assert tuple(tokens) == own.tune[0].answer
    assert sum(record.draft_size for record in records) > 0
