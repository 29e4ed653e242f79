"""Reading answer files that other benchmarks published, with one question a line, as rows.

The format is FastChat's with the keys that Medusa's, EAGLE's and Spec-Bench's scripts add: ``idxs``
(index of the last step, zero-based) or ``decoding_steps`` (a count), and ``accept_lengths`` (tokens
of each step).
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import HarnessError
from harness.files import read_jsonl

COLUMNS = (
    "run question_id sample turn tokens logged_steps steps seconds accepted accepted_steps "
    "first_accepted text_sha256 failed"
).split()


def read_answer_file(run: str, file: Path) -> pd.DataFrame:
    """One row for each question, sample and turn.

    ``logged_steps`` is the file's number, ``steps`` a count (one more if that is a zero-based
    index). ``accepted``, ``accepted_steps`` and ``first_accepted`` are the sum, length and first
    entry of the logged ``accept_lengths``. All of these are NaN if not logged. ``failed``: the text
    is Spec-Bench's "ERROR", whose figures are those of another turn. Units: tokens, steps, seconds.
    """
    rows = [
        row for number, line in enumerate(read_jsonl(file), 1) for row in _rows(line, file, number)
    ]
    if not rows:
        raise HarnessError(f"{file}: no answers, expected at least one line")
    table = pd.DataFrame(rows, columns=COLUMNS[1:])
    table.insert(0, "run", run)
    duplicates = table[table.duplicated(["question_id", "sample", "turn"])]
    if len(duplicates):
        raise HarnessError(f"{file}: question {duplicates.iloc[0]['question_id']} occurs twice")
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
    """The values of each turn of a choice, in the order of COLUMNS from ``tokens`` on."""
    if not isinstance(choice, dict):
        raise HarnessError(f"{where}: a choice is {type(choice).__name__}, expected an object")
    zero_based = "idxs" in choice
    key = "idxs" if zero_based else "decoding_steps"
    texts = _list(choice, "turns", where)
    tokens = _numbers(_list(choice, "new_tokens", where), "new_tokens", where)
    seconds = _numbers(_list(choice, "wall_time", where), "wall_time", where)
    steps = _numbers(_list(choice, key, where) if key in choice else [], key, where)
    if not len(texts) == len(tokens) == len(seconds) or len(steps) not in (0, len(texts)):
        raise HarnessError(
            f"{where}: {len(texts)} turns, {len(tokens)} new_tokens, {len(seconds)} wall_time, "
            f"{len(steps)} {key}; expected as many of each"
        )
    if min(seconds, default=1) <= 0:
        raise HarnessError(f"{where}: wall_time {min(seconds)!r}, expected a number > 0")
    counts = [int(step) + zero_based for step in steps]
    logged = choice.get("accept_lengths", [])
    accepted = _accepted(logged, counts, len(texts), where)
    for turn, (text, *values) in enumerate(zip(texts, tokens, seconds, strict=True)):
        step = (steps[turn], counts[turn]) if steps else (math.nan, math.nan)
        digest = hashlib.sha256(str(text).encode(errors="surrogatepass")).hexdigest()
        yield [values[0], *step, values[1], *accepted[turn], digest, text == "ERROR"]


def _accepted(
    logged: Any, counts: list[int], turns: int, where: str
) -> list[tuple[float, float, float]]:
    """Sum, length and first entry of each turn's list of tokens per step.

    Spec-Bench logs one list for all turns of a question, which is cut by the turns' steps. If their
    sum is not its length, it is not known where a turn begins: then the first turn gets the sum and
    length of the whole list, without a first entry, and the others get NaN.
    """
    unknown = (math.nan, math.nan, math.nan)
    if not isinstance(logged, list):
        raise HarnessError(f"{where}: accept_lengths {logged!r:.40}, expected a list")
    if not logged:
        return [unknown] * turns
    if isinstance(logged[0], list):
        if len(logged) != turns:
            raise HarnessError(f"{where}: {len(logged)} lists of accept_lengths, {turns} turns")
        lists = [_numbers(part, "accept_lengths", where) for part in logged]
        return [_sums(part) if part else unknown for part in lists]
    flat = _numbers(logged, "accept_lengths", where)
    if sum(counts) != len(flat):
        return [(sum(flat), float(len(flat)), math.nan), *[unknown] * (turns - 1)]
    ends = list(itertools.accumulate(counts))
    parts = [flat[end - count : end] for end, count in zip(ends, counts, strict=True)]
    return [_sums(part) if part else unknown for part in parts]


def _sums(lengths: list[float]) -> tuple[float, float, float]:
    return sum(lengths), float(len(lengths)), lengths[0]


def _list(choice: Mapping[str, Any], name: str, where: str) -> list[Any]:
    items = choice.get(name)
    if not isinstance(items, list):
        raise HarnessError(f"{where}: a choice without a list '{name}'")
    return items


def _numbers(values: Any, name: str, where: str) -> list[float]:
    """The values as floats; anything but numbers from 0 to a quadrillion is refused."""
    if not isinstance(values, list):
        raise HarnessError(f"{where}: {name} {values!r:.40}, expected a list")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
            raise HarnessError(f"{where}: {name} {value!r:.40}, expected a number >= 0")
    return [float(value) for value in values]
