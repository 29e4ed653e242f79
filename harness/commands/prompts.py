"""Freeze prompts, and write the target's own answers to them."""

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import TypedDict

from harness.data.answers import greedy_answers, write_answers
from harness.data.prompts import (
    Format,
    Prompt,
    drop_long,
    make_prompts,
    read_prompts,
    require_known_ids,
    require_room,
    shard_of,
    write_prompts,
)
from harness.data.questions import load_questions
from harness.engine.target import Target
from harness.errors import HarnessError
from harness.experiment.steps import Freeze, Split
from harness.files import TokenId, checked, read_json, write_json
from harness.models import ModelSpec, limits, load_target, load_tokenizer, stop_ids


class _FirstTurn(TypedDict):
    """The target's own answer to a first turn."""

    text: str
    ids: list[TokenId]


def _format(spec: ModelSpec, split: Split) -> Format:
    shots: tuple[tuple[str, str], ...] = ()
    if split.few_shot:
        questions = load_questions(split.dataset, split.few_shot)
        if not all(q.references for q in questions):
            raise HarnessError(f"few_shot of {split.dataset}: questions without reference answers")
        shots = tuple((q.turns[0], q.references[0]) for q in questions)
    return Format(load_tokenizer(spec), spec.chat, shots)


def freeze_splits(spec: ModelSpec, freezes: Sequence[Freeze]) -> None:
    """Freeze the prompts of several splits; the target is loaded only if one has second turns."""
    loaded: list[Target] = []
    for freeze in freezes:
        answers = _first_turns(spec, freeze, loaded) if freeze.first_turns else {}
        freeze_prompts(spec, freeze, answers)


def freeze_prompts(spec: ModelSpec, freeze: Freeze, answers: dict[str, str]) -> None:
    """Freeze a split's prompts; ``answers`` are the frozen ones to first turns, by prompt id."""
    split = freeze.split
    form = _format(spec, split)
    questions = load_questions(split.dataset, split.source)
    prompts = make_prompts(split.dataset, questions, form, answers)
    kept, dropped = _fitting(spec, freeze, prompts)
    if kept and freeze.shards > 1:
        shard_of(kept, 1, freeze.shards)  # refuses more shards than questions
    write_prompts(Path(freeze.out), kept, dropped)


def _fitting(spec: ModelSpec, freeze: Freeze, prompts: list[Prompt]) -> tuple[list[Prompt], int]:
    """The prompts but for those that are too long, and the number of questions dropped for that;
    refuses ids and lengths that the model does not know.
    """
    vocabulary, context = limits(spec)
    require_known_ids(prompts, vocabulary)
    kept, dropped = drop_long(prompts, freeze.split.longest_prompt)
    if context is not None:
        require_room(kept, freeze.cap, context)
    return kept, dropped


def _first_turns(spec: ModelSpec, freeze: Freeze, loaded: list[Target]) -> dict[str, str]:
    """Write and return the target's greedy answers to first turns that a second one follows.

    ``loaded`` keeps the target for later splits.
    """
    split, form = freeze.split, _format(spec, freeze.split)
    questions = [q for q in load_questions(split.dataset, split.source) if q.turns[1:]]
    first = make_prompts(split.dataset, questions, form, {})
    prompts, _ = _fitting(spec, freeze, first)
    answers: dict[str, _FirstTurn] = {}
    if prompts:
        if not loaded:
            loaded.append(load_target(spec))
        stops = stop_ids(loaded[0], form.tokenizer)
        outputs = greedy_answers(loaded[0], prompts, {split.dataset: freeze.cap}, stops)
        for prompt, ids in zip(prompts, outputs, strict=True):
            text = str(form.tokenizer.decode(ids, skip_special_tokens=True))
            answers[prompt.prompt_id] = {"text": text, "ids": ids}
    assert freeze.first_turns is not None
    write_json(Path(freeze.first_turns), answers)
    return {name: answer["text"] for name, answer in answers.items()}


def answer_prompts(
    spec: ModelSpec,
    files: Sequence[Path],
    first_turns: Sequence[Path],
    caps: dict[str, int],
    out: Path,
) -> None:
    """Write the target's greedy answers to all prompts of a split, which methods learn from.

    Those in ``first_turns`` were decoded when second turns were frozen, and are taken from there.
    """
    prompts = [prompt for file in files for prompt in read_prompts(file)]
    answers = {name: answer["ids"] for file in first_turns for name, answer in _read(file).items()}
    unanswered = [prompt for prompt in prompts if prompt.prompt_id not in answers]
    target = load_target(spec)
    stops = stop_ids(target, load_tokenizer(spec))
    outputs = greedy_answers(target, unanswered, caps, stops)
    answers |= {prompt.prompt_id: ids for prompt, ids in zip(unanswered, outputs, strict=True)}
    write_answers(out, prompts, [answers[prompt.prompt_id] for prompt in prompts])


def _read(file: Path) -> dict[str, _FirstTurn]:
    """Answers to first turns, by prompt id."""
    return checked(dict[str, _FirstTurn], read_json(file), str(file))
