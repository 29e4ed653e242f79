"""Frozen prompts: the token ids that every arm gets, made once and hashed.

The prompt of a second turn holds one frozen answer to the first turn, so that all arms see the same
ids, whatever they answer themselves.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from harness.data.chat import Message, prompt_ids
from harness.datasets.base import Question
from harness.errors import HarnessError
from harness.files import TokenId, checked, read_jsonl, sha256_json, write_json, write_jsonl


@dataclass(frozen=True, slots=True)
class Prompt:
    """One frozen prompt; ``sha256`` is that of the token ids."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    prompt_id: str
    question_id: str
    dataset: str
    category: str
    turn: int
    text: str
    input_ids: tuple[TokenId, ...]
    sha256: str
    reference: str | None


@dataclass(frozen=True, slots=True)
class Format:
    """How questions become ids: tokenizer, chat template, few-shot examples."""

    tokenizer: Any
    chat: str
    few_shot: tuple[tuple[str, str], ...] = ()


def hash_ids(ids: Sequence[int]) -> str:
    """SHA-256 of token ids, as stored in prompts and rows."""
    return sha256_json(list(ids))


def make_prompts(
    dataset: str, questions: Sequence[Question], form: Format, answers: dict[str, str]
) -> list[Prompt]:
    """Prompts of every turn; ``answers`` maps a prompt_id to its frozen answer.

    A turn is left out while the turn before it has no answer, so a call without answers gives the
    first turns alone.
    """
    prompts = []
    for question in questions:
        messages = _examples(form)
        for turn, user in enumerate(question.turns, start=1):
            messages.append({"role": "user", "content": user})
            prompt = _prompt(dataset, question, turn, form, messages)
            prompts.append(prompt)
            if prompt.prompt_id not in answers:
                break
            # stripped, as FastChat's own evaluation does
            answer = answers[prompt.prompt_id].strip()
            messages.append({"role": "assistant", "content": answer})
    return prompts


def _examples(form: Format) -> list[Message]:
    return [
        {"role": role, "content": content}
        for user, assistant in form.few_shot
        for role, content in (("user", user), ("assistant", assistant))
    ]


def _prompt(
    dataset: str, question: Question, turn: int, form: Format, messages: list[Message]
) -> Prompt:
    ids = tuple(prompt_ids(form.tokenizer, form.chat, messages))
    reference = question.references[turn - 1] if len(question.references) >= turn else None
    return Prompt(
        prompt_id=f"{dataset}-{question.question_id}-{turn}",
        question_id=question.question_id,
        dataset=dataset,
        category=question.category,
        turn=turn,
        text=question.turns[turn - 1],
        input_ids=ids,
        sha256=hash_ids(ids),
        reference=reference,
    )


def require_known_ids(prompts: Sequence[Prompt], vocabulary: int) -> None:
    """Refuse prompts with ids that a model of ``vocabulary`` tokens does not have."""
    for prompt in prompts:
        highest = max(prompt.input_ids, default=0)
        if highest >= vocabulary:
            raise HarnessError(
                f"prompt {prompt.prompt_id}: token id {highest}, expected ids below the model's "
                f"{vocabulary} tokens; is the tokenizer this model's?"
            )


def require_room(prompts: Sequence[Prompt], cap: int, context: int) -> None:
    """Refuse prompts that with an answer of ``cap`` tokens are longer than the model's ``context``:
    methods would learn from positions that it was never trained on, and sessions refuse them.
    """
    for prompt in prompts:
        longest = len(prompt.input_ids) + cap
        if longest > context:
            raise HarnessError(
                f"prompt {prompt.prompt_id}: {longest} tokens with its answer, expected at most "
                f"the model's context of {context}; lower longest_prompt or max_new_tokens"
            )


def drop_long(prompts: Sequence[Prompt], longest: int) -> tuple[list[Prompt], int]:
    """Drop whole questions with a prompt above ``longest`` tokens; returns (kept, dropped)."""
    long = {prompt.question_id for prompt in prompts if len(prompt.input_ids) > longest}
    return [prompt for prompt in prompts if prompt.question_id not in long], len(long)


def shard_of(prompts: Sequence[Prompt], shard: int, shards: int) -> list[Prompt]:
    """The prompts of every ``shards``-th question, from number ``shard`` on; turns stay together.

    Questions are dealt out in turn and not in blocks, since sets are often sorted by category.
    """
    questions = list(dict.fromkeys(prompt.question_id for prompt in prompts))
    if not 1 <= shards <= len(questions):
        raise HarnessError(f"shards: {shards}, expected 1 to {len(questions)}, a question each")
    if not 1 <= shard <= shards:
        raise HarnessError(f"shard: {shard}, expected 1 to {shards}")
    chosen = set(questions[shard - 1 :: shards])
    return [prompt for prompt in prompts if prompt.question_id in chosen]


def write_prompts(path: Path, prompts: Sequence[Prompt], dropped: int) -> None:
    """Write the prompts, and in a file beside them how many questions were dropped as too long."""
    if not prompts:
        raise HarnessError(f"{path}: no prompt is left, {dropped} dropped as too long")
    write_json(path.with_suffix(".dropped.json"), {"dropped_questions": dropped})
    write_jsonl(path, (asdict(prompt) for prompt in prompts))


def read_prompts(path: Path) -> list[Prompt]:
    """Read prompts and check each against its hash."""
    prompts: dict[str, Prompt] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path} line {number}"
        prompt = checked(Prompt, row, where, strict=False)
        if hash_ids(prompt.input_ids) != prompt.sha256:
            raise HarnessError(f"{where}: sha256 {prompt.sha256[:12]} is not that of its input_ids")
        if prompt.prompt_id in prompts:
            raise HarnessError(f"{where}: prompt_id {prompt.prompt_id} again, expected each once")
        prompts[prompt.prompt_id] = prompt
    return list(prompts.values())
