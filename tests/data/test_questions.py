"""Records of the hub's question sets, by their columns."""

import json
from pathlib import Path

import pytest

from harness.data.questions import load_questions
from harness.datasets import find_dataset, shown_name
from harness.datasets.base import Question
from harness.errors import HarnessError
from harness.experiment.steps import Source


def load(folder: Path, *records: dict) -> list[Question]:
    file = folder / "records.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return load_questions("mtbench", Source(path=str(file)))


def test_mt_bench_reads_alike_in_both_layouts(tmp_path: Path) -> None:
    asked = {"category": "math", "reference": ["4", "6"]}
    (own,) = load(tmp_path, {**asked, "question_id": 81, "turns": ["2+2?", "3+3?"]})
    (hub,) = load(tmp_path, {**asked, "prompt_id": 81, "prompt": ["2+2?", "3+3?"]})
    assert own == hub == Question("81", "math", ("2+2?", "3+3?"), ("4", "6"))


def test_of_a_conversation_the_first_two_user_turns_are_asked(tmp_path: Path) -> None:
    said = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    messages = [{"content": text, "role": role} for role, text in said]
    record = {"prompt": "a", "prompt_id": "f00", "messages": messages}
    found = load(tmp_path, record, {**record, "messages": messages[:2]})
    assert [question.turns for question in found] == [("a", "c"), ("a",)]
    assert [question.question_id for question in found] == ["0", "1"]
    with pytest.raises(HarnessError, match="record 1 does not fit mtbench \\(messages without"):
        load(tmp_path, {**record, "messages": messages[1:2]})


ASKED = {"question_id": 1, "category": "qa", "turns": ["a"]}


def test_spec_bench_s_records_are_read(tmp_path: Path) -> None:
    """References are texts, lists of lists and numbers; one category is empty."""
    references = [["x"], [["x", "y"], ["z"]], [3]]
    records = [{**ASKED, "question_id": i, "reference": r} for i, r in enumerate(references)]
    for record, text in zip(records, ["x", '["x", "y"]', "3"], strict=True):
        (question,) = load(tmp_path, record)
        assert question.references[0] == text
    (question,) = load(tmp_path, {**ASKED, "category": ""})
    assert question.category == ""
    with pytest.raises(HarnessError, match="category is 3, expected text"):
        load(tmp_path, {**ASKED, "category": 3})


def test_more_turns_than_can_be_asked_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="fit mtbench \\(3 turns, expected 1 to 2\\)"):
        load(tmp_path, {**ASKED, "turns": ["a", "b", "c"]})


def test_an_id_twice_is_refused_where_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="2 questions with id '1', expected each id once"):
        load(tmp_path, ASKED, {**ASKED, "turns": ["b"]})


def test_spec_bench_s_tasks_are_those_of_its_board(tmp_path: Path) -> None:
    categories = ["writing", "coding", "qa", "rag", "math_reasoning", "translation"]
    lines = [{**ASKED, "question_id": i, "category": c} for i, c in enumerate(categories)]
    file = tmp_path / "question.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = [one.category for one in load_questions("specbench", Source(path=str(file)))]
    assert found[:3] == ["multi-turn conversation"] * 2 + ["question answering"]
    assert found[3:] == [
        "retrieval-augmented generation",
        "mathematical reasoning",
        "translation",
    ]


def test_humaneval_is_text_alone(tmp_path: Path) -> None:
    record = {
        "task_id": "HumanEval/0",
        "prompt": "def one():\n",
        "canonical_solution": "    return 1",
    }
    file = tmp_path / "humaneval.jsonl"
    file.write_text(json.dumps(record | {"test": "assert one() == 1", "entry_point": "one"}) + "\n")
    (question,) = load_questions("humaneval", Source(path=str(file)))
    assert question == Question("HumanEval/0", "code", ("def one():\n",))
    assert find_dataset("humaneval").score is None


def test_an_unknown_set_is_named() -> None:
    with pytest.raises(HarnessError, match="dataset 'alpaca': expected one of mtbench, gsm8k"):
        load_questions("alpaca", Source(path="x.jsonl"))
    assert shown_name("alpaca") == "alpaca", "a kept run's, of a set that is no longer here"
