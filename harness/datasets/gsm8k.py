"""GSM8K: grade-school mathematics in words (Cobbe et al., arXiv 2110.14168; openai/gsm8k).

An answer is right where the number behind its first ``####`` is the reference's.
"""

import re
from decimal import Decimal

from harness.datasets.base import Dataset, Layout, Question, Record, Score, text

_SPACES = "\u00a0\u202f "  # that stand between thousands, the plain one too
# A sign before or behind a dollar; thousands by commas or spaces, or digits, or a point first.
_NUMBER = re.compile(
    r"([-\u2212]?)\$?(-?)"
    rf"(\d{{1,3}}(?:[,{_SPACES}]\d{{3}})+(?!\d)(?:\.\d+)?|\d[\d,]*(?:\.\d+)?|\.\d+)"
)


def gsm8k_answer(answer: str) -> str | None:
    """The number after the first ``####`` that has one; None without.

    What a model goes on to ask and answer behind it does not count (openai/grade-school-math).
    """
    _, *tails = answer.split("####")
    found = next(filter(None, map(_NUMBER.search, tails)), None)
    return _normalised(*found.groups()) if found else None


def _normalised(sign: str, behind: str, digits: str) -> str:
    value = Decimal(re.sub(f"[,{_SPACES}]", "", digits)).normalize()
    return f"{'-' if sign or behind else ''}{value:f}" if value else "0"


def is_right(answer: str, reference: str) -> bool:
    """Whether an answer ends in the reference's number."""
    found = gsm8k_answer(answer)
    return found is not None and found == gsm8k_answer(reference)


def _read(record: Record, index: int) -> Question:
    turns = (text(record["question"], "question"),)
    return Question(str(index), "math", turns, (text(record["answer"], "answer"),))


DATASET = Dataset(
    shown="GSM8K",
    layouts=(Layout(("question", "answer"), _read),),
    score=Score("accuracy", "accuracy", is_right, margin=0.05),
)
