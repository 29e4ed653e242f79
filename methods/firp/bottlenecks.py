"""What a draft's parent adds to the pseudo state that it is drafted from: see ``parents``."""

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor]  # of the state, of the token, up


class Parents(nn.Module):
    """A bottleneck for each of K future ``steps``: state H -> r, token H -> r, SiLU, r -> H.

    Parameters are float32: ``of_state`` and ``of_token`` [K, H, r], ``up`` [K, r, H], which starts
    at zero.
    """

    def __init__(self, steps: int, size: int, rank: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        down = torch.randn(2, steps, size, rank, generator=generator) * size**-0.5
        self.of_state, self.of_token = (nn.Parameter(one.clone()) for one in down)
        self.up = nn.Parameter(torch.zeros(steps, rank, size))

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Normed pseudo states [B, K, R, H] with what their parents' embeddings, as many, add."""
        weights = (self.of_state, self.of_token, self.up)
        return followed(weights, states.float(), tokens.float())


def followed(weights: Weights, states: Tensor, tokens: Tensor) -> Tensor:
    """[.., H] normed pseudo states [.., H] and what the ``tokens``' embeddings [.., H] add."""
    of_state, of_token, up = weights
    return states + silu(states @ of_state + tokens @ of_token) @ up
