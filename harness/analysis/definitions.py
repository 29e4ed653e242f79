"""One step trace, every definition: to compare a figure here with a figure from elsewhere.

Names say what is averaged; who uses which is in the report. Ours are ``acceptance_length`` (tokens
committed per decode-phase step) and ``ratio_of_sums``.
"""

import math

import numpy as np
import pandas as pd

from harness.experiment.records import BASELINE

ACCEPTANCE = (
    "acceptance_length",
    "with_prefill",
    "mean_of_answers",
    "mean_of_answers_with_prefill",
    "one_plus_accepted_per_draft",
)
SPEED = ("ratio_of_sums", "geometric_mean", "mean_of_rates")


def definitions(rows: pd.DataFrame, counted: set[tuple[str, str]]) -> pd.DataFrame:
    """One line per model, data set and arm; speeds only for ``counted`` (model, dataset)."""
    lines = []
    for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False):
        rates = _question_rates(cell)
        for arm, mine in cell.groupby("arm", sort=False):
            speeds = dict.fromkeys(SPEED, math.nan)
            if (model, dataset) in counted:
                speeds = _speeds(rates, cell, str(arm))
            line = {"model": model, "dataset": dataset, "method": arm}
            lines.append({**line, **acceptance(mine), **speeds})
    return pd.DataFrame(lines)


def acceptance(rows: pd.DataFrame) -> dict[str, float]:
    """Acceptance lengths of one arm's rows."""
    tokens, steps = rows["decode_tokens"], rows["decode_steps"]
    whole = rows["step_tokens"].map(len)
    decoded = rows[steps > 0]
    accepted, drafted = rows.apply(_accepted, axis=1, result_type="expand").sum()
    return {
        "acceptance_length": _ratio(tokens.sum(), steps.sum()),
        "with_prefill": _ratio(rows["tokens"].sum(), whole.sum()),
        "mean_of_answers": float((decoded["decode_tokens"] / decoded["decode_steps"]).mean()),
        "mean_of_answers_with_prefill": float((rows["tokens"] / whole).mean()),
        "one_plus_accepted_per_draft": 1 + _ratio(accepted, drafted) if drafted else math.nan,
    }


def _accepted(row: pd.Series) -> tuple[int, int]:
    """Draft tokens accepted, and steps that verified any, in the decode phase."""
    drafted = [size > 0 for size in row["step_draft_size"][1:]]
    lengths = [len(path) for path in row["step_path"][1:]]
    return sum(length for length, any_ in zip(lengths, drafted, strict=True) if any_), sum(drafted)


def _question_rates(cell: pd.DataFrame) -> pd.DataFrame:
    """Decode tokens per second, question by arm, sessions and turns summed."""
    summed = cell.groupby(["question_id", "arm"])[["decode_tokens", "decode_seconds"]].sum()
    summed = summed[summed["decode_tokens"] > 0]
    return (summed["decode_tokens"] / summed["decode_seconds"]).unstack("arm")


def _speeds(rates: pd.DataFrame, cell: pd.DataFrame, arm: str) -> dict[str, float]:
    """Over the questions that both have decode tokens for; the sums are over all."""
    totals = cell.groupby("arm")[["decode_tokens", "decode_seconds"]].sum()
    rate = totals["decode_tokens"] / totals["decode_seconds"]
    both = rates.reindex(columns=[BASELINE, arm]).dropna()
    base, mine = both.iloc[:, 0], both.iloc[:, -1]
    return {
        "ratio_of_sums": rate[arm] / rate[BASELINE],
        "geometric_mean": float(np.exp(np.log(mine / base).mean())),
        "mean_of_rates": mine.mean() / base.mean(),
    }


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan
