"""How often intervals hold the truth, on synthetic rows whose truth is known.

Beside this project's interval stands the one that is usual: a bootstrap over prompts, which takes a
session's own speed for the method's.
"""

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from harness.analysis.statistics import log_ratio
from harness.files import replacing

SPEEDUP = 2.0
NOISE = 0.01  # of one timing, log scale
BOOTSTRAPS = 400
TOKENS = 50.0  # of every answer
COLUMNS = (
    "sessions questions question_sd session_sd repeats coverage half_width naive_coverage "
    "naive_half_width"
).split()


@dataclass(frozen=True, slots=True)
class World:
    """Where rows come from; standard deviations of the log ratio."""

    sessions: int
    questions: int
    question_sd: float
    session_sd: float

    @property
    def truth(self) -> float:
        """The log of the ratio of sums over the population of questions and sessions."""
        return math.log(SPEEDUP) - (self.question_sd**2 + self.session_sd**2) / 2

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Baseline's and arm's seconds [sessions, questions]; every answer has as many tokens."""
        shape = (self.sessions, self.questions)
        own = np.exp(rng.normal(0, 0.4, self.questions))
        base = own * np.exp(rng.normal(0, NOISE, shape))
        question = rng.normal(0, self.question_sd, self.questions)
        session = rng.normal(0, self.session_sd, (self.sessions, 1))
        gain = math.log(SPEEDUP) + question + session + rng.normal(0, NOISE, shape)
        return base, own * np.exp(-gain)


WORLDS = [
    *(
        World(sessions, 40, question_sd, session_sd)
        for sessions, question_sd, session_sd in product(
            (3, 5), (0.0, 0.15), (0.005, 0.01, 0.02, 0.04)
        )
    ),
    # mini's size, and questions that differ as much as they do there
    *(World(5, 18, question_sd, 0.005) for question_sd in (0.15, 0.3)),
]


def coverage(world: World, repeats: int, seed: int = 0) -> dict[str, object]:
    """Share of ``repeats`` whose 95 % interval holds the truth; mean half-widths, log scale."""
    rng = np.random.default_rng(seed)
    held = naive_held = 0
    half = naive_half = 0.0
    for _ in range(repeats):
        base, arm = world.draw(rng)
        timed = {"base": _with_tokens(base), "arm": _with_tokens(arm)}
        found = log_ratio(timed, "base", "arm")
        held += abs(found.estimate - world.truth) <= found.half_width
        half += found.half_width
        low, high = _bootstrap(base.sum(0), arm.sum(0), rng)
        naive_held += low <= world.truth <= high
        naive_half += (high - low) / 2
    figures = (held, half, naive_held, naive_half)
    return dict(
        zip(
            COLUMNS,
            (
                world.sessions,
                world.questions,
                world.question_sd,
                world.session_sd,
                repeats,
                *(figure / repeats for figure in figures),
            ),
            strict=True,
        )
    )


def write_coverage(repeats: int, out: Path) -> None:
    """One line for each of :data:`WORLDS`, from seed 0."""
    lines = [coverage(world, repeats) for world in tqdm(WORLDS, desc="coverage", unit="world")]
    with replacing(out) as temporary:
        pd.DataFrame(lines).to_csv(temporary, index=False, float_format="%.4g")


def _with_tokens(seconds: np.ndarray) -> np.ndarray:
    """[2, sessions, questions] seconds and tokens, as statistics.per_question has them."""
    return np.stack([seconds, np.full_like(seconds, TOKENS)])


def _bootstrap(base: np.ndarray, arm: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Percentile interval of the log ratio of sums, questions drawn again."""
    drawn = rng.integers(0, len(base), (BOOTSTRAPS, len(base)))
    ratios = np.log(base[drawn].sum(1) / arm[drawn].sum(1))
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)
