"""How fast a device moves bytes, and how many of them a decode step has to read."""

import time
from typing import Any

import torch

from harness.engine.weights import scale_bytes
from harness.measure.timing import synchronise

# Bytes; well beyond any last-level cache (at most some 100 MB on a GPU or a CPU socket).
BUFFER = {"cpu": 512 << 20, "cuda": 1 << 30}
COPIES, SAMPLES = 4, 9


def copy_rates(device: torch.device, size: int | None = None) -> list[float]:
    """Bytes per second, read and written ones counted: ``SAMPLES`` samples of ``COPIES`` copies.

    ``size`` bytes are copied from one buffer to another, on all torch threads. A CPU may also
    fetch the cache lines that it writes: that traffic is not counted.
    """
    size = size or BUFFER[device.type]
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    copy = source.clone()  # writes it once, so that its memory pages exist
    return [2 * COPIES * source.nbytes / _seconds(source, copy) for _ in range(SAMPLES)]


def _seconds(source: torch.Tensor, copy: torch.Tensor) -> float:
    synchronise(source.device)
    started = time.perf_counter()
    for _ in range(COPIES):
        copy.copy_(source)
    synchronise(source.device)
    return time.perf_counter() - started


def weight_bytes(model: Any) -> int:
    """Bytes of the parameters that a forward reads whole: packed ones as stored, with their scales.

    The embedding table does not count, since a step reads one line of it per row, unless the head
    shares it and so reads it whole.
    """
    table = model.get_input_embeddings().weight
    total = sum(parameter.nbytes for parameter in model.parameters()) + scale_bytes(model)
    return total if model.lm_head.weight is table else total - table.nbytes
