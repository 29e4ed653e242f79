"""Answers of lossless arms that differ from autoregressive ones: where, and why."""

import pandas as pd

from harness.experiment.records import Divergence

WIDTH = "width_matched"
KEYS = ("margin", "exact_margin", "rounding", "baseline_gap", "arm_gap", "own_width")
TIE_MARGIN = 1e-4  # rounding closes such gaps of float32 logits; in half precision it is measured


def divergences(rows: pd.DataFrame) -> pd.DataFrame:
    """Answers of lossless arms that differ from the baseline's, each with its cause.

    ``margin``: the gap between the target's logits for the two tokens. Below float32 and with
    packed weights also ``exact_margin``, that gap in float32, and ``rounding``, the largest
    distance of a logit there from its float32 value.
    ``baseline_gap``, ``arm_gap``: the gap between the two highest logits in the forward by which
    the baseline, or the arm, chose its token. ``own_width``: whether the arm still differs from the
    baseline, there or before, when it decodes once more and accepts no draft; then the width of its
    forwards is the cause, not what it accepts. Arms outside the engine have no ``arm_gap`` and no
    ``own_width``.
    ``width_matched``: whether the arm of that name, whose forwards are as wide as FIRP's and which
    accepts nothing, differs at the same token in the same session; empty without that arm.
    """
    diffs = rows[rows["divergence"].notna()]
    table = diffs[["model", "dataset", "session", "prompt_id", "arm"]].assign(
        **{key: diffs["divergence"].map(lambda d, key=key: d.get(key)) for key in ("index", *KEYS)},
        cause=diffs["divergence"].map(cause),
    )
    return table.assign(width_matched=_width_explains(table, rows))


def _width_explains(table: pd.DataFrame, rows: pd.DataFrame) -> list[bool | None]:
    keys = ["model", "dataset", "session", "prompt_id", "index"]
    if WIDTH not in set(rows["arm"]):
        return [None] * len(table)
    wide = set(table[table["arm"] == WIDTH][keys].itertuples(index=False, name=None))
    return [place in wide for place in table[keys].itertuples(index=False, name=None)]


def cause(divergence: Divergence) -> str:
    """Why the answers differ; a gap is numerical if rounding of its two logits can close it."""
    gap = divergence["margin"]
    if gap == 0:
        return "exact tie"
    exact = divergence.get("exact_margin", gap)
    # With packed weights in float32, a forward of another width rounds by more than the one audited
    # shows. In half precision, logits differ by more than this limit or not at all.
    tied = max(abs(gap), abs(exact)) < TIE_MARGIN
    rounded = abs(exact) < 2 * divergence.get("rounding", 0.0)
    return "numerical" if tied or rounded else "METHOD BUG"
