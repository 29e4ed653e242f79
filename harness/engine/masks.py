"""Attention masks of a block of rows over any number of context tokens, without building any.

One buffer holds them all. It is right-aligned: columns of the context, all seen, then T columns of
the block itself, then hidden ones, where attention is given slots behind the block. However many
tokens are committed, the mask of a step is a slice of it, and so is the mask of the leading rows
that a lower layer sees. Another block writes its T x T corner alone. A sliding window depends only
on the distance to the block, so it is right-aligned as well.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

# Elements that rows of a mask have to start at a multiple of, for the attention kernels of CUDA.
_ALIGNED = 8


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Who sees whom among T rows, and where they stand.

    ``visible`` [T, T] bool (True = attends); ``positions`` [T] int64, relative to the number of
    committed tokens and below T, since rows stand behind each other; both on the host, ``sent`` the
    positions on ``device``. Every row sees every committed token.
    """

    visible: Tensor
    positions: Tensor
    device: torch.device
    sent: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sent", self.positions.to(self.device, non_blocking=True))

    def __len__(self) -> int:
        return len(self.positions)

    def additive(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[T, T] mask on the device: 0 where a row attends, -inf elsewhere."""
        visible = self.visible
        if window is not None:
            visible = visible & (self.positions[:, None] - self.positions < window)
        return _additive(visible, dtype, self.device)


class BlockMask:
    """Masks of one attention window behind up to ``context`` tokens, a multiple of 8.

    ``rows`` of a block at the most; ``spare`` hidden columns are behind it.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        window: int | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.rows, self._context, spare = shape
        self._window = window
        phases = _phases(device)
        width = self._context + -(-(self.rows + spare + phases) // _ALIGNED) * _ALIGNED
        self._buffer = torch.full((phases, self.rows, width), -math.inf, dtype=dtype, device=device)
        # The oldest column that a row right behind the context sees.
        self._first = -self._context if window is None else max(1 - window, -self._context)
        self._columns(self._first, -self._first, self.rows).zero_()
        self._shown: BlockLayout | None = None
        self._widest = 0

    @property
    def bytes(self) -> int:
        """Of the buffer."""
        return self._buffer.nbytes

    def show(self, layout: BlockLayout) -> None:
        """Have the buffer hold the masks of ``layout``; nothing is done where it does already."""
        if layout is self._shown:
            return
        rows, old = len(layout), self._widest
        self._widest = max(rows, old)
        self._shown = layout
        dtype = self._buffer.dtype
        self._columns(0, rows, rows).copy_(layout.additive(self._window, dtype))
        if old > rows:
            self._columns(rows, old - rows, rows).fill_(-math.inf)
        if self._window is not None:
            # Of the context, blocks differ in what their rows have left behind the window.
            edge = min(self._widest, -self._first)
            columns = torch.arange(self._first, self._first + edge)
            seen = layout.positions[:, None] - columns < self._window
            self._columns(self._first, edge, rows).copy_(_additive(seen, dtype, layout.device))

    def view(self, committed: int, rows: int, span: int = 0) -> Tensor:
        """[1, 1, rows, committed + rows] mask of the leading ``rows`` rows, a view; or, with a
        ``span``, that many columns.
        """
        phase = committed % len(self._buffer)
        start = self._context + phase - committed
        return self._buffer[phase, None, None, :rows, start : start + (span or committed + rows)]

    def _columns(self, first: int, count: int, rows: int) -> Tensor:
        """[phases, rows, count] columns from ``first`` on, counted from the block's first one."""
        phase, row, column = self._buffer.stride()
        return self._buffer.as_strided(
            (len(self._buffer), rows, count),
            (phase + column, row, column),
            self._context + first,
        )


def _phases(device: torch.device) -> int:
    """Buffers held: on CUDA one for each place in 8 that the committed tokens may end at, so that
    every view starts where its kernels want it.
    """
    return _ALIGNED if device.type == "cuda" else 1


def _additive(visible: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    additive = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -math.inf)
    return additive.to(device, non_blocking=True)


def recall(cache: dict[Any, Any], key: Any) -> Any:
    """What was stored, now the newest, or None."""
    found = cache.pop(key, None)
    if found is not None:
        cache[key] = found
    return found


def remember(cache: dict[Any, Any], key: Any, value: Any, limit: int = 512) -> None:
    """Store, dropping what was longest unused beyond ``limit``: trees built anew each step vary
    endlessly.
    """
    if len(cache) >= limit:
        del cache[next(iter(cache))]
    cache[key] = value


@lru_cache(maxsize=64)
def causal_layout(rows: int, device: torch.device) -> BlockLayout:
    """Rows in order, each seeing itself and those before: a prompt, or a chain."""
    visible = torch.ones(rows, rows, dtype=torch.bool).tril()
    return BlockLayout(visible, torch.arange(rows), device)
