"""Acceptance length and speedup by several definitions, to compare figures with those of others.

All are computed from the same rows. Names say what is averaged; the report says who uses which.
Ours are ``acceptance_length`` (tokens committed per decode-phase step) and ``ratio_of_sums``.
"""

import math

import numpy as np
import pandas as pd

from harness.analysis.statistics import ratio
from harness.experiment.records import BASELINE

SPEED = ("ratio_of_sums", "geometric_mean", "mean_of_rates")


def definitions(rows: pd.DataFrame, counted: set[tuple[str, str, str]]) -> pd.DataFrame:
    """One line per model, data set and arm; speedups only for those in ``counted``."""
    lines = []
    for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False):
        rates = _question_rates(cell)
        for arm, arm_rows in cell.groupby("arm", sort=False):
            speeds = dict.fromkeys(SPEED, math.nan)
            if (model, dataset, arm) in counted:
                speeds = _speeds(rates, cell, str(arm))
            line = {"model": model, "dataset": dataset, "method": arm}
            lines.append({**line, **acceptance(arm_rows), **speeds})
    return pd.DataFrame(lines)


def acceptance(rows: pd.DataFrame) -> dict[str, float]:
    """Acceptance lengths of one arm's rows, by each definition."""
    tokens, steps = rows["decode_tokens"], rows["decode_steps"]
    steps_with_prefill = rows["step_tokens"].map(len)
    decoded = rows[steps > 0]
    accepted, drafted = rows.apply(_accepted, axis=1, result_type="expand").sum()
    return {
        "acceptance_length": ratio(tokens.sum(), steps.sum()),
        "with_prefill": ratio(rows["tokens"].sum(), steps_with_prefill.sum()),
        "mean_of_answers": float((decoded["decode_tokens"] / decoded["decode_steps"]).mean()),
        "mean_of_answers_with_prefill": float((rows["tokens"] / steps_with_prefill).mean()),
        "one_plus_accepted_per_draft": 1 + ratio(accepted, drafted),
    }


def _accepted(row: pd.Series) -> tuple[int, int]:
    """Accepted draft tokens, and the number of steps that verified drafts, in the decode phase."""
    drafted = [size > 0 for size in row["step_draft_size"][1:]]
    lengths = [len(path) for path in row["step_path"][1:]]
    return sum(length for length, any_ in zip(lengths, drafted, strict=True) if any_), sum(drafted)


def _question_rates(cell: pd.DataFrame) -> pd.DataFrame:
    """Decode tokens per second, questions by arms, summed over sessions and turns first."""
    summed = cell.groupby(["question_id", "arm"])[["decode_tokens", "decode_seconds"]].sum()
    summed = summed[summed["decode_tokens"] > 0]
    return (summed["decode_tokens"] / summed["decode_seconds"]).unstack("arm")


def _speeds(rates: pd.DataFrame, cell: pd.DataFrame, arm: str) -> dict[str, float]:
    """An arm's speedups. Means are over questions on which both decoded tokens, sums over all."""
    totals = cell.groupby("arm")[["decode_tokens", "decode_seconds"]].sum()
    rate = totals["decode_tokens"] / totals["decode_seconds"]
    paired = rates.reindex(columns=[BASELINE, arm]).dropna()
    base_rates, arm_rates = paired.iloc[:, 0], paired.iloc[:, -1]
    return {
        "ratio_of_sums": rate[arm] / rate[BASELINE],
        "geometric_mean": float(np.exp(np.log(arm_rates / base_rates).mean())),
        "mean_of_rates": arm_rates.mean() / base_rates.mean(),
    }
