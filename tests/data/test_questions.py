"""Records of the hub's question sets, by their columns."""

import json
from pathlib import Path

import pytest

from harness.data.questions import Question, Source, load_questions
from harness.errors import HarnessError


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
    with pytest.raises(HarnessError, match="a record does not fit mtbench \\(messages without"):
        load(tmp_path, {**record, "messages": messages[1:2]})
