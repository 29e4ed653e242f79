"""A simulation of the ranking rule: synthetic experiments of six arms whose true speeds are known.

It answers three questions, each for three and for five sessions: how often equal arms are found to
differ; how often arms that are two detectable differences apart are ranked in their true order; and
how often a pair's interval contains the truth where sessions of the arms spread differently, by the
pair's own spread (the rule) and by one pooled over all arms (which was tried, and is not the rule).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import stats

from harness.analysis.coverage import NOISE, TOKENS, World, write_study
from harness.analysis.ranking import pairs, ranks
from harness.analysis.statistics import LogRatio, Timed, log_ratio, session_log_ratios

ARMS = ("a", "b", "c", "d", "e", "f")
UNEQUAL = (0.5, 0.5, 1.0, 1.0, 2.0, 2.0)  # factors of the sessions' spread, one per arm
WORLDS = [
    World(sessions, questions, question_sd, session_sd)
    for sessions in (3, 5)
    for questions, question_sd in ((40, 0.0), (40, 0.15), (18, 0.15))
    for session_sd in (0.005, 0.02)
]
_EQUAL = (0.0,) * len(ARMS)
_ALIKE = (1.0,) * len(ARMS)


def study(world: World, repeats: int) -> dict[str, float]:
    """Shares of ``repeats`` experiments."""
    rng = np.random.default_rng(0)
    gap = 2 * _typical_detectable(world, rng)
    apart = [gap * place for place in range(len(ARMS))]
    ordered = in_order = covered = covered_pooled = 0
    for _ in range(repeats):
        ordered += _any_order(_draw(world, rng, _EQUAL, _ALIKE))
        in_order += _all_in_order(_draw(world, rng, apart, _ALIKE))
        timed = _draw(world, rng, _EQUAL, UNEQUAL)
        ratio = log_ratio(timed, ARMS[-2], ARMS[-1])
        covered += abs(ratio.estimate) <= ratio.half_width
        covered_pooled += abs(ratio.estimate) <= _pooled_half_width(timed, ratio)
    return {
        "equal_in_an_order": ordered / repeats,
        "apart_in_order": in_order / repeats,
        "coverage_unequal": covered / repeats,
        "coverage_unequal_pooled": covered_pooled / repeats,
    }


def write_ranking_study(repeats: int, out: Path) -> None:
    """Write one line for each of :data:`WORLDS`."""
    write_study(WORLDS, study, repeats, out)


def _draw(
    world: World, rng: np.random.Generator, gaps: Sequence[float], spreads: Sequence[float]
) -> Timed:
    """Timings of six arms: log speeds ``gaps``, session spreads scaled by ``spreads``."""
    base = np.exp(rng.normal(0, 0.4, world.questions))
    timed = {}
    for arm, gap, spread in zip(ARMS, gaps, spreads, strict=True):
        # each arm has half of the variance of a difference of two
        question = rng.normal(0, world.question_sd / math.sqrt(2), world.questions)
        session = rng.normal(0, spread * world.session_sd / math.sqrt(2), (world.sessions, 1))
        noise = rng.normal(0, NOISE, (world.sessions, world.questions))
        seconds = base * np.exp(session + question + noise - gap)
        timed[arm] = np.stack([seconds, np.full_like(seconds, TOKENS)])
    return timed


def _typical_detectable(world: World, rng: np.random.Generator) -> float:
    """The detectable difference of two equal arms, as the median over 100 experiments."""
    differences = [
        log_ratio(_draw(world, rng, _EQUAL, _ALIKE), ARMS[0], ARMS[1]).detectable
        for _ in range(100)
    ]
    return float(np.median(differences))


def _any_order(timed: Timed) -> bool:
    """Whether any two arms differ significantly."""
    return not all(pair.tie for pair in pairs(timed, ARMS, ARMS, 0.0))


def _all_in_order(timed: Timed) -> bool:
    """Whether every arm has a single rank and ranks follow the gaps, the last arm being first."""
    rank_of = ranks(pairs(timed, ARMS, ARMS, 0.0), ARMS)
    best = [rank_of[arm].best for arm in ARMS]
    alone = all(rank.best == rank.worst for rank in rank_of.values())
    return alone and all(slower > faster for slower, faster in pairwise(best))


def _pooled_half_width(timed: Timed, ratio: LogRatio) -> float:
    """Half-width of the pair's 95 % interval with the sessions' spread pooled over all arms."""
    rates = np.stack([session_log_ratios(timed, ARMS[0], arm) for arm in timed])
    rates = rates - rates.mean(0)
    rates = rates - rates.mean(1, keepdims=True)
    degrees = (ratio.sessions - 1) * (len(timed) - 1)
    spread = math.sqrt(2 * float((rates**2).sum()) / degrees / ratio.sessions)
    questions = replace(ratio, se_session=0.0).half_width
    return math.hypot(float(stats.t.isf(0.025, degrees)) * spread, questions)
