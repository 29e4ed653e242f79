"""What the answers are worth: Rouge-2, exact answers, agreement, and a guard against loops."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pandas as pd
from rouge_score.rouge_scorer import RougeScorer
from scipy import stats

# Two answers are as good if their mean scores differ by less: Rouge-2 F1, share of right answers.
AS_GOOD = {"xsum": 0.02, "gsm8k": 0.05}

_SCORER = RougeScorer(["rouge2"], use_stemmer=True)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@lru_cache(maxsize=1 << 16)
def rouge2(prediction: str, reference: str) -> float:
    """Rouge-2 F1 with stemming, 0 to 1."""
    return float(_SCORER.score(reference, prediction)["rouge2"].fmeasure)


def gsm8k_answer(text: str) -> str | None:
    """The number after the last ``####``; None where there is none (openai/grade-school-math)."""
    _, mark, tail = text.rpartition("####")
    found = _NUMBER.search(tail) if mark else None
    return _normalised(found.group()) if found else None


def _normalised(number: str) -> str:
    value = Decimal(number.replace(",", ""))
    return format(value.normalize(), "f") if value else "0"


def is_right(text: str, reference: str) -> bool:
    """Whether a GSM8K answer ends in the reference's number."""
    found = gsm8k_answer(text)
    return found is not None and found == gsm8k_answer(reference)


_MEASURES: dict[str, Callable[[str, str], float]] = {"xsum": rouge2, "gsm8k": is_right}


def scores(dataset: str, answers: pd.Series, references: dict[str, str]) -> pd.Series:
    """Score of each answer that has a reference, by prompt; empty for a set that has no measure."""
    if dataset not in _MEASURES:
        return pd.Series(dtype=float)
    measure = _MEASURES[dataset]
    found = {p: float(measure(answers[p], r)) for p, r in references.items() if r}
    return pd.Series(found, dtype=float)


def equivalence(dataset: str, mine: pd.Series, base: pd.Series) -> dict[str, Any]:
    """Mean difference of paired scores, its 90 % interval, and whether that lies within
    :data:`AS_GOOD`: two one-sided t tests at 5 % (Schuirmann 1987).
    """
    keys = ("quality_difference", "quality_low", "quality_high", "as_good")
    if dataset not in AS_GOOD or len(mine) < 2:
        return dict.fromkeys(keys, None)
    off = mine - base
    mean, error = float(off.mean()), float(off.sem())
    half = error * float(stats.t.ppf(0.95, len(off) - 1)) if error else 0.0
    good = max(abs(mean - half), abs(mean + half)) < AS_GOOD[dataset]
    return dict(zip(keys, (mean, mean - half, mean + half, good), strict=True))


def loops(ids: Sequence[int], size: int = 8, times: int = 3) -> bool:
    """Whether some ``size``-gram of token ids occurs ``times`` times: a degenerate answer."""
    grams = Counter(tuple(ids[i : i + size]) for i in range(len(ids) - size + 1))
    return any(count >= times for count in grams.values())
