"""Tables of published runs: rates with intervals, paired ratios, acceptance lengths.

Each run is one session on a machine that its file does not name. The intervals therefore cover
questions only, and two runs of the same program may well differ by more.
"""

import math
from itertools import combinations

import numpy as np
import pandas as pd

from harness.analysis.statistics import Interval, question_interval, ratio

WARNINGS = (
    "Each file is one session: intervals cover questions, not the spread from session to session. "
    "Two runs of one program can differ significantly by them.",
    "The files name no machine, order, clock or load: whether runs are comparable is not in them.",
    "Prefill and decoding are timed together; tokens are those that the file's own counter told, "
    "tokens after a stop id or past the cap included if it counted them.",
    "Texts are compared as decoded, not as token ids.",
)


def runs_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per run: tokens per second with the 95 % interval over questions, and acceptance
    length by every definition; NaN where the run's log does not suffice.
    """
    return pd.DataFrame([_run(str(name), run) for name, run in rows.groupby("run", sort=False)])


def pairs_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per pair of runs, over the turns that both answered.

    ``times_as_fast``: tokens per second of all questions together, ``other`` over ``run``, with an
    interval over paired questions; ``geometric_mean``: of the questions' ratios;
    ``mean_of_rates``: ratio of the means of the questions' rates, as Spec-Bench computes it, but
    each with the tokens that its file logged.
    """
    names = list(dict.fromkeys(rows["run"]))
    lines = [_pair(rows, *pair) for pair in combinations(names, 2)]
    columns = ["run", "other", "questions", "same_texts", "same_token_counts", "times_as_fast"]
    columns += ["ci_low", "ci_high", "geometric_mean", "mean_of_rates"]
    return pd.DataFrame(lines, columns=columns)


def _run(name: str, run: pd.DataFrame) -> dict[str, object]:
    totals = _totals(run)
    rate = Interval.unknown()
    if totals["tokens"].sum() > 0:
        slow = question_interval(totals)
        rate = Interval(1 / slow.ratio, 1 / slow.high, 1 / slow.low)
    return {
        "run": name,
        "questions": len(totals),
        "turns": len(run),
        "tokens": run["tokens"].sum(),
        "seconds": run["seconds"].sum(),
        "tokens_per_second": rate.ratio,
        "ci_low": rate.low,
        "ci_high": rate.high,
        **acceptance_lengths(run),
    }


def acceptance_lengths(run: pd.DataFrame) -> dict[str, float]:
    """Acceptance length by every definition in use, each over the turns that log what it needs.

    Medusa and EAGLE log verify steps only, without the prefill, so their ``tokens_per_step`` is
    what this project calls acceptance length. Other programs may count the prefill as a step.
    """
    stepped = run[run["steps"] > 0]
    logged = run[run["logged_steps"] > 0]
    per_turn = stepped["tokens"] / stepped["steps"]
    listed, later = run[run["accepted_steps"] > 0], run[run["accepted_steps"] > 1]
    later = later.dropna(subset=["first_accepted"])
    return {
        # tokens over the step counter as the file has it
        "tokens_per_logged_step": ratio(logged["tokens"].sum(), logged["logged_steps"].sum()),
        # the same with a zero-based index made a count
        "tokens_per_step": ratio(stepped["tokens"].sum(), stepped["steps"].sum()),
        "mean_over_turns": float(per_turn.mean()) if len(per_turn) else math.nan,
        # mean of all logged accept_lengths, and without each turn's first entry
        "listed": ratio(listed["accepted"].sum(), listed["accepted_steps"].sum()),
        "listed_without_first": ratio(
            (later["accepted"] - later["first_accepted"]).sum(),
            (later["accepted_steps"] - 1).sum(),
        ),
    }


def _pair(rows: pd.DataFrame, run: str, other: str) -> list[object]:
    keys = ["question_id", "sample", "turn"]
    left, right = (rows[rows["run"] == name].set_index(keys) for name in (run, other))
    common = left.index.intersection(right.index)
    left, right = left.loc[common], right.loc[common]
    totals = [_totals(side.reset_index()) for side in (left, right)]
    if not all(side["tokens"].sum() > 0 for side in totals):
        return [run, other, len({question for question, *_ in common}), *[math.nan] * 7]
    interval = question_interval(totals[0], totals[1])
    counted = (totals[0]["tokens"] > 0) & (totals[1]["tokens"] > 0)
    rates = [side[counted]["tokens"] / side[counted]["seconds"] for side in totals]
    return [
        run,
        other,
        len(totals[0]),
        float((left["text_sha256"] == right["text_sha256"]).mean()),
        float((left["tokens"] == right["tokens"]).mean()),
        interval.ratio,
        interval.low,
        interval.high,
        float(np.exp(np.log(rates[1] / rates[0]).mean())),
        float(rates[1].mean() / rates[0].mean()),
    ]


def _totals(rows: pd.DataFrame) -> pd.DataFrame:
    """Seconds and tokens of each question, summed over its turns."""
    return rows.groupby("question_id")[["seconds", "tokens"]].sum()
