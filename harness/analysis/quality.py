"""What the answers are worth: Rouge-2, exact answers, agreement, and a guard against loops."""

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from rouge_score.rouge_scorer import RougeScorer

_SCORER = RougeScorer(["rouge2"], use_stemmer=True)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


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


def loops(ids: Sequence[int], size: int = 8, times: int = 3) -> bool:
    """Whether some ``size``-gram of token ids occurs ``times`` times: a degenerate answer."""
    grams = Counter(tuple(ids[i : i + size]) for i in range(len(ids) - size + 1))
    return any(count >= times for count in grams.values())
