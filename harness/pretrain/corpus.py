"""Train a target on real question sets, as ``pretrain`` under a model of a config asks for it.

Sources are question sets in the hub's columns. A question that has a reference answer to each of
its turns becomes a conversation; the others, such as most of MT-bench's, are left out.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict

from harness.data.questions import load_questions
from harness.errors import HarnessError
from harness.experiment.steps import Source
from harness.files import parsed, replacing_files, sha256_file, write_json
from harness.pretrain.packing import encode, pack
from harness.pretrain.tokenizer import train_tokenizer
from harness.pretrain.train import Recipe, Shape, finish, new_target, train_target

HELD_OUT = 64  # conversations


@dataclass(frozen=True, slots=True)
class Pretraining:
    """A target to train: sources of questions by data set, its size, how long and how fast, and the
    weight of the prompt's tokens in the loss.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    sources: dict[str, Source]
    shape: Shape = field(default_factory=Shape)
    training: Recipe = field(default_factory=Recipe)
    prompt_weight: float = 1.0


def build(recipe: dict[str, Any], out: Path) -> dict[str, object]:
    """Train tokenizer and target as ``recipe`` says; write them and ``record.json`` to ``out``.

    ``recipe``: the fields of :class:`Pretraining`. Returns the record.
    """
    asked = parsed(Pretraining, recipe, "pretrain")
    shape, plan = asked.shape, asked.training
    conversations = _conversations(asked.sources, plan.seed)
    texts = (text for turns in conversations for turn in turns for text in turn)
    tokenizer = train_tokenizer(texts, shape.vocab, shape.context)
    encoded = [encode(turns, tokenizer, asked.prompt_weight) for turns in conversations]
    encoded = [document for document in encoded if len(document.ids) <= plan.length]
    if len(encoded) <= HELD_OUT:
        raise HarnessError(
            f"pretrain: {len(encoded)} answered questions of at most {plan.length} tokens, "
            f"expected more than {HELD_OUT}"
        )
    pad, stop = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)
    held_out = list(pack(iter(encoded[:HELD_OUT]), 4, plan.length, pad))
    model = new_target(shape, stop, pad, plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    stream = pack(_epochs(encoded[HELD_OUT:], plan.seed), plan.rows, plan.length, pad)
    log = out / "training.jsonl"
    loss, seconds = train_target(model, stream, held_out, plan, log)
    record = {
        "recipe": recipe,
        "training": asdict(plan),
        "shape": asdict(shape),
        "steps": plan.steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "conversations": len(encoded),
        "held_out_loss": round(loss, 5),
        "seconds": round(seconds),
        "torch": torch.__version__,
    }
    with replacing_files(out) as temporary:
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary)
    record["sha256"] = sha256_file(out / "model.safetensors")
    # record.json comes last: it is the file that later jobs wait for.
    write_json(out / "record.json", record)
    finish(log)
    return record


def _conversations(sources: dict[str, Source], seed: int) -> list[list[tuple[str, str]]]:
    """All answered questions of all sources, shuffled."""
    dialogues = [
        list(zip(question.turns, question.references, strict=True))
        for dataset, source in sources.items()
        for question in load_questions(dataset, source)
        if len(question.references) == len(question.turns)
    ]
    random.Random(seed).shuffle(dialogues)
    return dialogues


def _epochs(documents: list[Any], seed: int) -> Iterator[Any]:
    """The documents again and again, each time in a new order."""
    for epoch in itertools.count():
        order = list(documents)
        random.Random(f"{seed}/{epoch}").shuffle(order)
        yield from order
