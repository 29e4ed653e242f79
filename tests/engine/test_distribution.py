"""Sampled answers are distributed as the target's own, whatever is drafted.

All answers of a tiny target are listed with their exact probabilities, and each verifier answers
at the same seeds. That an answer is also that of plain sampling, seed by seed, is what the
conformance tests check; here nothing but the distribution counts.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.decoder import collect
from harness.engine import choice
from harness.engine.choice import TokenChoice
from harness.engine.drafter import Drafter
from harness.engine.loop import EngineDecoder
from harness.engine.tree import Accept, Tree, TreeShape
from methods.medusa.typical import TypicalAcceptance
from tests.engine import draws
from tests.engine.draws import DRAWS, FALSE_ALARM, TEMPERATURE, Draws, tiny_target
from tests.engine.verifiers import VERIFIERS, Guess


def answers_of(decoder: EngineDecoder, noise: list[TokenChoice]) -> tuple[np.ndarray, Draws]:
    """How often each answer came over all seeds, and the draws."""
    drawn = Draws(decoder)
    return draws.counts([drawn.draw(choose, seed) for seed, choose in enumerate(noise)]), drawn


@pytest.mark.parametrize("name", VERIFIERS)
def test_answers_have_the_targets_own_distribution(name: str) -> None:
    target = tiny_target()
    decoder = EngineDecoder(target, VERIFIERS[name](target))
    found, drawn = answers_of(decoder, draws.noise())
    assert draws.fits(found), draws.told(found)
    if name != "plain":
        assert drawn.accepted[0] > 500, "too few steps reject"
        assert drawn.accepted[1] + drawn.accepted[2] > 500, "too few steps accept"
    for seed in range(0, DRAWS, DRAWS // 20):
        tokens, _ = collect(decoder, draws.request(seed))
        assert tuple(tokens) == drawn.draw(TokenChoice(draws.request(seed).sampling), seed)


@pytest.mark.parametrize("name", VERIFIERS)
def test_answers_within_a_nucleus_have_its_distribution(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole = len(draws.exact_distribution())
    monkeypatch.setattr(draws, "TOP_P", 0.8)
    assert len(draws.exact_distribution()) < whole, "some answers are cut off"
    decoder = EngineDecoder(tiny_target(), VERIFIERS[name](tiny_target()))
    found, _ = answers_of(decoder, draws.noise())
    assert draws.fits(found), draws.told(found)


@pytest.mark.parametrize("name", VERIFIERS)
def test_answers_have_the_distribution_of_temperatures_by_text(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """AdapT's rule: one temperature behind tokens 0 and 1, another one elsewhere."""
    monkeypatch.setattr(draws, "BLOCK", 0.5)
    monkeypatch.setattr(draws, "TOP_P", 0.95)
    decoder = EngineDecoder(tiny_target(), VERIFIERS[name](tiny_target()))
    found, _ = answers_of(decoder, draws.noise())
    assert draws.fits(found), draws.told(found)


def test_control_a_temperature_of_the_root_for_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "BLOCK", 0.5)
    monkeypatch.setattr(
        Tree, "ends", lambda self, before: [(before, self.tokens[0])] * len(self.tokens)
    )
    name = next(name for name in VERIFIERS if name != "plain")
    decoder = EngineDecoder(tiny_target(), VERIFIERS[name](tiny_target()))
    found, _ = answers_of(decoder, draws.fresh_noise())
    assert not draws.fits(found)


def test_control_a_nucleus_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "TOP_P", 0.8)
    monkeypatch.setattr(choice, "nucleus", lambda scores, _: scores)
    decoder = EngineDecoder(tiny_target(), Drafter())
    with pytest.raises(KeyError):  # an answer that the exact distribution does not hold
        answers_of(decoder, draws.fresh_noise())


def test_other_noise_of_the_right_law_fits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each node with noise of its own gives other answers of the same distribution."""
    target = tiny_target()
    own_noise(monkeypatch)
    decoder = EngineDecoder(target, Guess(TreeShape((-1, 0, 0))))
    found, _ = answers_of(decoder, draws.fresh_noise())
    assert draws.fits(found), draws.told(found)
    plain = EngineDecoder(target, Drafter())
    assert any(
        collect(plain, draws.request(seed))[0] != collect(decoder, draws.request(seed))[0]
        for seed in range(50)
    )


def own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    call = TokenChoice.__call__

    def by_node(self, logits, positions, ends=()):  # type: ignore[no-untyped-def]
        own = [100 * positions[0] + node for node in range(len(positions))]
        return call(self, logits, own, ends)

    monkeypatch.setattr(TokenChoice, "__call__", by_node)


# The power of the test.


def test_a_small_shift_would_be_seen() -> None:
    """A total variation of 0.05 fails the test with 99 %, whichever answers it favours."""
    assert draws.detectable() <= 0.05
    rng, exact = np.random.default_rng(1), draws.probabilities()
    for _ in range(20):
        found = rng.multinomial(DRAWS, shifted(exact, draws.detectable(), rng), size=200)
        seen = [draws.misfit(row) > draws.limit() for row in found]
        assert np.mean(seen) >= 0.97  # 0.99 of 200 draws, but for 2.8 standard errors


def shifted(exact: np.ndarray, distance: float, rng: np.random.Generator) -> np.ndarray:
    """``exact`` with ``distance`` moved from one half of the mass to the other, in proportion.

    Of all shifts of that total variation this is the one that the statistic sees least.
    """
    order = rng.permutation(len(exact))
    gains = order[exact[order].cumsum() <= 0.5]
    share = exact[gains].sum()
    moved = exact * (1 - distance / (1 - share))
    moved[gains] = exact[gains] * (1 + distance / share)
    return moved


def test_exact_draws_seldom_fail() -> None:
    # two tests, each at that level
    drawn = np.random.default_rng(2).multinomial(DRAWS, draws.probabilities(), size=1000)
    assert np.mean([not draws.fits(row) for row in drawn]) < 2.5 * FALSE_ALARM


# Negative controls: each verifier is wrong in one thing, and the test must say so.


def accept_likely(tree: Tree, logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Whatever was drawn, a draft passes whose probability is at least 0.3."""
    likely = (logits.float() / TEMPERATURE).softmax(-1) >= 0.3
    path = [0]
    for node in range(1, len(tree.tokens)):
        at = path[-1]
        drawn = tree.tokens[node] == chosen[at] or bool(likely[at, tree.tokens[node]])
        if tree.shape.parents[node] == at and drawn:
            path.append(node)
    return torch.tensor(path[-1])


def accept_by_chance(tree: Tree, logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """A second draw after a rejection: a draft also passes if the node after it drew it."""
    path = [0]
    for node in range(1, len(tree.tokens)):
        at = path[-1]
        drawn = tree.tokens[node] in (chosen[at], chosen[node])
        if tree.shape.parents[node] == at and drawn:
            path.append(node)
    return torch.tensor(path[-1])


def shared_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two neighbouring positions have one noise."""
    first = TokenChoice._first
    monkeypatch.setattr(TokenChoice, "_first", lambda self, at: first(self, at // 2))


def unseeded_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every seed has the same noise."""
    monkeypatch.setattr(TokenChoice, "__init__", forget_seed(TokenChoice.__init__))


def forget_seed(init: Callable[..., None]) -> Callable[..., None]:
    return lambda self, sampling: init(self, replace(sampling, seed=0))


def cold_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The temperature is left out."""
    monkeypatch.setattr(TokenChoice, "__init__", forget_temperature(TokenChoice.__init__))


def forget_temperature(init: Callable[..., None]) -> Callable[..., None]:
    return lambda self, sampling: init(self, replace(sampling, temperature=1.0))


WRONG_RULES: dict[str, tuple[str, Accept]] = {
    "typical": ("medusa", TypicalAcceptance(TEMPERATURE)),
    "accept_likely": ("chain", accept_likely),
    "accept_by_chance": ("chain", accept_by_chance),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_control_rules_that_are_not_exact(name: str) -> None:
    drafter, accept = WRONG_RULES[name]
    target = tiny_target()
    decoder = EngineDecoder(target, VERIFIERS[drafter](target), accept)
    found, _ = answers_of(decoder, draws.noise())
    assert not draws.fits(found), draws.told(found)
    assert draws.misfit(found) > draws.limit()


@pytest.mark.parametrize("broken", [shared_noise, unseeded_noise, cold_noise])
def test_control_noise_of_another_law(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    broken(monkeypatch)
    decoder = EngineDecoder(tiny_target(), VERIFIERS["prompt_lookup"](tiny_target()))
    found, _ = answers_of(decoder, draws.fresh_noise())
    assert not draws.fits(found), draws.told(found)
    assert draws.misfit(found) > draws.limit()
