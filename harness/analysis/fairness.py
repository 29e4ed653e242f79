"""What must hold for a comparison to be called fair, each checked on the rows themselves."""

from typing import Any

import pandas as pd

from harness.analysis.facts import AA_BAND
from harness.analysis.rows import AGAIN, BASELINE

MARGIN = 1.1  # of the budget: steps are planned, not cut off
PLACES = 0.15  # an arm's mean place in the order may be that far off the middle, in places' range

Check = dict[str, Any]


def checklist(
    experiment: dict[str, Any], rows: pd.DataFrame, summary: pd.DataFrame, prepared: pd.DataFrame
) -> list[Check]:
    """Checks with ``holds`` (True, False, or None where it cannot be told) and a detail.

    Rows that fail in their ids, counts or machine never get here: reading them ends in an error.
    """
    return [
        _check("every arm got the same token ids, as often, on one machine", True, ""),
        _within_cap(experiment, rows),
        _ends(rows),
        _order(rows),
        _warm(experiment),
        _again(summary),
        _lossless(summary),
        _budget(prepared),
        _loops(summary),
    ]


def _check(what: str, holds: bool | None, detail: str) -> Check:
    return {"what": what, "holds": holds, "detail": detail}


def _within_cap(experiment: dict[str, Any], rows: pd.DataFrame) -> Check:
    caps = {name: spec["max_new_tokens"] for name, spec in experiment["datasets"].items()}
    over = rows[rows["tokens"] > rows["dataset"].map(caps)]
    told = f"{len(over)} answers of {over.iloc[0]['arm']} and others" if len(over) else ""
    return _check("no arm's answer is longer than the one cap", over.empty, told)


def _ends(rows: pd.DataFrame) -> Check:
    """Every answer ends with a stop id or at the cap; the same text ends for the same reason."""
    keys = ["model", "prompt_id", "output_sha"]
    told = rows.assign(output_sha=rows["output_ids"].map(tuple).map(hash))
    several = int((told.groupby(keys)["stop_reason"].nunique() > 1).sum())
    known = set(rows["stop_reason"]) <= {"stop", "cap"}
    return _check(
        "one stop rule: equal answers end for the same reason",
        known and not several,
        f"{several} answers do not" if several else "",
    )


def _order(rows: pd.DataFrame) -> Check:
    arms = rows["arm"].nunique()
    means = rows.groupby("arm")["order"].mean()
    off = float((means - (arms - 1) / 2).abs().max()) / max(1, arms - 1)
    worst = str((means - (arms - 1) / 2).abs().idxmax())
    # Whole Williams squares balance exactly; what is cut off at the end of a session need not.
    return _check(
        "arms take turns: no arm mostly first or last",
        off <= PLACES,
        f"farthest off the middle: {worst}, mean place {means[worst] + 1:.1f} of {arms}",
    )


def _warm(experiment: dict[str, Any]) -> Check:
    count = experiment["warmup"]
    return _check("every arm is warmed up on other prompts", count > 0, f"{count} a session")


def _again(summary: pd.DataFrame) -> Check:
    again = summary[summary["method"] == AGAIN]
    if again.empty or again["speedup_ci_low"].isna().all():
        return _check("A/A: autoregressive decoding is as fast as itself", None, "no interval")
    inside = (again["speedup_ci_low"] >= AA_BAND[0]) & (again["speedup_ci_high"] <= AA_BAND[1])
    return _check(
        "A/A: autoregressive decoding is as fast as itself, within 3 %",
        bool(inside.all()),
        f"{inside.sum()} of {len(again)} data sets",
    )


def _lossless(summary: pd.DataFrame) -> Check:
    mine = summary[summary["lossless"].astype(bool)]
    worst = mine["exact_match_rate"].min()
    return _check(
        "lossless arms give autoregressive decoding's own tokens",
        bool(worst == 1),
        f"{100 * worst:.1f} % of the answers at least",
    )


def _budget(prepared: pd.DataFrame) -> Check:
    mine = prepared.dropna(subset=["budget_seconds"])
    if mine.empty:
        return _check("one budget of training and search for all", None, "none is set")
    taken = mine["training_seconds"].fillna(0) + mine["tuning_seconds"]
    over = mine[taken > MARGIN * mine["budget_seconds"]]
    same = mine["budget_seconds"].nunique() == 1
    told = ", ".join(over["method"]) + " took more" if len(over) else ""
    return _check("one budget of training and search for all", same and over.empty, told)


def _loops(summary: pd.DataFrame) -> Check:
    counted = summary[summary["method"] == BASELINE]["speedup"].notna()
    return _check(
        "answers do not loop",
        bool(counted.all()),
        "" if counted.all() else "no speedup is shown where they do",
    )
