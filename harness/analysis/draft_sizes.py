"""Draft size against acceptance length: which method needs fewer drafts for the same.

Lengths are predicted on the answers that the trees were grown from, for all methods alike.
"""

from collections.abc import Sequence
from itertools import permutations

import pandas as pd

from harness.experiment.folder import Folder

REACH = ("model method other other_draft_size acceptance_length draft_size times_smaller").split()


def curves(folder: Folder, models: Sequence[str]) -> pd.DataFrame:
    """The curves of the models; empty without any."""
    files = {model: folder.curve(model) for model in models}
    found = [
        folder.read_csv(file).assign(model=model) for model, file in files.items() if file.is_file()
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def reach(curve: pd.DataFrame, sizes: Sequence[int]) -> pd.DataFrame:
    """For each of ``sizes`` of one method, the fewest drafts with which another accepts as much.

    By predicted acceptance lengths, which cover every size up to the largest; ``draft_size`` is
    empty where even that one accepts less.
    """
    lines = []
    if not curve.empty:
        for model, mine in curve.groupby("model"):
            lengths = {
                name: group.set_index("draft_size")["predicted_acceptance_length"]
                for name, group in mine.groupby("method", sort=False)
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
    wanted = lengths[other][size]
    enough = lengths[method][lengths[method] >= wanted]
    needed = enough.index.min() if len(enough) else None
    return {
        "model": model,
        "method": method,
        "other": other,
        "other_draft_size": size,
        "acceptance_length": wanted,
        "draft_size": needed,
        "times_smaller": size / needed if needed else None,
    }
