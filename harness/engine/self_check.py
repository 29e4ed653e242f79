"""Whether driving a model's layers gives what its own forward gives, asked as it is loaded."""

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor

from harness.engine.block import Block, RowGroup
from harness.engine.masks import causal_layout
from harness.errors import HarnessError, first_line, in_our_words

Target: TypeAlias = Any  # harness.engine.target.Target, which imports this module
# Of the range of the logits. int8 rounds activations to 255 steps: on mini's target, embeddings
# 1e-6 apart gave logits 2e-2 of their range apart.
PRECISE, ROUNDED = 1e-4, 5e-2


def tolerance(target: Target) -> float:
    """How far logits may be from the model's own, as a share of their range."""
    precise = target.dtype == torch.float32 and target.weights != "int8"
    return PRECISE if precise else ROUNDED


@torch.inference_mode()
def require_driven(target: Target) -> None:
    """Refuse a model whose own forward is not what driving its layers gives."""
    kind = target.config.model_type

    def said(error: Exception) -> str:
        return (
            f"model type '{kind}': driving its layers fails ({first_line(error)}); expected a "
            "model like llama, mistral, qwen2 or qwen3"
        )

    with in_our_words(said):
        own, driven = _both(target)
        off = float((driven - own).abs().max() / own.abs().max().clamp_min(1e-6))
        if not off <= tolerance(target):
            raise HarnessError(
                f"model type '{kind}': driving its layers gives logits that are off by {off:.2g} "
                f"of their range, expected <= {tolerance(target):.0e}; not supported"
            )


def _both(target: Target) -> tuple[Tensor, Tensor]:
    """[T + 1, V] logits of a few tokens by the model's own forward and by its layers: all in one
    block, and the last one once more as answers begin, a row behind a prompt in one piece, which
    other kernels run.
    """
    count = min(8, target.config.vocab_size)
    ids = [(7 * i) % target.config.vocab_size for i in range(count)]
    batch = torch.tensor([ids], device=target.device)
    own: Tensor = target.model(input_ids=batch, use_cache=False).logits[0]
    if not bool((own < math.inf).all()):
        raise HarnessError(
            f"model type '{target.config.model_type}': its logits are NaN or infinite, expected "
            "numbers; are the weights whole, and is the dtype wide enough for them?"
        )
    target.begin(2 * count)
    driven = [target.logits(target.forward(_causal(target, ids))[0][0])]
    target.prefill(ids[:-1])
    driven.append(target.logits(target.forward(_causal(target, ids[-1:]))[0][0]))
    return torch.cat([own, own[-1:]]), torch.cat(driven)


def _causal(target: Target, ids: list[int]) -> Block:
    """Tokens one behind the other, from the first layer on."""
    group = RowGroup(0, len(ids), lambda _: target.embed(ids))
    return Block((group,), causal_layout(len(ids), target.device), once=True)


@torch.inference_mode()
def require_sublayers(target: Target) -> None:
    """Refuse a model whose layers are more than attention and MLP, each behind its norm, added to
    what enters; empties the arena.
    """
    ids = [(7 * i) % target.config.vocab_size for i in range(4)]
    target.begin(len(ids))
    every = {(i, kind) for i in range(len(target.layers)) for kind in ("attention", "mlp")}
    try:
        block = _causal(target, ids)
        whole, parts = (target.forward(block, keep=keep)[0] for keep in (None, every))
        same = torch.allclose(whole, parts, rtol=1e-2, atol=1e-2 * float(whole.abs().max()))
    except (AttributeError, TypeError):  # no such parts, or parts that give something else
        same = False
    if not same:
        raise HarnessError(
            f"model type '{target.config.model_type}': its layers are not an attention and an MLP "
            "behind a norm each, expected such (llama, mistral, qwen2, qwen3) where sublayers are "
            "to be skipped"
        )
