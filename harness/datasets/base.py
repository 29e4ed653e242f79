"""What a question set declares: its columns, how answers are scored, and its name in reports."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_TURNS = 2  # only one answer is frozen: the target's to the first turn
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its user turns, and reference answers where the set has them."""

    question_id: str
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file of the set, and how a record and its index become a question.

    ``read`` raises ValueError, naming the column, for a record that does not fit.
    """

    columns: tuple[str, ...]
    read: Callable[[Record, int], Question]


@dataclass(frozen=True, slots=True)
class Score:
    """How an answer is scored against a reference, from 0 to 1.

    ``column`` is the summary's column of mean scores, ``shown`` its heading in reports. Answers of
    two methods are as good as each other where the mean scores differ by less than ``margin``.
    """

    column: str
    shown: str
    of: Callable[[str, str], float]
    margin: float


@dataclass(frozen=True, slots=True)
class Dataset:
    """A question set. ``layouts``: the first one whose columns a file has is used.

    ``has_second_turns``: some questions go on after the target's own answer. Without a ``score``
    the quality of answers is not measured, and reports say so.
    """

    shown: str
    layouts: tuple[Layout, ...]
    score: Score | None = None
    has_second_turns: bool = False


def text(value: Any, column: str) -> str:
    """Return ``value``; raise ValueError where it is no text or blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{column} is {value!r}, expected text")
    return value


def reference_text(value: Any) -> str:
    """A reference answer as text; some sets have lists of them, or numbers."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)
