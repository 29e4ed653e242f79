"""Transfers between host and device, with as few waits as possible.

Forwards are queued on a GPU. Whenever the host waits for them, the GPU then idles until the host
has queued more. A step needs one such wait: the read of the tokens chosen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(values: Sequence[int], device: torch.device) -> Tensor:
    """[N] int64 tensor of a few values, sent without waiting for queued work, for which
    ``torch.tensor`` with a ``device`` would wait.
    """
    return torch.tensor(values, dtype=torch.int64).to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> list[list[float]]:
    """The numbers of each tensor, flat, all in one read. Integers stay exact up to 2**53."""
    numbers = torch.cat([tensor.flatten().double() for tensor in tensors]).tolist()
    lists = []
    for tensor in tensors:
        lists.append(numbers[: tensor.numel()])
        del numbers[: tensor.numel()]
    return lists
