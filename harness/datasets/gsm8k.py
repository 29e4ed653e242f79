"""GSM8K: grade-school mathematics in words (Cobbe et al., arXiv 2110.14168; openai/gsm8k).

An answer is right where the number after its first ``####`` that has one equals the reference's.
"""

import re
from decimal import Decimal

from harness.datasets.base import Dataset, Layout, Question, Record, Score, text

_SPACES = "\u00a0\u202f "  # may separate thousands: no-break, narrow no-break and plain space
# A sign before or after a dollar sign; then grouped thousands, plain digits, or a point first.
_NUMBER = re.compile(
    r"([-\u2212]?)\$?(-?)"
    rf"(\d{{1,3}}(?:[,{_SPACES}]\d{{3}})+(?!\d)(?:\.\d+)?|\d[\d,]*(?:\.\d+)?|\.\d+)"
)


def gsm8k_answer(answer: str) -> str | None:
    """The number after the first ``####`` that has one; None without.

    What a model goes on to ask and answer after it does not count (openai/grade-school-math).
    """
    _, *tails = answer.split("####")
    match = next(filter(None, map(_NUMBER.search, tails)), None)
    return _normalised(*match.groups()) if match else None


def _normalised(sign: str, inner_sign: str, digits: str) -> str:
    value = Decimal(re.sub(f"[,{_SPACES}]", "", digits)).normalize()
    return f"{'-' if sign or inner_sign else ''}{value:f}" if value else "0"


def is_right(answer: str, reference: str) -> bool:
    """Whether an answer's number is the reference's."""
    number = gsm8k_answer(answer)
    return number is not None and number == gsm8k_answer(reference)


def _read(record: Record, index: int) -> Question:
    turns = (text(record["question"], "question"),)
    return Question(str(index), "math", turns, (text(record["answer"], "answer"),))


DATASET = Dataset(
    shown="GSM8K",
    layouts=(Layout(("question", "answer"), _read),),
    score=Score("accuracy", "accuracy", is_right, margin=0.05),
)
