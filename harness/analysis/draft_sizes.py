"""Draft size against acceptance length: which method needs fewer drafts to accept as much.

For every method, lengths are predicted on the same answers that its trees were grown from.
"""

from collections.abc import Sequence
from itertools import permutations

import pandas as pd

REACH = ("model method other other_draft_size acceptance_length draft_size times_smaller").split()


def reach(curve: pd.DataFrame, sizes: Sequence[int]) -> pd.DataFrame:
    """For each of ``sizes`` of one method, the fewest drafts with which another accepts as much.

    Predicted acceptance lengths are compared, which the curves have for every size up to the
    largest; ``draft_size`` is empty where even the largest accepts less.
    """
    lines = []
    for model, model_curve in curve.groupby("model"):
        lengths = {
            name: group.set_index("draft_size")["predicted_acceptance_length"]
            for name, group in model_curve.groupby("method", sort=False)
        }
        lines += [
            _reached(str(model), pair, lengths, size)
            for pair in permutations(lengths, 2)
            for size in sizes
            if size in lengths[pair[1]]
        ]
    return pd.DataFrame(lines, columns=REACH)


def _reached(
    model: str, pair: tuple[str, str], lengths: dict[str, pd.Series], size: int
) -> dict[str, object]:
    method, other = pair
    length = lengths[other][size]
    enough = lengths[method][lengths[method] >= length]
    needed = enough.index.min() if len(enough) else None
    return {
        "model": model,
        "method": method,
        "other": other,
        "other_draft_size": size,
        "acceptance_length": length,
        "draft_size": needed,
        "times_smaller": size / needed if needed else None,
    }
