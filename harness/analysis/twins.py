"""The upstream package beside its twin in our engine: same heads, same tree, two loops."""

from typing import Any

import pandas as pd

from harness.analysis.statistics import log_ratio, per_question

PACKAGE, TWIN = "medusa_llm", "medusa_cartesian"


def twins(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Per model/dataset with both arms: prompts, how many are equal token by token and step by
    step, and how many times as fast the engine's decode phase is, with its 95 % interval.
    """
    return {
        f"{model}/{dataset}": _compare(cell)
        for (model, dataset), cell in rows.groupby(["model", "dataset"], sort=False)
        if {PACKAGE, TWIN} <= set(cell["arm"])
    }


def _compare(cell: pd.DataFrame) -> dict[str, Any]:
    once = cell.drop_duplicates(["arm", "prompt_id"]).set_index(["arm", "prompt_id"])
    theirs, ours = once.loc[PACKAGE], once.loc[TWIN]
    ours = ours.reindex(theirs.index)
    found = log_ratio(per_question(cell), PACKAGE, TWIN).interval
    return {
        "prompts": len(theirs),
        "same_answers": int((theirs["output_ids"] == ours["output_ids"]).sum()),
        "same_steps": int((theirs["step_tokens"] == ours["step_tokens"]).sum()),
        "times_as_fast": found.ratio,
        "low": None if pd.isna(found.low) else found.low,
        "high": None if pd.isna(found.high) else found.high,
    }
