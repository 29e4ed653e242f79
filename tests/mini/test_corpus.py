"""The stand-ins hold what they claim: right sums, facts from the prompt, disjoint splits."""

import re

import pytest

from harness.datasets.gsm8k import gsm8k_answer
from harness.mini import corpus, dialogues

SPLITS = ("train", "tune", "test")


def _records(dataset: str, split: str, count: int = 200) -> list[dict]:
    return [corpus.record(dataset, split, index, seed=0) for index in range(count)]


@pytest.mark.parametrize("split", SPLITS)
def test_every_worked_step_of_the_arithmetic_is_right(split: str) -> None:
    for record in _records("gsm8k", split):
        for line in record["answer"].splitlines()[:-1]:
            expression = re.search(r"has (.+?) [a-z]+(?: at the start)?\.$", line)
            assert expression, line
            values = {eval(side) for side in expression.group(1).split(" = ")}
            assert len(values) == 1, line
        last = record["answer"].splitlines()[-2]
        assert str(gsm8k_answer(record["answer"])) == re.findall(r"= (\d+)", last)[-1]


@pytest.mark.parametrize("split", SPLITS)
def test_every_name_and_number_of_a_summary_stands_in_its_article(split: str) -> None:
    for record in _records("xsum", split):
        facts = re.findall(r"[A-Z][a-z]+|\d[\d,]*", record["summary"])
        missing = [fact for fact in facts if fact not in record["document"]]
        assert set(missing) <= {"A", "The", "Police", "People"}, (missing, record)


def test_the_second_turn_needs_the_first() -> None:
    for record in _records("mtbench", "test", 16):
        assert len(record["turns"]) == len(record["reference"]) == 2
    categories = [record["category"] for record in _records("mtbench", "test", 16)]
    assert sorted(set(categories)) == sorted(dialogues.CATEGORIES)


@pytest.mark.parametrize("dataset", ["xsum", "gsm8k", "mtbench"])
def test_no_test_question_is_seen_in_training(dataset: str) -> None:
    def users(split: str, count: int) -> set[str]:
        records = _records(dataset, split, count)
        return {" ".join(u for u, _ in corpus.conversation(dataset, r)) for r in records}

    assert not users("test", 100) & users("train", 1500)
    assert not users("test", 100) & users("tune", 300)


def test_a_split_can_grow_without_changing_what_it_holds() -> None:
    assert _records("xsum", "test", 5) == _records("xsum", "test", 9)[:5]
    assert _records("xsum", "test", 5) != _records("xsum", "tune", 5)
