"""The training loop of a target: Muon on matrices, AdamW on the rest, by a weighted loss."""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from harness.checkpoint import load_checkpoint, save_checkpoint
from harness.errors import HarnessError
from harness.files import sha256_json, write_jsonl
from harness.pretrain.muon import Muon
from harness.pretrain.packing import Batch


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a Llama-architecture target.

    ``keys``: key and value heads, as many as ``heads`` where None; ``tied``: the head is the
    embedding table.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    layers: int = 6
    width: int = 256
    heads: int = 4
    inner: int = 688
    vocab: int = 1024
    context: int = 1024
    keys: int | None = None
    tied: bool = True


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast to train: for ``tokens`` positions, padding included, or for
    ``seconds`` where these are set. ``best``: end with the weights of the lowest held-out loss, not
    with the last ones.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    seed: int = 0
    tokens: int = 5_000_000
    rows: int = 20
    length: int = 256
    matrix_lr: float = 3e-3
    other_lr: float = 3e-3
    warmup: float = 0.03
    seconds: float | None = None
    best: bool = False

    @property
    def steps(self) -> int:
        """Optimiser steps of a training that is measured in tokens."""
        return max(1, self.tokens // (self.rows * self.length))

    def done(self, step: int, seconds: float) -> float:
        """Share of the training that is over after ``step`` steps and ``seconds``."""
        return step / self.steps if self.seconds is None else seconds / self.seconds

    def scale(self, done: float) -> float:
        """Learning-rate factor: linear warm-up, constant to 60 %, then linear down to 0.02."""
        return min(1.0, done / self.warmup, max(0.02, (1 - done) / 0.4))


def llama_config(
    shape: Shape, stop_id: int | None = None, pad_id: int | None = None
) -> LlamaConfig:
    """The config of a shape in transformers' form."""
    return LlamaConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.keys or shape.heads,
        intermediate_size=shape.inner,
        vocab_size=shape.vocab,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=stop_id,
        pad_token_id=pad_id,
    )


def new_target(shape: Shape, stop_id: int, pad_id: int, seed: int) -> LlamaForCausalLM:
    """A randomly initialised Llama of the given shape, float32."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(llama_config(shape, stop_id, pad_id))


def weighted_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """(sum of weighted cross-entropies in nats, sum of weights) over one batch.

    Positions restart in each conversation, which transformers takes as packed sequences: no
    conversation attends to another.
    """
    logits = model(input_ids=batch.ids, position_ids=batch.positions, use_cache=False).logits
    weights = batch.weights[:, 1:].reshape(-1)
    losses = cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), batch.ids[:, 1:].reshape(-1), reduction="none"
    )
    return (losses * weights).sum(), weights.sum()


@torch.no_grad()
def held_out_loss(model: nn.Module, batches: list[Batch]) -> float:
    """Mean cross-entropy of the weighted tokens, nats per token."""
    model.eval()
    sums = [weighted_loss(model, batch) for batch in batches]
    model.train()
    return float(sum(s[0] for s in sums) / sum(s[1] for s in sums))


def train_target(
    model: LlamaForCausalLM,
    batches: Iterator[Batch],
    held_out: list[Batch],
    recipe: Recipe,
    log: Path,
) -> tuple[float, float]:
    """Train in place; writes one JSON line per 50 steps to ``log``.

    Returns the held-out loss and the seconds of training, those of killed runs up to their last
    checkpoint included. The checkpoint lies beside the log until :func:`finish`: a killed training
    of the same recipe on the same batches, held out ones too, goes on from there.
    """
    optimizers = _optimizers(model, recipe)
    checkpoint, first = _checkpoint(log), next(batches)
    data = [batch.ids.tolist() for batch in (first, *held_out)]
    key = sha256_json([asdict(recipe), data, str(model.config.to_dict())])
    step, seconds, rows, best = _resume(checkpoint, key, model, optimizers)
    # The batches before the checkpoint were used: draw them again and drop them.
    stream = itertools.islice(itertools.chain([first], batches), step, None)
    started = time.monotonic() - seconds
    total = recipe.steps if recipe.seconds is None else None
    with tqdm(total=total, initial=step, desc="target", unit="step") as bar:
        while recipe.done(step, seconds) < 1 and (batch := next(stream, None)) is not None:
            # The rate is that of the step's end: at its start the first one's would be 0.
            rate = recipe.scale(max(recipe.done(step + 1, seconds), 0.1 * recipe.warmup))
            loss = _train_step(model, batch, optimizers, rate)
            step += 1
            bar.update()
            seconds = time.monotonic() - started
            if step % 50 == 0 or recipe.done(step, seconds) >= 1:
                held_out_now = round(held_out_loss(model, held_out), 4)
                seconds = time.monotonic() - started
                rows.append(
                    {
                        "step": step,
                        "loss": round(loss, 4),
                        "held_out": held_out_now,
                        "seconds": round(seconds, 1),
                    }
                )
                if recipe.best and held_out_now <= min(row["held_out"] for row in rows):
                    best = {name: value.clone() for name, value in model.state_dict().items()}
                bar.set_postfix(loss=rows[-1]["loss"], held_out=held_out_now)
                write_jsonl(log, rows)
                _save(checkpoint, key, model, optimizers, (step, seconds, rows, best))
    if best:
        model.load_state_dict(best)
    return held_out_loss(model, held_out), seconds


def finish(log: Path) -> None:
    """Delete the checkpoint, once what was trained is on disk."""
    _checkpoint(log).unlink(missing_ok=True)


def _checkpoint(log: Path) -> Path:
    return log.with_suffix(".checkpoint.pt")


def _optimizers(
    model: LlamaForCausalLM, recipe: Recipe
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for matrices, AdamW for embeddings and vectors, each with its full rate."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    adam = torch.optim.AdamW(others, lr=recipe.other_lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [(Muon(matrices, lr=recipe.matrix_lr), recipe.matrix_lr), (adam, recipe.other_lr)]


# Steps done, seconds spent, the log's rows, and the best weights so far where these are kept.
_Done = tuple[int, float, list[dict[str, Any]], dict[str, Tensor]]


def _save(
    file: Path,
    key: str,
    model: nn.Module,
    optimizers: list[tuple[torch.optim.Optimizer, float]],
    done: _Done,
) -> None:
    state = {
        "done": done,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer, _ in optimizers],
    }
    save_checkpoint(file, key, state)


def _resume(
    file: Path,
    key: str,
    model: nn.Module,
    optimizers: list[tuple[torch.optim.Optimizer, float]],
) -> _Done:
    """The state of an interrupted run of the same training, else that of the start."""
    state = load_checkpoint(file, key, "target training")
    if state is None:
        return 0, 0.0, [], {}
    model.load_state_dict(state["model"])
    for (optimizer, _), saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    step, seconds, rows, best = state["done"]
    return step, seconds, list(rows), best


def _train_step(
    model: nn.Module,
    batch: Batch,
    optimizers: list[tuple[torch.optim.Optimizer, float]],
    scale: float,
) -> float:
    total, weight = weighted_loss(model, batch)
    loss = total / weight
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, lr in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise HarnessError(f"target training: loss is {value}, expected a number")
    return value
