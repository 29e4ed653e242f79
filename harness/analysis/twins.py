"""The medusa-llm package beside its twin in our engine: same heads, same tree, two loops."""

import pandas as pd

from harness.analysis.statistics import log_ratio, per_question
from harness.experiment.facts import Twins

PACKAGE, TWIN = "medusa_llm", "medusa_cartesian"


def twins(rows: pd.DataFrame) -> dict[str, Twins]:
    """By ``model/dataset`` with both arms and equal draft sizes: how many answers are the same by
    tokens and by steps, and how many times as fast the engine's decode phase is, with its 95 %
    interval.
    """
    return {
        f"{model}/{dataset}": _compare(cell)
        for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False)
        if {PACKAGE, TWIN} <= set(cell["arm"])
        and _draft_sizes(cell, PACKAGE) == _draft_sizes(cell, TWIN)
    }


def _draft_sizes(cell: pd.DataFrame, arm: str) -> set[int]:
    """All draft sizes of an arm's decode steps."""
    return {size for sizes in cell[cell["arm"] == arm]["step_draft_size"] for size in sizes[1:]}


def _compare(cell: pd.DataFrame) -> Twins:
    keys = ["arm", "session", "prompt_id"]
    rows = cell.set_index(keys)
    theirs, ours = rows.loc[PACKAGE], rows.loc[TWIN]
    ours = ours.reindex(theirs.index)
    steps = (theirs["step_tokens"] == ours["step_tokens"]) & (
        theirs["step_path"].map(_decoded) == ours["step_path"].map(_decoded)
    )
    ratio = log_ratio(per_question(cell), PACKAGE, TWIN).interval
    return {
        "runs": len(theirs),
        "same_answers": int((theirs["output_ids"] == ours["output_ids"]).sum()),
        "same_steps": int(steps.sum()),
        "times_as_fast": ratio.ratio,
        "low": None if pd.isna(ratio.low) else ratio.low,
        "high": None if pd.isna(ratio.high) else ratio.high,
    }


def _decoded(paths: list[list[int]]) -> list[list[int]]:
    """The accepted paths of the decode phase."""
    return paths[1:]
