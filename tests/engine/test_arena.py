"""The store of keys and values where the memory ends."""

import pytest
import torch

from harness.decoder import Request, collect
from harness.engine import arena
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from tests.models import VOCAB, tiny_model
from tests.toys import Oracle

SHORT = Request((3, 7, 1, 5, 5, 2), 30, frozenset())


def test_an_arena_that_could_not_grow_serves_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = Target(tiny_model("llama"))
    truth, _ = collect(EngineDecoder(target, Drafter()), SHORT)
    oracle = EngineDecoder(target, Oracle(SHORT.prompt_ids, truth, VOCAB))
    assert collect(oracle, SHORT)[0] == truth

    def full(*_: object, **__: object) -> torch.Tensor:
        raise MemoryError("no room")

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match="no room"):
        patch.setattr(arena.torch, "zeros", full)
        collect(oracle, Request(SHORT.prompt_ids, 400, frozenset()))
    assert collect(oracle, SHORT)[0] == truth
