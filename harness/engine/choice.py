"""The one rule by which a token is chosen from the target's logits.

At temperature T > 0 a token is ``argmax(logits / T + Gumbel(seed, position))``: a draw from
softmax(logits / T). All nodes that predict the same position share the noise, so speculative
output is token-identical to plain sampling with the same seed, which is what the
losslessness test for sampling rests on.
"""

import torch
from torch import Tensor

from harness.decoder import Sampling


class TokenChoice:
    """Chooses one token per row of logits."""

    def __init__(self, sampling: Sampling) -> None:
        self._temperature = sampling.temperature
        self._seed = sampling.seed
        self._noise: dict[int, Tensor] = {}

    def __call__(self, logits: Tensor, positions: list[int]) -> Tensor:
        """[N] int64 tokens chosen from ``logits`` [N, V]; ``positions[n]`` is where it will be."""
        if self._temperature > 0:
            noise = torch.stack([self._gumbel(p, logits.shape[-1]) for p in positions])
            noise = noise.to(logits.device, non_blocking=True)
            logits = logits.float() / self._temperature + noise
        return logits.argmax(-1)

    def _gumbel(self, position: int, size: int) -> Tensor:
        """Standard Gumbel noise [V], float32, a function of (seed, position) alone."""
        if position not in self._noise:
            # Only the low 32 bits reach the generator: mix, or seeds would share their noise.
            mixed = (self._seed * 0x9E3779B1 + position * 0x85EBCA77) & 0xFFFFFFFF
            generator = torch.Generator().manual_seed(mixed)
            uniform = torch.rand(size, generator=generator, dtype=torch.float64)
            self._noise[position] = -torch.log(-torch.log(uniform.clamp_(1e-300))).float()
        return self._noise[position]
