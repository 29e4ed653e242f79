"""Freezing the splits of a model in one process, and what is decoded once for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.commands import prompts as commands
from harness.commands.prompts import answer_prompts, freeze_splits
from harness.commands.stand_in import make_stand_in
from harness.data.prompts import read_prompts
from harness.errors import HarnessError
from harness.experiment.steps import Freeze, Source, Split
from harness.files import write_json, write_jsonl
from harness.models import ModelSpec

ROOT = Path(__file__).resolve().parents[2]
SPEC = ModelSpec(path=str(ROOT / "workflows/resources/mini-target"))
CAPS = {"mtbench": 12, "gsm8k": 12}


def _given(folder: Path) -> list[Freeze]:
    """Two questions of two turns, and two of one."""
    found = []
    for name in CAPS:
        questions = folder / f"{name}.questions.jsonl"
        make_stand_in(name, "tune", 2, 0, questions)
        turns = str(folder / "turns.json") if name == "mtbench" else None
        split = Split(name, Source(str(questions)), 320)
        found.append(Freeze(split, str(folder / f"{name}.jsonl"), turns, CAPS[name]))
    return found


def test_all_splits_are_frozen_with_one_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = commands.load_target
    monkeypatch.setattr(commands, "load_target", lambda spec: loads.append(1) or load(spec))
    given = _given(tmp_path)
    freeze_splits(SPEC, [*given, given[0]])
    assert len(loads) == 1
    two_turns = read_prompts(tmp_path / "mtbench.jsonl")
    assert [prompt.turn for prompt in two_turns] == [1, 2, 1, 2]
    assert len(read_prompts(tmp_path / "gsm8k.jsonl")) == 2
    answers = json.loads((tmp_path / "turns.json").read_text())
    assert set(answers) == {prompt.prompt_id for prompt in two_turns if prompt.turn == 1}
    loads.clear()
    freeze_splits(SPEC, given[1:])
    assert loads == [], "questions of one turn need no target"


def test_conversations_of_one_turn_get_no_first_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [{"messages": [{"role": "user", "content": f"hello {n}"}]} for n in range(2)]
    write_jsonl(tmp_path / "chat.jsonl", said)
    monkeypatch.setattr(commands, "load_target", lambda spec: pytest.fail("nothing to decode"))
    split = Split("mtbench", Source(str(tmp_path / "chat.jsonl")), 320)
    turns = str(tmp_path / "turns.json")
    freeze_splits(SPEC, [Freeze(split, str(tmp_path / "chat.prompts.jsonl"), turns, 12)])
    assert len(read_prompts(tmp_path / "chat.prompts.jsonl")) == 2
    assert json.loads((tmp_path / "turns.json").read_text()) == {}


def test_first_answers_are_taken_and_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze_splits(SPEC, _given(tmp_path))
    files = [tmp_path / f"{name}.jsonl" for name in CAPS]
    decoded: list[str] = []
    plain = commands.greedy_answers

    def watched(target, prompts, *others):  # type: ignore[no-untyped-def]
        decoded.extend(prompt.prompt_id for prompt in prompts)
        return plain(target, prompts, *others)

    monkeypatch.setattr(commands, "greedy_answers", watched)
    whole, reused = tmp_path / "whole.jsonl", tmp_path / "reused.jsonl"
    answer_prompts(SPEC, files, [], CAPS, whole)
    assert len(decoded) == 6, "control"
    decoded.clear()
    answer_prompts(SPEC, files, [tmp_path / "turns.json"], CAPS, reused)
    assert len(decoded) == 4
    assert reused.read_text() == whole.read_text()


def test_first_answers_of_an_older_form_are_refused_in_one_line(tmp_path: Path) -> None:
    freeze_splits(SPEC, _given(tmp_path))
    write_json(tmp_path / "turns.json", {"mtbench-1-1": "only text"})
    with pytest.raises(HarnessError, match=r"turns.json: mtbench-1-1: .*found 'only text'"):
        files = [tmp_path / "mtbench.jsonl"]
        answer_prompts(SPEC, files, [tmp_path / "turns.json"], CAPS, tmp_path / "out.jsonl")


def test_what_does_not_fit_the_model_s_context_is_refused_at_once(tmp_path: Path) -> None:
    record = {"question_id": 1, "category": "math", "turns": ["One and one?"]}
    write_jsonl(tmp_path / "set.jsonl", [record])
    split = Split("mtbench", Source(str(tmp_path / "set.jsonl")), 320)
    freeze_splits(SPEC, [Freeze(split, str(tmp_path / "out.jsonl"), cap=900)])  # control
    with pytest.raises(HarnessError, match=r"mtbench-1-1: 10\d\d tokens .* context of 1024; lower"):
        freeze_splits(SPEC, [Freeze(split, str(tmp_path / "out.jsonl"), cap=1020)])


def test_few_shot_examples_without_answers_are_refused_in_one_line(tmp_path: Path) -> None:
    record = {"question_id": 1, "category": "math", "turns": ["One and one?", "And one more?"]}
    write_jsonl(tmp_path / "set.jsonl", [record])
    source = Source(str(tmp_path / "set.jsonl"))
    split = Split("mtbench", source, 320, few_shot=source)
    with pytest.raises(HarnessError, match="few_shot of mtbench: questions without reference"):
        freeze_splits(SPEC, [Freeze(split, str(tmp_path / "out.jsonl"))])


def test_more_shards_than_questions_are_refused_as_they_are_frozen(tmp_path: Path) -> None:
    given = _given(tmp_path)[1]
    freeze_splits(SPEC, [replace(given, shards=2)])  # control: a question each
    with pytest.raises(HarnessError, match="shards: 3, expected 1 to 2"):
        freeze_splits(SPEC, [replace(given, shards=3)])
