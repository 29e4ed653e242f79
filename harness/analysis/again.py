"""The A/A test: two identical autoregressive arms show whether the order of arms favours one."""

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from harness.analysis.statistics import Timed, session_log_ratios
from harness.experiment.facts import AgainFacts
from harness.experiment.records import AGAIN, BASELINE

LEVEL = 0.01
_REASONS = {
    None: "one session a data set gives no test",
    False: "a place in the sessions is favoured",
    True: None,
}


def again(cells: Mapping[str, Timed]) -> AgainFacts:
    """The A/A test of a model: one test over the sessions of all its data sets.

    ``cells``: what ``per_question`` gives for each data set; those without both arms are ignored,
    and those whose answers end with the first token, which decode nothing. The caller leaves out
    data sets whose answers loop.

    ``ratio``: geometric mean of the sessions' ratios, where every data set has the same weight.
    ``p_value``: of a t test of that mean against 1; its variance is that of sessions about the mean
    of their own data set. ``passes`` is None where nothing can be tested; ``reason`` says why, or
    why the test fails.
    """
    paired = {name: cell for name, cell in cells.items() if _tells(cell)}
    by_set = [session_log_ratios(cell, BASELINE, AGAIN) for cell in paired.values()]
    mean = float(np.mean([ratios.mean() for ratios in by_set])) if paired else math.nan
    p_value = _p_value(by_set, mean)
    passes = None if p_value is None else p_value >= LEVEL
    return {
        "ratio": math.exp(mean) if paired else None,
        "p_value": p_value,
        "sessions": sum(map(len, by_set)),
        "passes": passes,
        "reason": _REASONS[passes] if paired else "no data set has such a pair",
    }


def _tells(cell: Timed) -> bool:
    """Whether both arms decoded something in every session."""
    return all(arm in cell and cell[arm][1].sum(-1).all() for arm in (BASELINE, AGAIN))


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
