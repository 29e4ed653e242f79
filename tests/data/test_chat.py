"""Prompts letter by letter, as FastChat's own evaluation writes them."""

from typing import Any

import pytest

from harness.data.chat import prompt_ids

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
