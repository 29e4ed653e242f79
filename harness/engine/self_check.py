"""Checks, as a model is loaded, that driving its layers gives what its own forward gives."""

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor

from harness.engine.block import Block, RowGroup
from harness.engine.masks import causal_layout
from harness.errors import HarnessError, first_line, in_our_words

Target: TypeAlias = Any  # harness.engine.target.Target, which imports this module
# As shares of the logits' range. int8 rounds activations to 255 steps: on mini's target, embeddings
# 1e-6 apart gave logits 2e-2 of their range apart.
PRECISE, ROUNDED = 1e-4, 5e-2


def tolerance(target: Target) -> float:
    """How far logits may be from those of the model's own forward, as a share of their range."""
    precise = target.dtype == torch.float32 and target.weights != "int8"
    return PRECISE if precise else ROUNDED


@torch.inference_mode()
def require_driven(target: Target) -> None:
    """Refuse a model whose own forward gives other logits than driving its layers does."""
    kind = target.config.model_type

    def failure(error: Exception) -> str:
        return (
            f"model type '{kind}': driving its layers fails ({first_line(error)}); expected a "
            "model like llama, mistral, qwen2 or qwen3"
        )

    with in_our_words(failure):
        expected, driven = _logits_both_ways(target)
        off = float((driven - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
        if not off <= tolerance(target):
            raise HarnessError(
                f"model type '{kind}': driving its layers gives logits that are off by {off:.2g} "
                f"of their range, expected <= {tolerance(target):.0e}; not supported"
            )


def _logits_both_ways(target: Target) -> tuple[Tensor, Tensor]:
    """[T + 1, V] logits of T tokens by the model's own forward, and the same by driving its layers.

    The layers run all T tokens as one block, and then the last token once more, by itself behind a
    prefilled prompt, as an answer begins: a single row runs on other kernels.
    """
    count = min(8, target.config.vocab_size)
    ids = [(7 * i) % target.config.vocab_size for i in range(count)]
    batch = torch.tensor([ids], device=target.device)
    expected: Tensor = target.model(input_ids=batch, use_cache=False).logits[0]
    if not bool((expected < math.inf).all()):
        raise HarnessError(
            f"model type '{target.config.model_type}': its logits are NaN or infinite, expected "
            "numbers; are the weights whole, and is the dtype wide enough for them?"
        )
    target.begin(2 * count)
    driven = [target.logits(target.forward(_causal(target, ids))[0][0])]
    target.prefill(ids[:-1])
    driven.append(target.logits(target.forward(_causal(target, ids[-1:]))[0][0]))
    return torch.cat([expected, expected[-1:]]), torch.cat(driven)


def _causal(target: Target, ids: list[int]) -> Block:
    """A block of tokens that see those before them, all of which enter at the first layer."""
    group = RowGroup(0, len(ids), lambda _: target.embed(ids))
    return Block((group,), causal_layout(len(ids), target.device), once=True)


@torch.inference_mode()
def require_sublayers(target: Target) -> None:
    """Refuse a model whose layers are not an attention and an MLP, each behind a norm and added to
    its input; empties the arena.
    """
    ids = [(7 * i) % target.config.vocab_size for i in range(4)]
    target.begin(len(ids))
    sublayers = {(i, kind) for i in range(len(target.layers)) for kind in ("attention", "mlp")}
    try:
        block = _causal(target, ids)
        whole, parts = (target.forward(block, keep=keep)[0] for keep in (None, sublayers))
        same = torch.allclose(whole, parts, rtol=1e-2, atol=1e-2 * float(whole.abs().max()))
    except (AttributeError, TypeError):  # no such parts, or parts that return something else
        same = False
    if not same:
        raise HarnessError(
            f"model type '{target.config.model_type}': its layers are not an attention and an MLP "
            "behind a norm each, expected such (llama, mistral, qwen2, qwen3) where sublayers are "
            "to be skipped"
        )
