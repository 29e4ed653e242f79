"""Prompts letter by letter, as FastChat's own evaluation writes them."""

from pathlib import Path
from typing import Any

import pytest

from harness.data.chat import prompt_ids
from harness.data.prompts import Format, make_prompts, require_known_ids
from harness.datasets.base import Question
from harness.errors import HarnessError
from tests.models import save_tokenizer

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. "
)
TURNS = [
    {"role": role, "content": text}
    for role, text in (("user", "What is 2+2?"), ("assistant", "It is 4."), ("user", "And 3+3?"))
]
EXPECTED = {
    ("fschat:vicuna_v1.1", 1): VICUNA + "USER: What is 2+2? ASSISTANT:",
    ("fschat:vicuna_v1.1", 3): VICUNA
    + "USER: What is 2+2? ASSISTANT: It is 4.</s>USER: And 3+3? ASSISTANT:",
    ("fschat:llama-2", 1): "[INST] What is 2+2? [/INST]",
    ("fschat:llama-2", 3): ("[INST] What is 2+2? [/INST] It is 4. </s><s>[INST] And 3+3? [/INST]"),
    ("plain", 3): "What is 2+2?\nIt is 4.\nAnd 3+3?\n",
}


class Letters:
    """A tokenizer whose ids are letters, and 0 for the start of a text."""

    bos_token_id = 0

    def __init__(self, starts: int = 1) -> None:
        self.starts = starts

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [0] * self.starts + [ord(letter) for letter in text]}


@pytest.mark.parametrize(("chat", "messages"), EXPECTED)
def test_a_conversation_reads_as_expected(chat: str, messages: int) -> None:
    start, *letters = prompt_ids(Letters(), chat, TURNS[:messages])
    assert start == 0
    assert "".join(map(chr, letters)) == EXPECTED[chat, messages]


def test_a_start_that_template_and_tokenizer_both_write_stands_once() -> None:
    once, twice = (prompt_ids(Letters(n), "fschat:llama-2", TURNS) for n in (1, 2))
    assert twice == once
    assert once[:2] != [0, 0]


def test_a_conversation_leaves_none_behind_for_the_next() -> None:
    first = prompt_ids(Letters(), "fschat:vicuna_v1.1", TURNS[:1])
    assert prompt_ids(Letters(), "fschat:vicuna_v1.1", TURNS[:1]) == first


class Ending(Letters):
    """A tokenizer with ``add_eos_token``."""

    eos_token_id = 1

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [*super().__call__(text)["input_ids"], 1]}


@pytest.mark.parametrize("chat", ["plain", "fschat:vicuna_v1.1", "fschat:llama-2"])
def test_a_prompt_does_not_end_in_an_end_mark(chat: str) -> None:
    assert prompt_ids(Ending(), chat, TURNS) == prompt_ids(Letters(), chat, TURNS)


BROKEN = {
    "{{ raise_exception('no system role') }}": "TemplateError: no system role",
    "{% if %}": "TemplateSyntaxError",
    "": "no chat template",
}


@pytest.mark.parametrize("template", BROKEN)
def test_a_template_that_fails_is_one_line(template: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as error:
        prompt_ids(save_tokenizer(tmp_path, template), "tokenizer", TURNS[:1])
    assert BROKEN[template] in str(error.value)
    assert "\n" not in str(error.value)


def test_named_templates_without_a_default_are_one_line(tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path)
    tokenizer.chat_template = {"rag": "{{ messages }}", "tool_use": "{{ messages }}"}
    with pytest.raises(HarnessError, match="chat: 'tokenizer', but its chat template fails: Val"):
        prompt_ids(tokenizer, "tokenizer", TURNS[:1])


def test_an_answer_is_asked_on_as_fastchat_keeps_it() -> None:
    question = Question("1", "math", (TURNS[0]["content"], TURNS[2]["content"]))
    form = Format(Letters(), "fschat:llama-2")
    prompts = [
        make_prompts("mtbench", [question], form, {"mtbench-1-1": answer})[1]
        for answer in ("  It is 4.\n", "It is 4.")
    ]
    assert prompts[0].input_ids == prompts[1].input_ids
    letters = "".join(map(chr, prompts[1].input_ids[1:]))
    assert letters == EXPECTED["fschat:llama-2", 3]


def test_ids_that_the_model_has_not_are_refused() -> None:
    question = Question("1", "math", ("abc",))
    prompts = make_prompts("mtbench", [question], Format(Letters(), "plain"), {})
    require_known_ids(prompts, ord("c") + 1)
    with pytest.raises(HarnessError, match="prompt mtbench-1-1: token id 99, expected ids below"):
        require_known_ids(prompts, ord("c"))
