"""Does the rule of ranks mean what it says? Synthetic experiments of six arms whose truth is known.

Three questions, each for a few and for more sessions: how often equal arms come out in an order;
how often arms that are two detectable differences apart come out in theirs; and how often a pair's
interval holds the truth where arms' sessions spread differently, by the pair's own spread (the
rule) and by one pooled over all arms (which was tried, and is not the rule).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from harness.analysis.coverage import NOISE, TOKENS
from harness.analysis.ranking import pairs, ranks
from harness.analysis.statistics import LogRatio, Timed, log_ratio, session_log_ratios
from harness.files import replacing

ARMS = ("a", "b", "c", "d", "e", "f")
UNEQUAL = (0.5, 0.5, 1.0, 1.0, 2.0, 2.0)  # times the sessions' spread, an arm each
COLUMNS = (
    "sessions questions question_sd session_sd repeats equal_in_an_order apart_in_order "
    "coverage_unequal coverage_unequal_pooled"
).split()


@dataclass(frozen=True, slots=True)
class Setting:
    """Standard deviations of an arm's log speed over questions and sessions."""

    sessions: int
    questions: int
    question_sd: float
    session_sd: float

    def draw(
        self, rng: np.random.Generator, gaps: Sequence[float], spreads: Sequence[float]
    ) -> Timed:
        """Six arms, ``gaps`` faster than the first (log), session spreads times ``spreads``."""
        own = np.exp(rng.normal(0, 0.4, self.questions))
        timed = {}
        for arm, gap, spread in zip(ARMS, gaps, spreads, strict=True):
            # half of the variance of a difference is each arm's
            question = rng.normal(0, self.question_sd / math.sqrt(2), self.questions)
            session = rng.normal(0, spread * self.session_sd / math.sqrt(2), (self.sessions, 1))
            noise = rng.normal(0, NOISE, (self.sessions, self.questions))
            seconds = own * np.exp(session + question + noise - gap)
            timed[arm] = np.stack([seconds, np.full_like(seconds, TOKENS)])
        return timed


SETTINGS = [
    Setting(sessions, questions, question_sd, session_sd)
    for sessions in (3, 5)
    for questions, question_sd in ((40, 0.0), (40, 0.15), (18, 0.15))
    for session_sd in (0.005, 0.02)
]
_EQUAL = (0.0,) * len(ARMS)
_ALIKE = (1.0,) * len(ARMS)


def study(setting: Setting, repeats: int, seed: int = 0) -> dict[str, object]:
    """Shares of ``repeats`` experiments, in the order of ``COLUMNS``."""
    rng = np.random.default_rng(seed)
    gap = 2 * _typical_detectable(setting, rng)
    apart = [gap * place for place in range(len(ARMS))]
    ordered = in_order = held = held_pooled = 0
    for _ in range(repeats):
        ordered += _any_order(setting.draw(rng, _EQUAL, _ALIKE))
        in_order += _all_in_order(setting.draw(rng, apart, _ALIKE))
        timed = setting.draw(rng, _EQUAL, UNEQUAL)
        own = log_ratio(timed, ARMS[-2], ARMS[-1])
        held += abs(own.estimate) <= own.half_width
        held_pooled += abs(own.estimate) <= _pooled_half_width(timed, own)
    shares = [count / repeats for count in (ordered, in_order, held, held_pooled)]
    place = (setting.sessions, setting.questions, setting.question_sd, setting.session_sd)
    return dict(zip(COLUMNS, (*place, repeats, *shares), strict=True))


def _typical_detectable(setting: Setting, rng: np.random.Generator) -> float:
    """The detectable difference of a pair of equal arms, the median over experiments."""
    found = [
        log_ratio(setting.draw(rng, _EQUAL, _ALIKE), ARMS[0], ARMS[1]).detectable
        for _ in range(100)
    ]
    return float(np.median(found))


def _any_order(timed: Timed) -> bool:
    """Whether any two arms are told apart."""
    return not all(pair.tie for pair in pairs(timed, ARMS, ARMS, 0.0))


def _all_in_order(timed: Timed) -> bool:
    """Whether all arms have a rank of their own, the last arm the first."""
    found = ranks(pairs(timed, ARMS, ARMS, 0.0), ARMS)
    best = [found[arm].best for arm in ARMS]
    alone = all(rank.best == rank.worst for rank in found.values())
    return alone and all(slower > faster for slower, faster in pairwise(best))


def _pooled_half_width(timed: Timed, own: LogRatio) -> float:
    """Half-width of the pair's 95 % interval with the sessions' spread pooled over all arms."""
    rates = np.stack([session_log_ratios(timed, ARMS[0], arm) for arm in timed])
    rates = rates - rates.mean(0)
    rates = rates - rates.mean(1, keepdims=True)
    degrees = (own.sessions - 1) * (len(timed) - 1)
    spread = math.sqrt(2 * float((rates**2).sum()) / degrees / own.sessions)
    questions = replace(own, se_session=0.0).half_width
    return math.hypot(float(stats.t.isf(0.025, degrees)) * spread, questions)


def write_ranking_study(repeats: int, out: Path) -> None:
    """One line for each of :data:`SETTINGS`, from seed 0."""
    lines = [study(setting, repeats) for setting in tqdm(SETTINGS, desc="ranks", unit="setting")]
    with replacing(out) as temporary:
        pd.DataFrame(lines).to_csv(temporary, index=False, float_format="%.4g")
