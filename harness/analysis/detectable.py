"""The smallest slowdown, equal on every question, that a run can tell: from its A/A pair, and
checked by planting one. Methods that gain more on some questions than on others need more.

The pair's own rows are drawn again, sessions and questions with replacement, with the pair made
equal on the whole: once as it is, once with one of the two slowed by twice that difference.
"""

import math

import numpy as np
import pandas as pd

from harness.analysis.statistics import LogRatio, Timed, log_ratio, per_question
from harness.experiment.records import AGAIN, BASELINE

RUNS = 400
COLUMNS = ("model dataset half_width detectable planted runs told_slowed told_unslowed").split()


def detectable(rows: pd.DataFrame) -> pd.DataFrame:
    """Per model and data set with an A/A interval: half-width and detectable difference (as shares
    of the time), the slowdown planted, and the share of re-sampled runs that tell the two apart.
    """
    lines = []
    for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False):
        timed = per_question(cell)
        if AGAIN not in set(cell["arm"]):
            continue
        found = log_ratio(timed, BASELINE, AGAIN)
        if math.isnan(found.half_width):
            continue
        planted = 2 * found.detectable
        told = [_share_told(timed, found, slowed) for slowed in (planted, 0.0)]
        shares = (math.expm1(x) for x in (found.half_width, found.detectable, planted))
        lines.append((model, dataset, *shares, RUNS, *told))
    return pd.DataFrame(lines, columns=COLUMNS)


def _share_told(timed: Timed, found: LogRatio, slowed: float) -> float:
    """Share of re-sampled runs in which the second of the pair is significantly slower, or, where
    nothing was planted, differs at all.
    """
    rng = np.random.default_rng(0)
    pair = {arm: timed[arm].copy() for arm in (BASELINE, AGAIN)}
    pair[AGAIN][0] *= math.exp(found.estimate + slowed)
    told = 0
    for _ in range(RUNS):
        drawn = log_ratio(_drawn_again(pair, rng), BASELINE, AGAIN)
        differs = abs(drawn.estimate) > drawn.half_width
        told += differs and (drawn.estimate < 0 or not slowed)
    return told / RUNS


def _drawn_again(pair: Timed, rng: np.random.Generator) -> Timed:
    """Sessions and questions with replacement, the same for both."""
    _, sessions, questions = pair[BASELINE].shape
    place = np.ix_(
        np.arange(2), rng.integers(0, sessions, sessions), rng.integers(0, questions, questions)
    )
    return {arm: both[place] for arm, both in pair.items()}
