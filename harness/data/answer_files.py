"""Published answer files, one line a question, as rows: what other harnesses measured.

Two forms, which are nearly one: FastChat's answer files as Medusa's and EAGLE's scripts extend them
(``idxs``: index of the last step, zero-based), and Spec-Bench's (``decoding_steps``, and the
``accept_lengths`` of every step).
"""

import hashlib
import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import HarnessError
from harness.files import read_jsonl

COLUMNS = (
    "run question_id sample turn tokens logged_steps steps seconds accepted accepted_steps "
    "first_accepted text_sha256"
).split()
_LISTS = ("turns", "new_tokens", "wall_time")


def read_answer_file(run: str, file: Path) -> pd.DataFrame:
    """One row a question, sample and turn.

    ``logged_steps`` as the file has them, ``steps`` as a count (one more for a zero-based index),
    both NaN without; ``accepted`` and ``accepted_steps``: sum and length of the logged list of
    tokens a step, ``first_accepted`` its first entry; NaN without. Units: tokens, steps, seconds.
    """
    rows = [
        row for number, line in enumerate(read_jsonl(file), 1) for row in _rows(line, file, number)
    ]
    if not rows:
        raise HarnessError(f"{file}: no answers, expected at least one line")
    table = pd.DataFrame(rows, columns=COLUMNS[1:])
    table.insert(0, "run", run)
    twice = table[table.duplicated(["question_id", "sample", "turn"])]
    if len(twice):
        raise HarnessError(f"{file}: question {twice.iloc[0]['question_id']} occurs twice")
    return table


def _rows(line: Any, file: Path, number: int) -> Iterator[list[Any]]:
    where = f"{file}, line {number}"
    if not isinstance(line, dict) or not isinstance(line.get("choices"), list):
        raise HarnessError(f"{where}: no 'choices', expected an answer of FastChat's form")
    if "question_id" not in line:
        raise HarnessError(f"{where}: no 'question_id'")
    for sample, choice in enumerate(line["choices"]):
        for turn, values in enumerate(_turns(choice, where), start=1):
            yield [str(line["question_id"]), sample, turn, *values]


def _turns(choice: Any, where: str) -> Iterator[list[Any]]:
    """Tokens, steps and seconds of each turn."""
    for name in _LISTS:
        if not isinstance(choice, dict) or not isinstance(choice.get(name), list):
            raise HarnessError(f"{where}: a choice without a list '{name}'")
    zero_based = "idxs" in choice
    steps = choice.get("idxs", choice.get("decoding_steps", []))
    accepted = _by_turn(choice.get("accept_lengths", []), steps)
    lists = [choice[name] for name in _LISTS]
    if len({len(values) for values in lists}) > 1 or (steps and len(steps) != len(lists[0])):
        lengths = {name: len(choice[name]) for name in _LISTS}
        raise HarnessError(f"{where}: {lengths} and {len(steps)} steps, expected as many of each")
    for text, tokens, seconds, logged, lengths in zip_longest(*lists, steps, accepted):
        _check(tokens, seconds, logged, where)
        count = math.nan if logged is None else logged + zero_based
        digest = hashlib.sha256(str(text).encode()).hexdigest()
        yield [
            tokens,
            math.nan if logged is None else logged,
            count,
            seconds,
            *_sums(lengths),
            digest,
        ]


def _by_turn(lengths: Any, steps: list[Any]) -> list[list[float]]:
    """Spec-Bench logs one list for all turns of a question: cut it by the turns' steps."""
    if not lengths or isinstance(lengths[0], list):
        return list(lengths)
    if sum(steps) != len(lengths):
        return [lengths]  # cannot be told apart: all of it belongs to the first row
    cut, start = [], 0
    for count in steps:
        cut.append(lengths[start : start + count])
        start += count
    return cut


def _sums(lengths: list[float] | None) -> tuple[float, float, float]:
    if not lengths:
        return math.nan, math.nan, math.nan
    return float(sum(lengths)), float(len(lengths)), float(lengths[0])


def _check(tokens: Any, seconds: Any, logged: Any, where: str) -> None:
    for name, value in (("new_tokens", tokens), ("wall_time", seconds), ("steps", logged)):
        if name == "steps" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise HarnessError(f"{where}: {name} {value!r}, expected a number >= 0")
        if not math.isfinite(value):
            raise HarnessError(f"{where}: {name} {value!r}, expected a finite number")
