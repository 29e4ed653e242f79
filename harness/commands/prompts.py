"""Freezing prompts, and the target's own answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from harness.data.answers import greedy_answers, write_answers
from harness.data.prompts import Format, drop_long, make_prompts, read_prompts, write_prompts
from harness.data.questions import Question, Source, load_questions
from harness.files import checked, read_json, write_json
from harness.models import ModelSpec, load_target, load_tokenizer, stop_ids


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset's split: where it is, how it is prompted and which prompts are too long.

    ``source`` and ``few_shot`` are the parts of a :class:`Source`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    dataset: str
    source: dict[str, Any]
    few_shot: dict[str, Any] | None
    longest_prompt: int


def _format(spec: ModelSpec, split: Split) -> Format:
    shots: tuple[tuple[str, str], ...] = ()
    if split.few_shot:
        questions = _questions(split.dataset, split.few_shot)
        shots = tuple((q.turns[0], q.references[0]) for q in questions)
    return Format(load_tokenizer(spec), spec.chat, shots)


def _questions(dataset: str, source: dict[str, Any]) -> list[Question]:
    return load_questions(dataset, checked(Source, source, "source", strict=False))


def freeze_prompts(spec: ModelSpec, split: Split, first_turns: Path | None, out: Path) -> None:
    """Freeze a split's prompts; ``first_turns`` holds the frozen answers to first turns."""
    form = _format(spec, split)
    questions = _questions(split.dataset, split.source)
    answers: dict[str, str] = read_json(first_turns) if first_turns else {}
    prompts = make_prompts(split.dataset, questions, form, answers)
    kept, dropped = drop_long(prompts, split.longest_prompt)
    write_prompts(out, kept, dropped)


def answer_first_turns(spec: ModelSpec, split: Split, cap: int, out: Path) -> None:
    """Greedy answers to the first turns that a second one follows: {prompt_id: text}."""
    form = _format(spec, split)
    questions = [q for q in _questions(split.dataset, split.source) if q.turns[1:]]
    prompts, _ = drop_long(make_prompts(split.dataset, questions, form, {}), split.longest_prompt)
    target = load_target(spec)
    stops = stop_ids(target, form.tokenizer)
    ids = greedy_answers(target, prompts, {split.dataset: cap}, stops)
    texts = form.tokenizer.batch_decode(ids, skip_special_tokens=True)
    write_json(out, {p.prompt_id: t for p, t in zip(prompts, texts, strict=True)})


def answer_prompts(spec: ModelSpec, files: Sequence[Path], caps: dict[str, int], out: Path) -> None:
    """The target's greedy answers to all prompts of a split: what methods learn from."""
    prompts = [prompt for file in files for prompt in read_prompts(file)]
    target = load_target(spec)
    stops = stop_ids(target, load_tokenizer(spec))
    write_answers(out, prompts, greedy_answers(target, prompts, caps, stops))
