"""What crosses between host and device.

On a GPU forwards are queued; whatever makes the host wait for them leaves the GPU without work
until the host has queued more. A step needs one such wait: the read of the tokens chosen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(values: Sequence[int], device: torch.device) -> Tensor:
    """[N] int64 of a few values, sent without waiting for what is queued; ``torch.tensor`` with a
    ``device`` waits.
    """
    return torch.tensor(values, dtype=torch.int64).to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> list[list[float]]:
    """The numbers of each tensor, flat, all in one read. Integers stay exact up to 2**53."""
    numbers = torch.cat([tensor.flatten().double() for tensor in tensors]).tolist()
    found = []
    for tensor in tensors:
        found.append(numbers[: tensor.numel()])
        del numbers[: tensor.numel()]
    return found
