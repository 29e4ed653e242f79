"""The target of ``mini``: how the shipped weights were made, and can be made again.

python -m harness rebuild-mini-target --seed 0 --out results/mini/rebuilt
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from harness.files import sha256_file, write_json
from harness.mini.corpus import training_mix
from harness.pretrain.packing import Batch, Encoded, encode, pack
from harness.pretrain.tokenizer import train_tokenizer
from harness.pretrain.train import Recipe, Shape, held_out_loss, new_target, train_target

SHAPE = Shape(layers=6, width=256, heads=8, inner=512, vocab=1024, context=1024)
PROMPT_WEIGHT = 0.05
TOKENIZER_CONVERSATIONS = 6000
HELD_OUT_BATCHES = 8


def _encoded(
    split: str, seed: int, tokenizer: PreTrainedTokenizerBase, prompt_weight: float
) -> Iterator[Encoded]:
    return (encode(turns, tokenizer, prompt_weight) for turns in training_mix(split, seed))


def held_out_batches(tokenizer: PreTrainedTokenizerBase, seed: int, recipe: Recipe) -> list[Batch]:
    """Batches of unseen conversations; only answers count."""
    documents = _encoded("held-out", seed, tokenizer, 0.0)
    batches = pack(documents, recipe.rows, recipe.length, int(tokenizer.pad_token_id))
    return list(itertools.islice(batches, HELD_OUT_BATCHES))


def build(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Train tokenizer and target from ``recipe.seed``; write both and ``record.json`` to ``out``.

    Returns the record: recipe, shape, held-out loss of the bf16-rounded weights (nats per answer
    token), seconds, and the SHA-256 of the weight and tokenizer files.
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    sample = itertools.islice(training_mix("train", recipe.seed), TOKENIZER_CONVERSATIONS)
    texts = (text for turns in sample for turn in turns for text in turn)
    tokenizer = train_tokenizer(texts, SHAPE.vocab, SHAPE.context)
    pad, stop = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)
    model = new_target(SHAPE, stop, pad, recipe.seed)
    documents = _encoded("train", recipe.seed, tokenizer, PROMPT_WEIGHT)
    held_out = held_out_batches(tokenizer, recipe.seed, recipe)
    batches = pack(documents, recipe.rows, recipe.length, pad)
    train_target(model, batches, held_out, recipe, out / "training.jsonl")
    tokenizer.save_pretrained(out)
    return save(model, held_out, recipe, out, time.monotonic() - started)


def save(
    model: LlamaForCausalLM, held_out: list[Batch], recipe: Recipe, out: Path, seconds: float
) -> dict[str, Any]:
    """Round to bf16, write the hub's files, and record what was written."""
    model.to(torch.bfloat16).save_pretrained(out)
    model.to(torch.float32)
    record = {
        "recipe": asdict(recipe),
        "steps": recipe.steps,
        "shape": asdict(SHAPE),
        "parameters": sum(p.numel() for p in model.parameters()),
        "prompt_weight": PROMPT_WEIGHT,
        "held_out_loss": round(held_out_loss(model, held_out), 5),
        "seconds": round(seconds),
        "torch": torch.__version__,
        "sha256": {
            name: sha256_file(out / name) for name in ("model.safetensors", "tokenizer.json")
        },
    }
    write_json(out / "record.json", record)
    return record
