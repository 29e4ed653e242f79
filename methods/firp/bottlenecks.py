"""Bottlenecks by which a draft's parent adds to the pseudo state of the draft: see ``parents``."""

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor]  # of the state, of the token, up


class Parents(nn.Module):
    """A bottleneck per future step: state H -> r plus token H -> r, SiLU, r -> H; r is ``rank``.

    Parameters are float32: ``of_state`` and ``of_token`` [K, H, r], ``up`` [K, r, H], which starts
    at zero.
    """

    def __init__(self, steps: int, size: int, rank: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        down = torch.randn(2, steps, size, rank, generator=generator) * size**-0.5
        self.of_state, self.of_token = (nn.Parameter(part.clone()) for part in down)
        self.up = nn.Parameter(torch.zeros(steps, rank, size))

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Add to normed pseudo states what their parents' embeddings give; all [B, K, R, H]."""
        weights = (self.of_state, self.of_token, self.up)
        return followed(weights, states.float(), tokens.float())


def followed(weights: Weights, states: Tensor, tokens: Tensor) -> Tensor:
    """[.., H] normed pseudo states plus a bottleneck's output for them and the embeddings
    ``tokens`` [.., H] of their parents.
    """
    of_state, of_token, up = weights
    return states + silu(states @ of_state + tokens @ of_token) @ up
