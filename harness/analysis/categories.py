"""Speed and acceptance length by category of question, for data sets that have several.

A category of MT-bench has few questions, so its figures are only hints: no interval is given.
"""

import math
from collections.abc import Iterator

import pandas as pd

from harness.analysis.statistics import rate, ratio
from harness.experiment.records import BASELINE

COLUMNS = "model dataset category method questions tokens acceptance_length speedup".split()


def categories(
    rows: pd.DataFrame, prompts: dict[tuple[str, str], dict[str, object]], summary: pd.DataFrame
) -> pd.DataFrame:
    """One line per model, data set, category and arm, with the estimators of the summary.

    ``prompts``: the frozen prompts by (model, prompt id). The speedup is empty for an arm without
    one in ``summary``, which is so where answers loop.
    """
    places = zip(rows["model"], rows["prompt_id"], strict=True)
    rows = rows.assign(category=[prompts[place].get("category") for place in places])
    shown = summary.set_index(["model", "dataset", "method"])["speedup"].notna()
    lines = [
        line
        for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False)
        if cell["category"].nunique() > 1
        for line in _lines(cell, shown.loc[model, dataset])
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


def _lines(cell: pd.DataFrame, shown: pd.Series) -> Iterator[dict[str, object]]:
    """The lines of a model and data set; ``shown``: by arm, whether its speedup is shown."""
    keys = ["model", "dataset", "category"]
    for place, group in cell.groupby(keys, sort=False):
        baseline = rate(group[group["arm"] == BASELINE])
        for arm, arm_rows in group.groupby("arm", sort=False):
            yield {
                **dict(zip(keys, place, strict=True)),
                "method": arm,
                "questions": arm_rows["question_id"].nunique(),
                "tokens": int(arm_rows["tokens"].sum()),
                "acceptance_length": ratio(
                    arm_rows["decode_tokens"].sum(), arm_rows["decode_steps"].sum()
                ),
                "speedup": ratio(rate(arm_rows), baseline) if shown[arm] else math.nan,
            }
