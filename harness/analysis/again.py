"""The A/A test: two identical autoregressive arms show whether the order of arms favours one."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
from scipy import stats

from harness.analysis.statistics import LogRatio, Timed, log_ratio, session_log_ratios
from harness.experiment.facts import AgainFacts, Alone
from harness.experiment.records import AGAIN, BASELINE

LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class Again:
    """The A/A test of a model: one test over the sessions of all its data sets.

    ``ratio``: geometric mean of the sessions' ratios, where every data set has the same weight.
    ``p_value``: of a t test of that mean against 1; its variance is that of sessions about the mean
    of their own data set. ``passes`` is None where nothing can be tested; ``reason`` says why, or
    why the test fails. ``sets``: the result of each data set alone, which decides nothing.
    """

    ratio: float | None
    p_value: float | None
    sessions: int
    passes: bool | None
    reason: str | None
    sets: dict[str, Alone]

    def as_dict(self) -> AgainFacts:
        """The test as ``facts.json`` holds it."""
        return cast(AgainFacts, asdict(self))


def again(cells: Mapping[str, Timed]) -> Again:
    """The A/A test of one model; ``cells``: what ``per_question`` gives for each data set.

    Data sets without both arms are ignored. The caller leaves out data sets whose answers loop.
    """
    paired = {name: cell for name, cell in cells.items() if {BASELINE, AGAIN} <= cell.keys()}
    if not paired:
        return Again(None, None, 0, None, "no data set has such a pair", {})
    sets = {name: _alone(log_ratio(cell, BASELINE, AGAIN)) for name, cell in paired.items()}
    by_set = [session_log_ratios(cell, BASELINE, AGAIN) for cell in paired.values()]
    sessions = sum(map(len, by_set))
    mean = float(np.mean([ratios.mean() for ratios in by_set]))
    p_value = _p_value(by_set, mean)
    if p_value is None:
        reason = "one session a data set gives no test"
        return Again(math.exp(mean), None, sessions, None, reason, sets)
    passes = p_value >= LEVEL
    failed = None if passes else "a place in the sessions is favoured"
    return Again(math.exp(mean), p_value, sessions, passes, failed, sets)


def _p_value(by_set: list[np.ndarray], mean: float) -> float | None:
    """Two-sided t test of the mean of the data sets' means against 0, with one pooled variance."""
    degrees = sum(len(ratios) - 1 for ratios in by_set)
    if degrees < 1:
        return None
    within = sum(((ratios - ratios.mean()) ** 2).sum() for ratios in by_set)
    variance = within / degrees * sum(1 / len(ratios) for ratios in by_set) / len(by_set) ** 2
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / math.sqrt(variance), degrees))


def _alone(comparison: LogRatio) -> Alone:
    """The result of one data set; half-width and detectable difference as shares of the time."""
    shares = (math.expm1(value) for value in (comparison.half_width, comparison.detectable))
    figures = (*asdict(comparison.interval).values(), *shares)
    ratio, low, high, half, least = (None if math.isnan(figure) else figure for figure in figures)
    return Alone(ratio=ratio, low=low, high=high, half_width=half, detectable=least)
