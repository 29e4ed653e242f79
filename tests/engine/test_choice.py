"""Choosing tokens: warped as transformers does, by noise that rows of one position share."""

import math

import pytest
import torch
from transformers.generation.logits_process import TopPLogitsWarper

from harness.decoder import Sampling
from harness.engine import choice
from harness.engine.choice import TokenChoice, nucleus, random_bits


def logits(rows: int, size: int, seed: int = 0) -> torch.Tensor:
    return 4 * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [5, 300, 3000])
@pytest.mark.parametrize("top_p", [0.1, 0.7, 0.95, 0.999])
def test_a_nucleus_is_that_of_transformers(size: int, top_p: float) -> None:
    given = torch.cat([logits(3, size), 0.01 * logits(2, size, 1)])  # peaked and flat rows
    expected = TopPLogitsWarper(top_p)(torch.zeros(5, 1), given.clone())
    found = nucleus(given.clone(), top_p)
    assert torch.equal(found, expected)
    assert torch.isinf(found).any()
    assert bool(torch.isfinite(found).any(-1).all())


def test_a_row_s_nucleus_does_not_depend_on_the_others() -> None:
    given = torch.cat([logits(2, 4000), 0.01 * logits(2, 4000, 1)])
    assert choice.LIKELY < 4000
    together = nucleus(given.clone(), 0.95)
    for row in range(4):
        assert torch.equal(nucleus(given[row : row + 1].clone(), 0.95)[0], together[row])


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_rows_of_one_position_share_their_noise(top_p: float) -> None:
    given = logits(4, 50).repeat(2, 1)
    sampling = Sampling(0.8, seed=3, top_p=top_p)
    many = TokenChoice(sampling).scores(given, [7, 8, 9, 7, 7, 8, 9, 7])
    assert torch.equal(many[:4], many[4:])
    for row, position in enumerate([7, 8, 9, 7]):
        alone = TokenChoice(sampling).scores(given[row : row + 1], [position])
        assert torch.equal(alone[0], many[row]), "whoever else is chosen beside it"
    other = TokenChoice(sampling).scores(given[:1], [8])
    assert not torch.equal(other[0], many[0]), "control: positions differ"


def test_old_noise_is_dropped_and_comes_again() -> None:
    chooser, given = TokenChoice(Sampling(1.0, seed=1)), logits(1, 20)
    first = chooser.scores(given, [0])
    for position in range(1, 2 * choice.KEPT):
        chooser.scores(given, [position])
    assert len(chooser._noise) <= choice.KEPT + 1
    assert torch.equal(chooser.scores(given, [0]), first)


def test_greedy_scores_are_the_logits() -> None:
    given = logits(3, 10)
    assert TokenChoice(Sampling()).scores(given, [1, 2, 3]) is given


def test_prompts_have_noise_of_their_own() -> None:
    sampling = Sampling(0.7, seed=5, top_p=0.9)
    seeds = {sampling.of(digest * 8).seed for digest in ("0000000a", "0000000b")}
    assert len(seeds) == 2
    assert sampling.of("0000000a" * 8) == sampling.of("0000000a" * 8)


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_a_temperature_by_text_is_that_of_its_row(top_p: float) -> None:
    given = logits(3, 50)
    adapted = Sampling(0.8, 3, top_p, 0.2, frozenset({4}), frozenset({6}))
    ends = [(4, 6), (6, 4), (4, 4)]
    mixed = TokenChoice(adapted).scores(given, [7, 8, 9], ends)
    for row, temperature in enumerate([0.2, 0.8, 0.8]):
        plain = TokenChoice(Sampling(temperature, 3, top_p))
        alone = plain.scores(given[row : row + 1], [7 + row])
        torch.testing.assert_close(mixed[row], alone[0])


def _splitmix(state: int, count: int) -> list[int]:
    """Plain integers modulo 2^64, as the authors write it."""
    whole, numbers = (1 << 64) - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & whole
        bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & whole
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & whole
        numbers.append(bits ^ (bits >> 31))
    return numbers


def test_random_bits_are_splitmix64() -> None:
    assert _splitmix(1234567, 1) == [6457827717110365317], "the published first number"
    states = [0, 1234567, -5, (1 << 63) - 1]
    bits = random_bits(torch.tensor(states)[:, None], 50)
    unsigned = [[number % (1 << 64) for number in row] for row in bits.tolist()]
    assert unsigned == [_splitmix(state % (1 << 64), 50) for state in states]
    assert unsigned[0] != unsigned[1], "control"


def test_noise_is_gumbel_s_and_positions_do_not_share_it() -> None:
    rows = torch.zeros(60, 5000)
    noise = TokenChoice(Sampling(1.0, seed=3)).scores(rows, range(60)).double()
    assert abs(noise.mean() - 0.57722) < 0.01, "Euler's constant"
    assert abs(noise.var() - math.pi**2 / 6) < 0.03
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.08
    again = TokenChoice(Sampling(1.0, seed=3))
    alone = torch.cat([again.scores(rows[:1], [position]) for position in range(60)])
    assert torch.equal(alone.double(), noise), "whatever is drawn beside it"
