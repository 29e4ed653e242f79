"""How often intervals contain the truth, on synthetic rows whose true speedup is known.

This project's interval is compared with the usual one, a bootstrap over prompts, which mistakes the
speed of a session for that of the method.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from harness.analysis.statistics import log_ratio
from harness.experiment.folder import write_table

SPEEDUP = 2.0
NOISE = 0.01  # standard deviation of one timing, log scale
BOOTSTRAPS = 400
TOKENS = 50.0  # of every answer


@dataclass(frozen=True, slots=True)
class World:
    """A synthetic experiment; standard deviations are those of the log ratio of two arms."""

    sessions: int
    questions: int
    question_sd: float
    session_sd: float


WORLDS = [
    *(
        World(sessions, 40, question_sd, session_sd)
        for sessions, question_sd, session_sd in product(
            (3, 5), (0.0, 0.15), (0.005, 0.01, 0.02, 0.04)
        )
    ),
    # the size of the run of mini, whose questions differ as much
    *(World(5, 18, question_sd, 0.005) for question_sd in (0.15, 0.3)),
]


def coverage(world: World, repeats: int) -> dict[str, float]:
    """Shares of ``repeats`` whose 95 % intervals contain the truth; mean half-widths, log scale."""
    rng = np.random.default_rng(0)
    # the log of the ratio of sums over the population of questions and sessions
    truth = math.log(SPEEDUP) - (world.question_sd**2 + world.session_sd**2) / 2
    covered = naive_covered = 0
    half = naive_half = 0.0
    for _ in range(repeats):
        base, arm = _draw(world, rng)
        timed = {"base": _with_tokens(base), "arm": _with_tokens(arm)}
        ratio = log_ratio(timed, "base", "arm")
        covered += abs(ratio.estimate - truth) <= ratio.half_width
        half += ratio.half_width
        low, high = _bootstrap(base.sum(0), arm.sum(0), rng)
        naive_covered += low <= truth <= high
        naive_half += (high - low) / 2
    return {
        "coverage": covered / repeats,
        "half_width": half / repeats,
        "naive_coverage": naive_covered / repeats,
        "naive_half_width": naive_half / repeats,
    }


def write_coverage(repeats: int, out: Path) -> None:
    """Write one line for each of :data:`WORLDS`."""
    write_study(WORLDS, coverage, repeats, out)


def write_study(
    worlds: Sequence[World],
    simulate: Callable[[World, int], dict[str, float]],
    repeats: int,
    out: Path,
) -> None:
    """Write a line for each world: what it is, and what ``simulate`` finds in it."""
    lines = [
        {**asdict(world), "repeats": repeats, **simulate(world, repeats)}
        for world in tqdm(worlds, desc=out.stem, unit="world")
    ]
    write_table(out, pd.DataFrame(lines), digits=4)


def _draw(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of baseline and arm, each [sessions, questions]; all answers are equally long."""
    shape = (world.sessions, world.questions)
    seconds = np.exp(rng.normal(0, 0.4, world.questions))
    base = seconds * np.exp(rng.normal(0, NOISE, shape))
    question = rng.normal(0, world.question_sd, world.questions)
    session = rng.normal(0, world.session_sd, (world.sessions, 1))
    gain = math.log(SPEEDUP) + question + session + rng.normal(0, NOISE, shape)
    return base, seconds * np.exp(-gain)


def _with_tokens(seconds: np.ndarray) -> np.ndarray:
    """[2, sessions, questions] seconds and tokens, as statistics.per_question gives them."""
    return np.stack([seconds, np.full_like(seconds, TOKENS)])


def _bootstrap(base: np.ndarray, arm: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of the log ratio of sums, with questions resampled."""
    sample = rng.integers(0, len(base), (BOOTSTRAPS, len(base)))
    ratios = np.log(base[sample].sum(1) / arm[sample].sum(1))
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)
