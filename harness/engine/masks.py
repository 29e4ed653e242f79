"""Attention masks of a block of rows behind any number of context tokens, as views of one buffer.

The buffer's columns are those of the context, all visible, then T columns of the block itself, then
hidden ones, for slots behind the block that attention may read. The context is right-aligned:
it ends where the block begins, at a fixed column. So the mask of a step is a slice of the buffer,
however many tokens are committed, and so is the mask of its leading rows. (Lower layers run only
these, if others enter higher up.) A new block only writes its T x T corner. A sliding window
depends only on the distance to the block, so it is right-aligned as well.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

K = TypeVar("K")
V = TypeVar("V")

# CUDA's attention kernels need each row of a mask to begin at a multiple of this many elements.
_ALIGNED = 8


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Which of T rows see which, and their positions.

    ``visible`` [T, T] bool (True = attends); ``positions`` [T] int64, counted from the first slot
    behind the context, and all below T: no T rows reach farther than a chain of T. Both are on the
    host; ``sent``: the positions on ``device``. Every row sees the whole context.
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
        return additive(visible, dtype).to(self.device, non_blocking=True)


class BlockMask:
    """The buffer of masks for one attention window.

    ``shape``: the most rows of a block, the most context tokens (a multiple of 8), and the hidden
    columns behind a block.
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
        # Column 0 is the block's first; the context's are negative. This is the oldest one
        # that the block's first row sees.
        self._first = -self._context if window is None else max(1 - window, -self._context)
        self._columns(self._first, -self._first, self.rows).zero_()
        self._shown: BlockLayout | None = None
        self._widest = 0

    @property
    def bytes(self) -> int:
        """Bytes of the buffer."""
        return self._buffer.nbytes

    def show(self, layout: BlockLayout) -> None:
        """Write the masks of ``layout`` into the buffer, unless it holds them already."""
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
            # In the context, blocks differ only in the columns that their windows no longer reach.
            edge = min(self._widest, -self._first)
            columns = torch.arange(self._first, self._first + edge)
            visible = layout.positions[:, None] - columns < self._window
            hidden = additive(visible, dtype).to(layout.device, non_blocking=True)
            self._columns(self._first, edge, rows).copy_(hidden)

    def view(self, committed: int, rows: int, span: int = 0) -> Tensor:
        """View [1, 1, rows, committed + rows] of the mask of the leading ``rows`` rows; with a
        ``span`` it has that many columns.
        """
        phase = committed % len(self._buffer)
        start = self._context + phase - committed
        return self._buffer[phase, None, None, :rows, start : start + (span or committed + rows)]

    def _columns(self, first: int, count: int, rows: int) -> Tensor:
        """View [phases, rows, count] of the columns from ``first`` on; the block begins at 0."""
        phase, row, column = self._buffer.stride()
        return self._buffer.as_strided(
            (len(self._buffer), rows, count),
            (phase + column, row, column),
            self._context + first,
        )


def _phases(device: torch.device) -> int:
    """Copies of the buffer's content, each one column farther right: on CUDA one for every number
    of committed tokens modulo 8, so that every view begins where the kernels need it.
    """
    return _ALIGNED if device.type == "cuda" else 1


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask that is added to attention scores, 0 or -inf, of a bool mask: True attends."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, -math.inf)


def recent(cache: dict[K, V], key: K, make: Callable[[], V], limit: int = 512) -> V:
    """The value under ``key``, which is made and kept if it is missing.

    Beyond ``limit`` entries the one unused for longest is dropped: trees that are built at every
    step come in endlessly many shapes.
    """
    value = cache.pop(key) if key in cache else make()
    if len(cache) >= limit:
        del cache[next(iter(cache))]
    cache[key] = value
    return value


@lru_cache(maxsize=16)  # T x T of a long prompt takes megabytes
def causal_layout(rows: int, device: torch.device) -> BlockLayout:
    """The layout of a prompt or a chain: each row sees itself and all rows before it."""
    visible = torch.ones(rows, rows, dtype=torch.bool).tril()
    return BlockLayout(visible, torch.arange(rows), device)
