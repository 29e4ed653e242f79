"""Quality of answers: scores, equivalence with the baseline, and a guard against loops."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd
from scipy import stats

from harness.datasets import find_dataset

LOOP_LIMIT = 0.10  # share of an arm's answers that may loop; above it no speedup is shown


def scores(dataset: str, answers: pd.Series, references: dict[str, str]) -> pd.Series:
    """Score of each answer with a reference, by prompt; empty for a data set without a score."""
    score = find_dataset(dataset).score
    if score is None:
        return pd.Series(dtype=float)
    by_prompt = {p: float(score.of(answers[p], r)) for p, r in references.items() if r}
    return pd.Series(by_prompt, dtype=float)


def equivalence(dataset: str, mine: pd.Series, base: pd.Series) -> dict[str, object]:
    """Mean difference of paired scores, its 90 % interval, and whether that lies within the set's
    margin: two one-sided t tests at 5 % (Schuirmann 1987). None without scores of two answers.
    """
    keys = ("quality_difference", "quality_low", "quality_high", "as_good")
    score = find_dataset(dataset).score
    if score is None or len(mine) < 2:
        return dict.fromkeys(keys, None)
    differences = mine - base
    mean, error = float(differences.mean()), float(differences.sem())
    half = error * float(stats.t.ppf(0.95, len(differences) - 1)) if error else 0.0
    good = max(abs(mean - half), abs(mean + half)) < score.margin
    return dict(zip(keys, (mean, mean - half, mean + half, good), strict=True))


def loops(ids: Sequence[int], size: int = 8, times: int = 3) -> bool:
    """Whether some ``size``-gram of token ids occurs ``times`` times: then the answer loops."""
    grams = Counter(tuple(ids[i : i + size]) for i in range(len(ids) - size + 1))
    return any(count >= times for count in grams.values())
