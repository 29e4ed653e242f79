"""The audit's float32 logits are the model's own, and rounding is told from a wrong token."""

import copy

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from harness.analysis.divergences import cause
from harness.decoder import Emit, EmittingDecoder, Request, Sampling, StepRecord, collect
from harness.engine.choice import TokenChoice
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.target import Target
from harness.engine.tree import Tree
from harness.measure.audit import audit, distance, float32_logits, own_gap, own_width_leaves
from tests.models import ARCHITECTURES, VOCAB, tiny_model
from tests.toys import NeverAccepted, Oracle, Random

IDS = [(7 * i + 3) % VOCAB for i in range(24)]  # past mistral's window of 12


def _half(name: str, dtype: torch.dtype) -> Target:
    return Target(copy.deepcopy(tiny_model(name)).to(dtype))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_widened_layers_are_the_float32_model(name: str) -> None:
    target = Target(tiny_model(name))
    with torch.inference_mode():
        own = target.model(input_ids=torch.tensor([IDS])).logits[0, -1]
        other = target.model(input_ids=torch.tensor([IDS[:-1]])).logits[0, -1]
    torch.testing.assert_close(float32_logits(target, IDS), own, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(other, own, atol=1e-2)
    before = target.model.dtype
    assert "rounding" not in audit(target, IDS, (1, 2))
    assert target.model.dtype == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_a_close_token_is_numerical_and_a_far_one_is_a_bug(
    dtype: torch.dtype,
) -> None:
    target = _half("llama", dtype)
    wide = Target(copy.deepcopy(target.model).float())
    with torch.inference_mode():
        exact = wide.model(input_ids=torch.tensor([IDS])).logits[0, -1]
    best, *others = exact.argsort(descending=True).tolist()
    far = audit(target, IDS, (best, others[-1]))
    assert far["exact_margin"] == pytest.approx(float(exact[best] - exact[others[-1]]), rel=1e-3)
    assert 0 < far["rounding"] < far["exact_margin"] / 4
    assert cause(far) == "METHOD BUG"
    gaps = {
        pair: float(exact[pair[0]] - exact[pair[1]])
        for pair in zip([best, *others], others, strict=False)
    }
    closest = min(gaps, key=lambda pair: gaps[pair])
    near = audit(target, IDS, tuple(closest))
    assert cause(near) in ("numerical", "exact tie")
    assert cause(near | {"margin": 1.0, "rounding": 0.0}) == "METHOD BUG"
    # The draw sees logits and their rounding over the temperature.
    cold = audit(target, IDS, (best, others[-1]), Sampling(temperature=0.25, seed=1))
    assert cold["rounding"] == pytest.approx(4 * far["rounding"])


def test_the_margin_of_a_draw_is_that_of_what_it_maximises() -> None:
    target, sampling = Target(tiny_model("llama")), Sampling(1.5, seed=4)
    with torch.inference_mode():
        logits = target.model(input_ids=torch.tensor([IDS])).logits[0, -1:]
    best, other, *_ = TokenChoice(sampling).scores(logits, [len(IDS)])[0].argsort(descending=True)
    pair = int(best), int(other)
    assert audit(target, IDS, pair, sampling)["margin"] > 0
    margins = [audit(target, IDS, pair, Sampling(1.5, seed))["margin"] for seed in range(20)]
    assert min(margins) < 0, "control: another draw prefers the other token"
    assert audit(target, IDS, pair)["margin"] == pytest.approx(
        float(logits[0, best] - logits[0, other])
    )


@pytest.mark.parametrize("arm", ["plain", "accepts", "refuses"])
def test_an_arm_s_own_gap_is_that_of_the_logits_it_chose_by(arm: str) -> None:
    target = Target(tiny_model("llama"))
    request = Request(tuple(IDS[:8]), 14, frozenset())
    answer, _ = collect(EngineDecoder(target, Drafter()), request)
    drafters = {
        "plain": Drafter(),
        "accepts": Oracle(request.prompt_ids, answer, VOCAB),
        "refuses": NeverAccepted((answer[0] + 1) % VOCAB),
    }
    decoder = EngineDecoder(target, drafters[arm])
    whole = torch.tensor([[*request.prompt_ids, *answer]])
    with torch.inference_mode():
        best = target.model(input_ids=whole).logits[0].topk(2).values
    truth = (best[:, 0] - best[:, 1])[len(request.prompt_ids) - 1 : -1].tolist()
    found = [own_gap(decoder, request, answer, index) for index in range(len(answer))]
    assert found == pytest.approx(truth, abs=1e-3)
    assert found[1:] != pytest.approx(truth[:-1], abs=1e-2), "gaps of other tokens are told apart"
    changed = [*answer[:3], (answer[3] + 1) % VOCAB, *answer[4:]]
    assert own_gap(decoder, request, changed, 2) is not None
    assert own_gap(decoder, request, changed, 3) is None


def test_a_decoder_outside_the_engine_has_no_gap_of_its_own() -> None:
    class Foreign(EmittingDecoder):
        def decode(self, request: Request, emit: Emit) -> None:
            emit(StepRecord((1,)))

    assert own_gap(Foreign(), Request((1, 2), 1, frozenset()), [1], 0) is None


def test_whether_an_arm_s_width_alone_leaves_the_baseline() -> None:
    """In float32 it does not, however wrong the arm's own acceptance is; another text is left."""
    target = Target(tiny_model("llama"))
    request = Request(tuple(IDS[:8]), 14, frozenset())
    answer, _ = collect(EngineDecoder(target, Drafter()), request)

    def second_child(tree: Tree, logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        return torch.tensor(2 if len(tree.tokens) > 1 else 0)

    arm = EngineDecoder(target, Oracle(request.prompt_ids, answer, VOCAB), second_child)
    wrong, _ = collect(arm, request)
    assert wrong != answer, "it accepts what the target would not have said"
    at = next(i for i, pair in enumerate(zip(answer, wrong, strict=True)) if pair[0] != pair[1])
    assert own_width_leaves(arm, request, answer, at) is False
    assert own_width_leaves(arm, request, [*answer[:at], wrong[at]], at) is True, "control"


def _first_child(tree: Tree, logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return torch.tensor(min(1, len(tree.tokens) - 1))


def _probability(target: Target, ids: list[int], token: int, sampling: Sampling) -> float:
    """Of one token, by the model's own forward and transformers' warpers."""
    with torch.inference_mode():
        logits = target.model(input_ids=torch.tensor([ids])).logits[0, -1:]
    if sampling.temperature == 0:
        return float(logits.argmax() == token)
    logits = TemperatureLogitsWarper(sampling.temperature)(None, logits)
    if sampling.top_p < 1:
        logits = TopPLogitsWarper(sampling.top_p)(None, logits)
    return float(logits.softmax(-1)[0, token])


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(1.2, seed=3), Sampling(0.8, seed=3, top_p=0.9)]
)
def test_a_lossy_arm_is_as_far_off_as_the_drafts_that_it_accepts_are_unlikely(
    sampling: Sampling,
) -> None:
    target = Target(tiny_model("llama"))
    request = Request(tuple(IDS[:8]), 14, frozenset(), sampling)
    arm = EngineDecoder(target, Random(VOCAB), _first_child)
    _, records = collect(arm, request)
    ids, moved = list(request.prompt_ids), []
    for record in records:
        for place, token in enumerate(record.tokens):
            likely = _probability(target, ids, token, sampling)
            moved.append(1 - likely if place < len(record.path) else 0.0)
            ids.append(token)
    moved.pop()  # the records do not say whether the answer's last token was a draft
    assert 0.2 < sum(moved) / len(moved) < 0.9
    assert distance(arm, request, records) == pytest.approx(sum(moved) / len(moved), abs=1e-5)


def test_an_arm_that_accepts_nothing_or_only_what_is_exact_is_no_distance_away() -> None:
    target = Target(tiny_model("llama"))
    request = Request(tuple(IDS[:8]), 14, frozenset(), Sampling(1.2, seed=3))
    careful = EngineDecoder(target, Random(VOCAB), lambda tree, logits, chosen: torch.tensor(0))
    assert distance(careful, request, collect(careful, request)[1]) == 0.0
    lossless = EngineDecoder(target, Random(VOCAB))
    assert distance(lossless, request, collect(lossless, request)[1]) is None
