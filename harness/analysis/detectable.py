"""The smallest slowdown that a run can detect, from its A/A pair, and a check by planting one.

The slowdown is equal on all questions; a method whose gain varies among them needs a larger one.
For the check, sessions and questions of the pair are resampled with replacement, after one of the
two arms was scaled so that both are equally fast: once as they are, and once with that arm slowed
by twice the detectable difference.
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
    of the time), the slowdown planted, and the shares of resampled runs that detect a difference.
    """
    lines = []
    for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False):
        timed = per_question(cell)
        if AGAIN not in set(cell["arm"]):
            continue
        ratio = log_ratio(timed, BASELINE, AGAIN)
        if math.isnan(ratio.half_width):
            continue
        planted = 2 * ratio.detectable
        shares_detected = [_share_detected(timed, ratio, slowed) for slowed in (planted, 0.0)]
        shares = (math.expm1(value) for value in (ratio.half_width, ratio.detectable, planted))
        lines.append((model, dataset, *shares, RUNS, *shares_detected))
    return pd.DataFrame(lines, columns=COLUMNS)


def _share_detected(timed: Timed, ratio: LogRatio, slowed: float) -> float:
    """Share of resampled runs in which the second arm of the pair is significantly slower, or, with
    nothing planted (``slowed`` is 0), significantly different.
    """
    rng = np.random.default_rng(0)
    pair = {arm: timed[arm].copy() for arm in (BASELINE, AGAIN)}
    pair[AGAIN][0] *= math.exp(ratio.estimate + slowed)
    count = 0
    for _ in range(RUNS):
        sample = log_ratio(_resampled(pair, rng), BASELINE, AGAIN)
        differs = abs(sample.estimate) > sample.half_width
        count += differs and (sample.estimate < 0 or not slowed)
    return count / RUNS


def _resampled(pair: Timed, rng: np.random.Generator) -> Timed:
    """Sessions and questions drawn with replacement, the same ones for both arms."""
    _, sessions, questions = pair[BASELINE].shape
    place = np.ix_(
        np.arange(2), rng.integers(0, sessions, sessions), rng.integers(0, questions, questions)
    )
    return {arm: values[place] for arm, values in pair.items()}
