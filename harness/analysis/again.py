"""A/A: autoregressive decoding beside itself shows that no place in a session is favoured."""

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
    """The one test of a model: all its data sets' sessions together.

    ``ratio`` is the geometric mean of the sessions' own ratios, each data set counting alike;
    ``p_value`` that of a t test against 1 whose variance is the sessions' about their own set's
    mean. ``passes`` is None where nothing can be tested, and ``reason`` says why. ``sets`` has what
    each data set shows by itself, which decides nothing.
    """

    ratio: float | None
    p_value: float | None
    sessions: int
    passes: bool | None
    reason: str | None
    sets: dict[str, Alone]

    def as_dict(self) -> AgainFacts:
        """For ``facts.json``."""
        return cast(AgainFacts, asdict(self))


def again(cells: Mapping[str, Timed]) -> Again:
    """The test of one model; ``cells`` holds what per_question has of each data set.

    Data sets without the pair, or whose answers loop, are to be left out by the caller.
    """
    held = {name: cell for name, cell in cells.items() if {BASELINE, AGAIN} <= cell.keys()}
    if not held:
        return Again(None, None, 0, None, "no data set has such a pair", {})
    sets = {name: _alone(log_ratio(cell, BASELINE, AGAIN)) for name, cell in held.items()}
    found = [session_log_ratios(cell, BASELINE, AGAIN) for cell in held.values()]
    sessions = sum(map(len, found))
    mean = float(np.mean([ratios.mean() for ratios in found]))
    p_value = _p_value(found, mean)
    if p_value is None:
        reason = "one session a data set gives no test"
        return Again(math.exp(mean), None, sessions, None, reason, sets)
    passes = p_value >= LEVEL
    failed = None if passes else "a place in the sessions is favoured"
    return Again(math.exp(mean), p_value, sessions, passes, failed, sets)


def _p_value(found: list[np.ndarray], mean: float) -> float | None:
    """Two-sided t test of the mean of the sets' means against 0, one variance for all sets."""
    degrees = sum(len(ratios) - 1 for ratios in found)
    if degrees < 1:
        return None
    within = sum(((ratios - ratios.mean()) ** 2).sum() for ratios in found)
    variance = within / degrees * sum(1 / len(ratios) for ratios in found) / len(found) ** 2
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / math.sqrt(variance), degrees))


def _alone(found: LogRatio) -> Alone:
    """One data set by itself; half-width and detectable difference as shares of the time."""
    shares = (math.expm1(value) for value in (found.half_width, found.detectable))
    figures = (*asdict(found.interval).values(), *shares)
    ratio, low, high, half, least = (None if math.isnan(one) else one for one in figures)
    return Alone(ratio=ratio, low=low, high=high, half_width=half, detectable=least)
