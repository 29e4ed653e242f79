"""Arms that are not lossless: how far their answers are from what the target itself would say."""

import numpy as np
import pandas as pd

from harness.analysis.statistics import question_ratio

_CELL = ["model", "dataset", "arm"]
COLUMNS = ("model", "dataset", "method", "tokens", "distance", "distance_low", "distance_high")


def distances(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per model, data set and arm that is not lossless; ``distance`` is the mean over its
    answers, each weighted by all its tokens, though a row's ``distance`` leaves out the last, see
    :class:`harness.experiment.records.Row`. The 95 % interval is over questions.
    """
    if "distance" not in rows:  # rows of an older version
        return pd.DataFrame(columns=list(COLUMNS))
    known = rows[rows["distance"].notna()]
    moved = known.assign(moved=known["distance"] * known["tokens"])
    lines = []
    for cell, answers in moved.groupby(_CELL, sort=False):
        sums = answers.groupby("question_id")[["moved", "tokens"]].sum()
        interval = question_ratio(sums["moved"], sums["tokens"])
        figures = (interval.ratio, *np.clip([interval.low, interval.high], 0.0, 1.0))
        lines.append((*cell, int(sums["tokens"].sum()), *figures))
    return pd.DataFrame(lines, columns=list(COLUMNS))
