"""The target's own greedy answers, untimed and in batches: for first turns and to learn from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import GenerationConfig
from typing_extensions import TypedDict

from harness.data.prompts import Prompt
from harness.engine.target import Target
from harness.files import TokenId, checked, read_jsonl, write_jsonl
from harness.method import Answer

BATCH = 64
CACHE_SHARE = 0.6  # of a GPU's free memory, for the K/V of a batch


@contextmanager
def plain_generation(model: Any) -> Iterator[None]:
    """Set the model's own generation settings aside inside the block.

    A repetition penalty or a list of suppressed tokens in generation_config.json would make
    ``generate`` differ from the model's argmax, which is what every arm decodes.
    """
    original = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = original


@torch.inference_mode()
def greedy_answers(
    target: Target, prompts: Sequence[Prompt], caps: dict[str, int], stops: frozenset[int]
) -> list[list[int]]:
    """Greedy token ids after each prompt, cut after the first stop id and at its dataset's cap."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].input_ids))
    answers: list[list[int]] = [[] for _ in prompts]
    size = _batch_size(target, prompts, caps)
    for start in tqdm(range(0, len(order), size), desc="answers", unit="batch"):
        chosen = order[start : start + size]
        cap = max(caps[prompts[i].dataset] for i in chosen)
        for index, ids in zip(chosen, _generate(target, prompts, chosen, cap, stops), strict=True):
            answers[index] = _cut(ids[: caps[prompts[index].dataset]], stops)
    return answers


def _batch_size(target: Target, prompts: Sequence[Prompt], caps: dict[str, int]) -> int:
    """Prompts per batch: on a GPU no more than its free memory has room for."""
    if target.device.type != "cuda" or not prompts:
        return BATCH
    slots = max(len(p.input_ids) for p in prompts) + max(caps[p.dataset] for p in prompts)
    free, _ = torch.cuda.mem_get_info(target.device)
    return fitting(free, slots * target.arena.bytes_per_slot)


def fitting(free: int, each: int) -> int:
    """How many caches of ``each`` bytes fit a batch where ``free`` bytes of memory are free."""
    return max(1, min(BATCH, int(CACHE_SHARE * free) // each))


def _generate(
    target: Target, prompts: Sequence[Prompt], chosen: list[int], cap: int, stops: frozenset[int]
) -> list[list[int]]:
    """Answers to the ``chosen`` prompts: one left-padded batch through stock ``generate``."""
    width = max(len(prompts[i].input_ids) for i in chosen)
    pad = min(stops, default=0)
    ids = torch.full((len(chosen), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, index in enumerate(chosen):
        prompt = prompts[index].input_ids
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    model = target.model
    with plain_generation(model):
        out = model.generate(
            ids.to(target.device),
            attention_mask=mask.to(target.device),
            max_new_tokens=cap,
            do_sample=False,
            eos_token_id=sorted(stops) or None,
            pad_token_id=pad,
        )
    generated: list[list[int]] = out[:, width:].tolist()
    return generated


def _cut(ids: list[int], stops: frozenset[int]) -> list[int]:
    for index, token in enumerate(ids):
        if token in stops:
            return ids[: index + 1]
    return ids


class _Line(TypedDict):
    prompt_ids: list[TokenId]
    answer_ids: list[TokenId]


def write_answers(path: Path, prompts: Sequence[Prompt], answers: Sequence[list[int]]) -> None:
    """Write one line per prompt: prompt_id, prompt and answer token ids."""
    write_jsonl(
        path,
        (
            {"prompt_id": p.prompt_id, "prompt_ids": list(p.input_ids), "answer_ids": a}
            for p, a in zip(prompts, answers, strict=True)
        ),
    )


def read_answers(path: Path) -> list[Answer]:
    """Read answers of at least two tokens: shorter ones hold nothing to draft."""
    rows = [checked(_Line, row, f"{path} line {n}") for n, row in enumerate(read_jsonl(path), 1)]
    answers = [Answer(tuple(row["prompt_ids"]), tuple(row["answer_ids"])) for row in rows]
    return [answer for answer in answers if len(answer.answer) >= 2]
