"""The target of ``mini``: how the shipped weights were made and can be made again.

python -m harness rebuild-mini-target --seed 0 --out results/rebuilt-mini-target
"""

import itertools
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from harness.files import replacing_files, sha256_file, write_json
from harness.mini.corpus import training_mix
from harness.pretrain.packing import Batch, encode, pack
from harness.pretrain.tokenizer import train_tokenizer
from harness.pretrain.train import (
    Recipe,
    Shape,
    finish,
    held_out_loss,
    new_target,
    train_target,
)

SHAPE = Shape(layers=6, width=256, heads=8, inner=512, vocab=1024, context=1024)
PROMPT_WEIGHT = 0.05
TOKENIZER_CONVERSATIONS = 6000
HELD_OUT_BATCHES = 8


def phases(seed: int, tokens: int | None = None) -> dict[str, Recipe]:
    """The shipped target's two phases, by the mix that each reads; ``tokens`` overrides both."""
    general = Recipe(seed=seed, tokens=tokens or 5_000_000)
    lr = 2e-3
    sums = Recipe(seed=seed, tokens=tokens or 1_500_000, matrix_lr=lr, other_lr=lr)
    return {"general": general, "arithmetic": sums}


def held_out_batches(tokenizer: PreTrainedTokenizerBase, seed: int) -> list[Batch]:
    """Batches of unseen conversations of the general mix; only answer tokens count."""
    documents = (encode(turns, tokenizer, 0.0) for turns in training_mix("held-out", seed))
    recipe = Recipe()
    batches = pack(documents, recipe.rows, recipe.length, int(tokenizer.pad_token_id))
    return list(itertools.islice(batches, HELD_OUT_BATCHES))


def build(recipes: dict[str, Recipe], out: Path) -> dict[str, object]:
    """Train tokenizer and target phase by phase; write both and ``record.json`` to ``out``.

    Returns the record: recipes, shape, held-out loss of the bf16-rounded weights (nats per answer
    token), seconds, and the SHA-256 of the weight and tokenizer files.
    """
    out.mkdir(parents=True, exist_ok=True)
    seed = recipes["general"].seed
    sample = itertools.islice(training_mix("train", seed), TOKENIZER_CONVERSATIONS)
    texts = (text for turns in sample for turn in turns for text in turn)
    tokenizer = train_tokenizer(texts, SHAPE.vocab, SHAPE.context)
    with replacing_files(out) as temporary:
        tokenizer.save_pretrained(temporary)
    model = new_target(SHAPE, int(tokenizer.eos_token_id), int(tokenizer.pad_token_id), seed)
    seconds = {mix: train_phase(model, tokenizer, mix, r, out) for mix, r in recipes.items()}
    record = save(model, held_out_batches(tokenizer, seed), recipes, out, seconds)
    for mix in recipes:
        finish(_log(out, mix))
    return record


def train_phase(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    mix: str,
    recipe: Recipe,
    out: Path,
) -> int:
    """Train one phase and round the weights to bf16, as they ship; returns its seconds."""
    turns = training_mix("train", recipe.seed, mix)
    documents = (encode(conversation, tokenizer, PROMPT_WEIGHT) for conversation in turns)
    batches = pack(documents, recipe.rows, recipe.length, int(tokenizer.pad_token_id))
    held_out = held_out_batches(tokenizer, recipe.seed)
    _, seconds = train_target(model, batches, held_out, recipe, _log(out, mix))
    model.to(torch.bfloat16).to(torch.float32)
    return round(seconds)


def _log(out: Path, mix: str) -> Path:
    return out / f"training-{mix}.jsonl"


def save(
    model: LlamaForCausalLM,
    held_out: list[Batch],
    recipes: dict[str, Recipe],
    out: Path,
    seconds: dict[str, int],
) -> dict[str, object]:
    """Write the model in the hub's form in bf16, and ``record.json``; returns the record."""
    with replacing_files(out) as temporary:
        model.to(torch.bfloat16).save_pretrained(temporary)
    model.to(torch.float32)
    record = {
        "phases": {mix: asdict(recipe) for mix, recipe in recipes.items()},
        "steps": {mix: recipe.steps for mix, recipe in recipes.items()},
        "seconds": seconds,
        "shape": asdict(SHAPE),
        "parameters": sum(p.numel() for p in model.parameters()),
        "prompt_weight": PROMPT_WEIGHT,
        "held_out_loss": round(held_out_loss(model, held_out), 5),
        "torch": torch.__version__,
        "sha256": {
            name: sha256_file(out / name) for name in ("model.safetensors", "tokenizer.json")
        },
    }
    write_json(out / "record.json", record)
    return record
