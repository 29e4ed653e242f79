"""The real stream that is kept: what the target's own forward gives, and no more than has room."""

import pytest
import torch

from harness.engine.target import Target
from harness.method import Answer
from methods.shared.real import RealStreams
from methods.shared.sequences import Sequences, batch_sequences
from tests.models import ARCHITECTURES, tiny_model

ANSWERS = [Answer((1, 2, 3, 4), (5, 6, 7, 8, 9)), Answer((3, 1), (4, 1, 5))]


def _batch(answers: list[Answer] = ANSWERS) -> Sequences:
    return batch_sequences(answers, 2, None, torch.Generator())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_the_model_s_own_forward(name: str) -> None:
    target = Target(tiny_model(name))
    real = RealStreams(target, entries=[1], keys_from=1)(_batch())
    for row, answer in enumerate(ANSWERS):
        ids = torch.tensor([[*answer.prompt, *answer.answer]])
        with torch.no_grad():
            own = target.model(input_ids=ids, output_hidden_states=True, use_cache=True)
        count = ids.shape[1]
        torch.testing.assert_close(real.states[1][row, :count], own.hidden_states[1][0])
        final = target.logits(real.states[len(target.layers)][row, :count])
        torch.testing.assert_close(final, own.logits[0], atol=1e-4, rtol=1e-4)
        key, value = real.caches[1]
        cache = own.past_key_values.layers[1]
        seen = cache.keys.shape[2]  # a sliding window keeps the last ones alone
        torch.testing.assert_close(key[row, :, count - seen : count], cache.keys[0])
        torch.testing.assert_close(value[row, :, count - seen : count], cache.values[0])
        assert not real.states[1][row, count:].any()


def test_what_has_room_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tiny_model("llama"))
    first = RealStreams(target, room=1 << 20)
    one = first(_batch(ANSWERS[:1]))
    runs = []
    prefill = target.prefill
    monkeypatch.setattr(
        target, "prefill", lambda ids, **more: runs.append(ids) or prefill(ids, **more)
    )
    streams = RealStreams(target, room=one.bytes)
    for _ in range(3):
        streams(_batch())
    assert streams.kept == 1 and streams.bytes == one.bytes
    assert len(runs) == 1 + 3, "the second answer has no room and is made each time"
    torch.testing.assert_close(streams(_batch()).states, RealStreams(target)(_batch()).states)


def test_what_is_kept_does_not_depend_on_the_batch() -> None:
    target = Target(tiny_model("llama"))
    depth = len(target.layers)
    alone = RealStreams(target)(_batch(ANSWERS[1:])).states[depth]
    beside = RealStreams(target)(_batch()).states[depth]
    assert torch.equal(alone[0], beside[1, : alone.shape[1]])
    assert not torch.equal(alone[0], beside[0, : alone.shape[1]]), "control: another answer"
