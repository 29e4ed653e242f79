"""Speedups with intervals that cover the variation of both sessions and questions.

Estimand: the log ratio of decode seconds per token over the population of questions and sessions.
Unit: the question (both turns together). A bootstrap over questions alone would find two runs of
the same program to be significantly different.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

_LEAST_P = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio and its 95 % interval; the bounds are NaN where there is none, as for one session."""

    ratio: float
    low: float
    high: float

    @classmethod
    def unknown(cls) -> "Interval":
        """The interval of a ratio that cannot be computed: all NaN."""
        return cls(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class LogRatio:
    """log(baseline seconds per token / arm's), its standard errors, and the counts behind them."""

    estimate: float
    se_session: float
    se_question: float
    sessions: int
    questions: int

    def half(self, p: float) -> float:
        """Half-width that chance exceeds with probability ``p``; NaN if either count is below two.

        The t half-widths over sessions and over questions are added in quadrature.
        """
        if self.sessions < 2 or self.questions < 2:
            return math.nan
        return math.hypot(
            _t(self.sessions, p) * self.se_session, _t(self.questions, p) * self.se_question
        )

    @property
    def half_width(self) -> float:
        """Half-width of the 95 % interval."""
        return self.half(0.05)

    @property
    def detectable(self) -> float:
        """Log ratio that a test at 5 % detects in four runs of five, at this spread."""
        return self.half(0.05) + self.half(0.4)

    @property
    def interval(self) -> Interval:
        """The ratio itself, not its log, with its 95 % interval."""
        half = self.half_width
        return Interval(*(math.exp(self.estimate + d) for d in (0.0, -half, half)))

    @property
    def p_value(self) -> float:
        """Two-sided p-value against 1: the p whose interval just reaches 1; at least 1e-12."""
        gap = abs(self.estimate)
        if gap == 0 or math.isnan(self.half_width):
            return 1.0 if gap == 0 else math.nan
        if self.half(_LEAST_P) <= gap:
            return _LEAST_P
        return float(optimize.brentq(lambda p: self.half(p) - gap, _LEAST_P, 1.0))


def ratio(above: float, below: float) -> float:
    """``above`` over ``below``; NaN over 0."""
    return float(above / below) if below else math.nan


def rate(rows: pd.DataFrame) -> float:
    """Tokens per second of the decode phase, of all rows together."""
    return ratio(rows["decode_tokens"].sum(), rows["decode_seconds"].sum())


# Seconds and tokens of every arm, [2, sessions, questions].
Timed = Mapping[str, np.ndarray]


def per_question(rows: pd.DataFrame, seconds: str = "decode_seconds") -> Timed:
    """Seconds and tokens by arm, of one model and data set, summed over a question's turns."""
    tokens = "decode_tokens" if seconds == "decode_seconds" else "tokens"
    summed = rows.groupby(["arm", "session", "question_id"])[[seconds, tokens]].sum()
    return {
        str(arm): np.stack(
            [sums[name].unstack("question_id").to_numpy(float) for name in (seconds, tokens)]
        )
        for arm, sums in ((arm, summed.xs(arm, level="arm")) for arm in dict.fromkeys(rows["arm"]))
    }


def log_ratio(timed: Timed, baseline: str, arm: str) -> LogRatio:
    """Log of the ratio of sums over one model and data set.

    ``se_session`` comes from the spread of the sessions' own log ratios; ``se_question`` linearises
    the ratio of sums over questions, after summing over sessions.
    """
    per_session = session_log_ratios(timed, baseline, arm)
    sessions = len(per_session)
    spread = float(per_session.std(ddof=1)) if sessions > 1 else math.nan
    totals = [timed[name].sum(1) for name in (baseline, arm)]  # [2, questions]
    estimate = float(_log_rates(totals[0].sum(1)) - _log_rates(totals[1].sum(1)))
    influence = _influences(totals[0]) - _influences(totals[1])
    se_session, se_question = spread / math.sqrt(sessions), _standard_error(influence)
    return LogRatio(estimate, se_session, se_question, sessions, len(influence))


def session_log_ratios(timed: Timed, baseline: str, arm: str) -> np.ndarray:
    """[S] log ratio of sums of each session by itself."""
    return _log_rates(timed[baseline].sum(2)) - _log_rates(timed[arm].sum(2))


def _log_rates(totals: np.ndarray) -> np.ndarray:
    """[...] log of seconds per token, of [2, ...] seconds and tokens."""
    return np.log(totals[0] / totals[1])


def _influences(totals: np.ndarray) -> np.ndarray:
    """[Q] how much each question moves log(sum of seconds / sum of tokens), to first order."""
    shares = totals / totals.sum(1, keepdims=True)
    return shares[0] - shares[1]


def _standard_error(influence: np.ndarray) -> float:
    """Standard error of an estimate, from how much each question moves it; NaN for one question."""
    questions = len(influence)
    if questions < 2:
        return math.nan
    return float(np.sqrt(questions / (questions - 1) * (influence**2).sum()))


def _half(influence: np.ndarray) -> float:
    """Half-width of the 95 % interval over questions."""
    return _t(len(influence)) * _standard_error(influence)


def _t(count: int, p: float = 0.05) -> float:
    """Student's t for a two-sided interval from ``count`` observations, 95 % by default."""
    return float(stats.t.isf(p / 2, count - 1))


def question_interval(base: pd.DataFrame, other: pd.DataFrame | None = None) -> Interval:
    """Seconds per token of ``base``, or their ratio to ``other``'s; a 95 % interval over questions.

    Both are totals with columns seconds and tokens, one row per question, in the same order. For a
    single session, which does not show the spread between sessions: the interval leaves it out.
    """
    totals = [
        frame[["seconds", "tokens"]].to_numpy(float).T
        for frame in (base, other)
        if frame is not None
    ]
    estimate, influence = float(_log_rates(totals[0].sum(1))), _influences(totals[0])
    if len(totals) > 1:
        estimate -= float(_log_rates(totals[1].sum(1)))
        influence = influence - _influences(totals[1])
    half = _half(influence)
    return Interval(*(math.exp(estimate + d) for d in (0.0, -half, half)))


def question_ratio(above: pd.Series, below: pd.Series) -> Interval:
    """Sum of ``above`` over sum of ``below``, by question; the 95 % interval is over questions."""
    whole = below.sum()
    if not whole:
        return Interval.unknown()
    ratio = float(above.sum() / whole)
    half = _half(((above - ratio * below) / whole).to_numpy())
    return Interval(ratio, ratio - half, ratio + half)


def holm(p_values: list[float]) -> list[float]:
    """Holm-adjusted p-values, in the order of ``p_values``; NaN for each where one is unknown."""
    if any(map(math.isnan, p_values)):
        return [math.nan] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted
