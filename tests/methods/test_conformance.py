"""Every engine method commits the target's own tokens, greedy and sampled."""

from dataclasses import replace

import pytest

from harness.decoder import Request, Sampling, collect
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from methods.hf.generate import HfGenerate
from methods.medusa.typical import TypicalAcceptance
from tests.methods.drafters import ENGINE_METHODS, drafter
from tests.models import ARCHITECTURES, VOCAB, tiny_model
from tests.toys import Random

# A repeating prompt, so that lookup finds something; longer than Mistral's window of 12.
PROMPT = tuple((11 * (i % 7) + 3) % VOCAB for i in range(17))


@pytest.mark.parametrize("drawn", [(0.0, 1.0), (0.7, 1.0), (1.3, 1.0), (1.3, 0.8)])
@pytest.mark.parametrize("method", ENGINE_METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_output_is_the_targets_own(name: str, method: str, drawn: tuple[float, float]) -> None:
    target = Target(tiny_model(name))
    request = Request(PROMPT, 40, frozenset(), Sampling(drawn[0], seed=5, top_p=drawn[1]))
    truth, _ = collect(EngineDecoder(target, Drafter()), request)
    used = drafter(method, target)
    tokens, records = collect(EngineDecoder(target, used), request)
    assert tokens == truth
    assert max(record.rows for record in records[1:]) <= used.needs.max_rows, "rows undeclared"
    assert sum(record.draft_size for record in records) > 0, "nothing was drafted"


@pytest.mark.parametrize("method", ENGINE_METHODS)
def test_temperatures_by_text_leave_the_output_the_targets_own(method: str) -> None:
    target = Target(tiny_model("llama"))
    sets = frozenset(range(0, VOCAB, 2)), frozenset(range(1, VOCAB, 2))
    answers = {}
    for block in (None, 0.3):
        sampling = Sampling(1.3, 5, 0.9, block, *sets)
        request = Request(PROMPT, 40, frozenset(), sampling)
        answers[block], _ = collect(EngineDecoder(target, Drafter()), request)
        assert collect(EngineDecoder(target, drafter(method, target)), request)[0] == answers[block]
        assert collect(HfGenerate(target, {}), request)[0] == answers[block]
    assert answers[None] != answers[0.3], "control: the rule does something"


@pytest.mark.parametrize("options", [{}, {"prompt_lookup_num_tokens": 4}])
@pytest.mark.parametrize("drawn", [(0.0, 1.0), (0.7, 1.0), (1.3, 0.8)])
def test_generate_draws_the_engine_s_tokens(
    options: dict[str, int], drawn: tuple[float, float]
) -> None:
    target = Target(tiny_model("llama"))
    request = Request(PROMPT, 40, frozenset(), Sampling(drawn[0], seed=5, top_p=drawn[1]))
    truth, _ = collect(EngineDecoder(target, Drafter()), request)
    assert collect(HfGenerate(target, options), request)[0] == truth
    other = replace(request, sampling=replace(request.sampling, seed=6))
    assert (collect(HfGenerate(target, options), other)[0] != truth) == (drawn[0] > 0), "control"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_control_typical_acceptance_is_not_lossless(name: str) -> None:
    target = Target(tiny_model(name))
    request = Request(PROMPT, 40, frozenset())
    truth, _ = collect(EngineDecoder(target, Drafter()), request)
    lossy = TypicalAcceptance(temperature=5.0, threshold=0.001, alpha=0.001)
    tokens, _ = collect(EngineDecoder(target, drafter("medusa", target), lossy), request)
    assert len(tokens) == len(truth)
    assert tokens != truth


@pytest.mark.parametrize("method", ENGINE_METHODS)
def test_stop_and_cap_are_the_requests(method: str) -> None:
    target = Target(tiny_model("llama"))
    truth, _ = collect(EngineDecoder(target, Drafter()), Request(PROMPT, 30, frozenset()))
    for request in (
        Request(PROMPT, 1, frozenset()),
        Request(PROMPT, 2, frozenset()),
        Request(PROMPT, 30, frozenset({truth[12]})),
    ):
        wanted, _ = collect(EngineDecoder(target, Drafter()), request)
        assert collect(EngineDecoder(target, drafter(method, target)), request)[0] == wanted


@pytest.mark.parametrize("method", ENGINE_METHODS)
def test_the_same_prompt_again_is_answered_in_the_same_steps(method: str) -> None:
    """Whatever was decoded between and never remembered: warm-ups, audits, runs taken again."""
    target = Target(tiny_model("llama"))
    assert _steps_twice_agree(target, drafter(method, target))


def test_control_a_drafter_that_is_another_one_the_second_time() -> None:
    assert not _steps_twice_agree(Target(tiny_model("llama")), Random(VOCAB))


def _steps_twice_agree(target: Target, used: Drafter) -> bool:
    decoder = EngineDecoder(target, used)
    request, other = (Request(ids, 30, frozenset()) for ids in (PROMPT, PROMPT[::-1]))
    before, _, after = (collect(decoder, asked)[1] for asked in (request, other, request))
    return before == after
