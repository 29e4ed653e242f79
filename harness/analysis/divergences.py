"""Answers of lossless arms that differ from autoregressive ones: where, and why."""

import pandas as pd

from harness.experiment.records import Divergence

WIDTH = "width_matched"
TOLD = ("margin", "exact_margin", "rounding", "baseline_gap", "arm_gap", "own_width")
TIE_MARGIN = 1e-4  # of float32 logits; in half precision their rounding is measured


def divergences(rows: pd.DataFrame) -> pd.DataFrame:
    """Answers of lossless arms that differ from the baseline's, each with its cause.

    ``margin``: the target's logit gap between the two tokens; below float32 and with packed weights
    also ``exact_margin``, the gap in float32, and ``rounding``, how far logits are from their
    float32 values there.
    ``baseline_gap`` and ``arm_gap``: of the two highest logits that either chose its token from, in
    its own forward; ``own_width``: whether the arm still leaves the baseline, there or before, when
    it decodes once more and accepts no draft: then the width of its forwards is the cause, not what
    it accepts. Empty for arms outside the engine.
    ``width_matched``: whether the arm of that name, which is as wide as FIRP and accepts nothing,
    leaves the baseline at the same token in the same session; empty without that arm.
    """
    found = rows[rows["divergence"].notna()]
    table = found[["model", "dataset", "session", "prompt_id", "arm"]].assign(
        **{key: found["divergence"].map(lambda d, key=key: d.get(key)) for key in ("index", *TOLD)},
        cause=found["divergence"].map(cause),
    )
    return table.assign(width_matched=_width_explains(table, rows))


def _width_explains(table: pd.DataFrame, rows: pd.DataFrame) -> list[bool | None]:
    keys = ["model", "dataset", "session", "prompt_id", "index"]
    if WIDTH not in set(rows["arm"]):
        return [None] * len(table)
    wide = set(table[table["arm"] == WIDTH][keys].itertuples(index=False, name=None))
    return [place in wide for place in table[keys].itertuples(index=False, name=None)]


def cause(divergence: Divergence) -> str:
    """A gap is numerical if both logits' rounding can close it."""
    gap = divergence["margin"]
    if gap == 0:
        return "exact tie"
    exact = divergence.get("exact_margin", gap)
    # Packed weights in float32: at other widths it rounds by more than the one forward shows. In
    # half precision logits are farther apart than that, or equal.
    tied = max(abs(gap), abs(exact)) < TIE_MARGIN
    rounded = abs(exact) < 2 * divergence.get("rounding", 0.0)
    return "numerical" if tied or rounded else "METHOD BUG"
