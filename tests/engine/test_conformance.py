"""Whatever is drafted, the engine's output is the target's own."""

import itertools

import pytest
import torch

from harness.decoder import Request, Sampling, collect
from harness.engine.choice import TokenChoice
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from tests import toys
from tests.models import ARCHITECTURES, VOCAB, tiny_model

ALL = (*ARCHITECTURES, "llama_gqa")
PROMPT = tuple((11 * i + 3) % VOCAB for i in range(9))
TOYS = ("oracle", "random", "never", "skip", "window", "own_model")


def target(name: str = "llama", attention: str = "sdpa") -> Target:
    return Target(tiny_model(name, attention))


def hf_greedy(name: str, prompt: tuple[int, ...], new_tokens: int) -> list[int]:
    """An implementation that is not ours: stock ``generate``."""
    out = tiny_model(name).generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=new_tokens,
        do_sample=False,
    )
    return out[0, len(prompt) :].tolist()


def request(**changes: object) -> Request:
    settings: dict = {"prompt_ids": PROMPT, "max_new_tokens": 40, "stop_ids": frozenset()}
    return Request(**(settings | changes))


def toy(kind: str, engine: Target, truth: list[int], prompt: tuple[int, ...] = PROMPT) -> Drafter:
    if kind == "oracle":
        return toys.Oracle(prompt, truth, VOCAB)
    if kind == "random":
        return toys.Random(VOCAB)
    if kind == "never":
        unused = next(t for t in range(VOCAB) if t not in truth)
        return toys.NeverAccepted(unused)
    if kind == "skip":
        return toys.SublayerSkip(engine)
    if kind == "window":
        return toys.WindowRows(engine, VOCAB)
    return toys.OwnModel(Target(tiny_model("llama", seed=1)))


@pytest.mark.parametrize("name", ALL)
def test_autoregressive_engine_equals_generate(name: str) -> None:
    tokens, records = collect(EngineDecoder(target(name), Drafter()), request())
    assert tokens == hf_greedy(name, PROMPT, 40)
    assert len(set(tokens)) > 5, "a model that repeats one token would prove nothing"
    assert all(len(record.tokens) == 1 and record.rows == 1 for record in records)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("name", ALL)
def test_drafting_never_changes_the_text(name: str, kind: str, temperature: float) -> None:
    engine = target(name)
    asked = request(sampling=Sampling(temperature, seed=5))
    truth, _ = collect(EngineDecoder(engine, Drafter()), asked)
    tokens, records = collect(EngineDecoder(engine, toy(kind, engine, truth)), asked)
    assert tokens == truth
    assert len(records[0].tokens) == 1
    if kind == "oracle":
        # Steps of 4 tokens, the first maybe of 3; near 1, compaction would go untested.
        assert len(tokens) / len(records) > 2.5
    if kind == "never":
        assert len(records) == len(tokens)


def test_sampling_at_different_seeds_differs() -> None:
    drawn = [
        collect(EngineDecoder(target(), Drafter()), request(sampling=Sampling(1.3, seed)))[0]
        for seed in (1, 2)
    ]
    assert drawn[0] != drawn[1]


def test_skipping_nothing_is_the_target_itself() -> None:
    engine = target("qwen3")
    drafter = toys.SublayerSkip(engine, share=0.0)
    truth, _ = collect(EngineDecoder(engine, Drafter()), request())
    tokens, records = collect(EngineDecoder(engine, drafter), request())
    assert tokens == truth
    assert len(tokens) / len(records) > 3.4  # every draft is right


def test_an_identical_draft_model_is_always_right() -> None:
    drafter = toys.OwnModel(Target(tiny_model("llama")))
    _, records = collect(EngineDecoder(target("llama"), drafter), request())
    assert sum(len(record.tokens) for record in records[1:-1]) == 4 * len(records[1:-1])


@pytest.mark.parametrize("stop_at", range(0, 12))
def test_a_stop_token_ends_the_text_at_every_offset_of_an_accepted_run(stop_at: int) -> None:
    engine = target()
    truth, _ = collect(EngineDecoder(engine, Drafter()), request())
    stop = truth[stop_at]
    asked = request(stop_ids=frozenset({stop, VOCAB + 1}))
    expected = truth[: truth.index(stop) + 1]
    for kind in TOYS:
        tokens, records = collect(EngineDecoder(engine, toy(kind, engine, truth)), asked)
        assert tokens == expected
        assert sum(len(record.tokens) for record in records) == len(expected)


@pytest.mark.parametrize("cap", [1, 2, 3, 4, 5, 17])
def test_the_cap_is_exact(cap: int) -> None:
    engine = target()
    truth, _ = collect(EngineDecoder(engine, Drafter()), request())
    for kind in TOYS:
        drafter = toy(kind, engine, truth)
        tokens, _ = collect(EngineDecoder(engine, drafter), request(max_new_tokens=cap))
        assert tokens == truth[:cap]


@pytest.mark.parametrize("kind", TOYS)
def test_a_prompt_of_one_token(kind: str) -> None:
    engine = target()
    asked = request(prompt_ids=(3,))
    truth = hf_greedy("llama", (3,), 40)
    drafter = toy(kind, engine, truth, prompt=(3,))
    assert collect(EngineDecoder(engine, drafter), asked)[0] == truth


@pytest.mark.parametrize("name", ALL)
def test_eager_and_sdpa_attention_agree(name: str) -> None:
    truth, _ = collect(EngineDecoder(target(name), Drafter()), request())
    eager = target(name, "eager")
    tokens, _ = collect(EngineDecoder(eager, toy("oracle", eager, truth)), request())
    assert tokens == truth


def test_the_arena_can_be_exactly_full() -> None:
    engine = target()
    oracle_rows = len(toys.BUSHY)
    cap = 128 - len(PROMPT) - oracle_rows + 2
    truth, _ = collect(EngineDecoder(engine, Drafter()), request(max_new_tokens=cap))
    drafter = toys.Oracle(PROMPT, truth, VOCAB)
    engine = Target(tiny_model("llama"))
    ends = []
    update = engine.arena.update

    def watched(key, value, layer_idx):  # type: ignore[no-untyped-def]
        ends.append(engine.arena.offset + key.shape[2])
        return update(key, value, layer_idx)

    engine.arena.update = watched
    tokens, _ = collect(EngineDecoder(engine, drafter), request(max_new_tokens=cap))
    assert engine.arena.capacity == 128
    assert max(ends) > 128 - oracle_rows
    assert tokens == truth
    with pytest.raises(Exception, match="129 slots needed, 128 reserved"):
        engine.arena.place(128, 1)


def test_a_second_request_starts_clean() -> None:
    engine = target()
    other = tuple(reversed(PROMPT))
    collect(EngineDecoder(engine, Drafter()), request())
    tokens, _ = collect(EngineDecoder(engine, Drafter()), request(prompt_ids=other))
    assert tokens == hf_greedy("llama", other, 40)


# Negative controls: each breaks one rule of the engine and must change the text.


def _truth_and_oracle(name: str = "llama") -> tuple[Target, list[int], EngineDecoder]:
    engine = target(name)
    truth, _ = collect(EngineDecoder(engine, Drafter()), request())
    return engine, truth, EngineDecoder(engine, toys.Oracle(PROMPT, truth, VOCAB))


def test_control_without_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, truth, decoder = _truth_and_oracle()

    def lazy(path: list[int]) -> None:
        engine.arena.length += len(path)

    monkeypatch.setattr(engine.arena, "commit", lazy)
    assert collect(decoder, request())[0] != truth


def test_control_mask_that_lets_siblings_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _, truth, decoder = _truth_and_oracle()
    monkeypatch.setattr(
        "harness.engine.tree._ancestors",
        lambda parents: torch.ones(len(parents), len(parents), dtype=torch.bool).tril(),
    )
    assert collect(decoder, request())[0] != truth


def test_control_positions_by_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, truth, decoder = _truth_and_oracle()
    forward = engine.forward

    def by_slot(block, **kwargs):  # type: ignore[no-untyped-def]
        block.layout.sent.copy_(torch.arange(block.rows))
        return forward(block, **kwargs)

    monkeypatch.setattr(engine, "forward", by_slot)
    assert collect(decoder, request())[0] != truth


def test_control_window_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, truth, decoder = _truth_and_oracle("mistral")
    monkeypatch.setattr(engine.stack, "windows", [None] * len(engine.layers))
    assert collect(decoder, request())[0] != truth


def test_control_noise_by_step_instead_of_position(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = target()
    asked = request(sampling=Sampling(1.3, seed=5))
    count = itertools.count()
    monkeypatch.setattr(TokenChoice, "_first", lambda self, position: next(count))
    monkeypatch.setattr(TokenChoice, "_forget", lambda self, first: self._noise.clear())
    truth, _ = collect(EngineDecoder(engine, Drafter()), asked)
    count = itertools.count()
    assert collect(EngineDecoder(engine, Drafter()), asked)[0] == truth, "the same steps"
    count = itertools.count()
    assert collect(EngineDecoder(engine, toys.Random(VOCAB)), asked)[0] != truth
