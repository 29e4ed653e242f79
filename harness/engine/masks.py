"""Attention masks of a block of rows over any number of context tokens, without building any.

The mask is stored right-aligned: T columns are the block itself, everything to the left is context,
and hidden columns follow where attention is given slots behind the block. However many tokens are
committed, the mask of a step is a slice of the same buffer, and so is the mask of the leading rows
that a lower layer sees. A sliding window depends only on the distance to the block, so it is
right-aligned as well.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Who sees whom among T rows, and where they stand.

    ``visible`` [T, T] bool (True = attends); ``positions`` [T] int64, relative to the number of
    committed tokens; both on the host, ``sent`` the positions on ``device``. Every row sees every
    committed token.
    """

    visible: Tensor
    positions: Tensor
    device: torch.device
    sent: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sent", self.positions.to(self.device, non_blocking=True))

    def __len__(self) -> int:
        return len(self.positions)


class BlockMask:
    """Additive masks of a layout: 0 where a row attends, -inf elsewhere.

    ``context``: committed tokens at the most; ``spare``: hidden columns behind the block.
    """

    def __init__(
        self,
        layout: BlockLayout,
        context: int,
        window: int | None,
        dtype: torch.dtype,
        spare: int = 0,
    ) -> None:
        rows = len(layout)
        additive = torch.zeros(rows, context + rows, dtype=dtype)
        additive[:, context:].masked_fill_(~layout.visible, float("-inf"))
        if window is not None:
            # Column j of the context holds the token j - context behind the first uncommitted one.
            columns = torch.cat([torch.arange(context) - context, layout.positions])
            outside = layout.positions[:, None] - columns[None, :] >= window
            additive.masked_fill_(outside, float("-inf"))
        additive = nn.functional.pad(additive, (0, spare), value=float("-inf"))
        self._context = context
        self._buffer = additive.to(layout.device, non_blocking=True)[None, None]

    def view(self, committed: int, rows: int, span: int = 0) -> Tensor:
        """[1, 1, rows, committed + rows] mask of the leading ``rows`` rows, a view; or, with a
        ``span``, that many columns.
        """
        start = self._context - committed
        return self._buffer[:, :, :rows, start : start + (span or committed + rows)]


def recall(cache: dict[Any, Any], key: Any) -> Any:
    """What was stored, now the newest, or None."""
    found = cache.pop(key, None)
    if found is not None:
        cache[key] = found
    return found


def remember(cache: dict[Any, Any], key: Any, value: Any, limit: int = 512) -> None:
    """Store, dropping what was longest unused beyond ``limit``: trees built anew each step vary
    endlessly, and all arms share the target's masks.
    """
    if len(cache) >= limit:
        del cache[next(iter(cache))]
    cache[key] = value


def aligned(mask: Tensor) -> Tensor:
    """An equal mask whose rows start at multiples of 8 elements, as the attention kernels of CUDA
    want half precision ones: a view starts wherever the committed tokens end.
    """
    *_, rows, columns = mask.shape
    wide = mask.new_empty(1, 1, rows, -(-columns // 8) * 8)
    wide[..., :columns] = mask
    return wide[..., :columns]


@lru_cache(maxsize=64)
def causal_layout(rows: int, device: torch.device) -> BlockLayout:
    """Rows in order, each seeing itself and those before: a prompt, or a chain."""
    visible = torch.ones(rows, rows, dtype=torch.bool).tril()
    return BlockLayout(visible, torch.arange(rows), device)
