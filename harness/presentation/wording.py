"""Names and numbers as readers see them, in figures and reports alike."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

NAMES = {
    "autoregressive": "autoregressive",
    "autoregressive_again": "autoregressive again (A/A)",
    "hf_generate": "HF generate",
    "firp": "FIRP",
    "firp_adapters": "FIRP with adapters (ours)",
    "firp_parents": "FIRP that follows parents (ours)",
    "hidden_transfer": "Hidden Transfer",
    "medusa": "Medusa",
    "medusa_template": "Medusa, 63-node template",
    "medusa_cartesian": "Medusa, the package's tree",
    "medusa_llm": "medusa-llm (the package)",
    "medusa_typical": "Medusa, typical (lossy)",
    "medusa_shared": "Medusa, the target's head",
    "hydra": "Hydra",
    "hydra_plus": "Hydra++",
    "eagle": "EAGLE",
    "eagle2": "EAGLE-2",
    "chimera": "Chimera",
    "lookahead": "Lookahead",
    "self_speculative": "self-speculative",
    "draft_model": "draft model",
    "token_recycling": "Token Recycling",
    "prompt_lookup": "prompt lookup",
    "hf_prompt_lookup": "HF prompt lookup",
    "hf_assisted": "HF assisted",
    "width_matched": "FIRP's width, one token kept",
}


def name_of(method: str) -> str:
    """The name of a method as readers see it; one that NAMES does not have stays as it is."""
    return NAMES.get(method, method)


def shown_names(table: pd.DataFrame, column: str = "method") -> list[str]:
    """Names of a table's methods, each with its model if the table holds several.

    The name of an arm that is not lossless says so, and that of one that failed says why.
    """
    names = table[column].map(name_of)
    if "lossless" in table:
        unmarked = ~table["lossless"].astype(bool) & ~names.str.endswith("(lossy)")
        names = names.mask(unmarked, names + " (lossy)")
    if "failure" in table:
        names = names + table["failure"].map(lambda why: "" if pd.isna(why) else f", failed: {why}")
    if table["model"].nunique() > 1:
        names = names + " (" + table["model"] + ")"
    return list(names)


def number(value: Any, digits: int, unit: str = "") -> str:
    """Fixed digits and the unit, or an en dash where the value is undefined; words as they are."""
    if isinstance(value, str):
        return value
    return "–" if value is None or pd.isna(value) else f"{value:,.{digits}f}{unit}"


def percent(share: float) -> float:
    """A share in percent, cut to one decimal: less than all never reads as 100.0 %."""
    return share if pd.isna(share) else math.floor(1000 * share + 1e-9) / 10


def interval(low: float, high: float, digits: int = 2) -> str:
    """The bounds of an interval; an en dash where there is none."""
    return "–" if pd.isna(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def joined(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def rank_text(best: float, worst: float) -> str:
    """The range of an arm's ranks: "1", "2–3"; a dash where it is not ranked."""
    if pd.isna(best):
        return "–"
    return f"{best:.0f}" if best == worst else f"{best:.0f}–{worst:.0f}"
