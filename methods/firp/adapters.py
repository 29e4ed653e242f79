"""Adapters for pseudo rows: an extension of ours, in no paper, off by default.

The target's layers were trained on real states alone. Before each layer above the first entry, the
rows of each future step pass a small residual bottleneck of their own. Real rows never do, so the
verified output stays the target's. Before training the bottlenecks add nothing.
"""

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]  # scale, shift, down, up


class Adapters(nn.Module):
    """A bottleneck per layer and future step: LayerNorm, H -> r, SiLU, r -> H; r is ``rank``.

    Parameters are float32: ``scale`` and ``shift`` [L, K, H] of the norm, ``down`` [L, K, H, r],
    ``up`` [L, K, r, H], which starts at zero.
    """

    def __init__(self, layers: int, steps: int, size: int, rank: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        down = torch.randn(layers, steps, size, rank, generator=generator) * size**-0.5
        self.scale = nn.Parameter(torch.ones(layers, steps, size))
        self.shift = nn.Parameter(torch.zeros(layers, steps, size))
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(layers, steps, rank, size))

    def forward(self, states: Tensor, layer: int, rows: int) -> Tensor:
        """:func:`adapted` with these parameters."""
        return adapted((self.scale, self.shift, self.down, self.up), states, layer, rows)


def adapted(weights: Weights, states: Tensor, layer: int, rows: int) -> Tensor:
    """[B, s * R, H] ``states`` plus what the bottlenecks of the ``layer``-th adapted layer (from 0)
    make of them. States are step-major: of each of the first s steps ``rows`` R. ``weights`` are
    those of :class:`Adapters`.
    """
    split = states.unflatten(1, (-1, rows))
    scale, shift, down, up = (weight[layer, : split.shape[1]] for weight in weights)
    normed = layer_norm(split.to(scale.dtype), split.shape[-1:]) * scale[:, None] + shift[:, None]
    added = silu(normed @ down) @ up
    return states + added.flatten(1, 2).to(states.dtype)
