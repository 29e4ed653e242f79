"""Keys and values of one sequence, written at an explicit offset.

Layout: committed token i sits in slot i, in every layer. Rows in flight are written behind the
committed ones and are either compacted into place or abandoned; nothing past ``length`` is ever
attended to unless the running forward has just written it: it is not given, or it is masked.
"""

import itertools
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError


class Arena:
    """A preallocated K/V store that stock attention layers take for their cache.

    ``storage`` is [L, 2, 1, Hkv, capacity, D] in the model's dtype; ``length`` counts committed
    tokens; ``offset`` is the slot where the first row of the running forward goes, ``span`` how
    many slots its attention is given, 0 for those up to its last row.
    """

    def __init__(
        self, layers: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._shape = (layers, 2, 1, heads, 0, head_dim)
        self.storage = torch.zeros(self._shape, dtype=dtype, device=device)
        self.length = 0
        self.offset = 0
        self.span = 0
        self._slots = torch.empty(0, dtype=torch.int64, device=device)
        self._slices: list[tuple[Tensor, Tensor]] = []

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.storage.shape[4]

    @property
    def bytes_per_slot(self) -> int:
        """Keys and values of one token in all layers."""
        layers, two, _, heads, _, head_dim = self._shape
        return layers * two * heads * head_dim * self.storage.element_size()

    def reserve(self, slots: int) -> None:
        """Forget everything and make room for at least ``slots`` rows."""
        self.length = self.offset = 0
        if slots <= self.capacity:
            return
        shape = (*self._shape[:4], slots, self._shape[5])
        self.storage = torch.zeros(shape, dtype=self.storage.dtype, device=self.storage.device)
        self._slices = [(layer[0], layer[1]) for layer in self.storage]

    def pin(self) -> None:
        """Tell torch.compile that the store stays where it is: it makes no CUDA graphs of forwards
        that write to what may move.
        """
        for tensor in itertools.chain(*self._slices):
            torch._dynamo.mark_static_address(tensor)

    def place(self, offset: int, rows: int, span: int = 0) -> None:
        """Where the next forward goes: ``rows`` slots from ``offset`` on.

        With a ``span`` its attention is given that many slots whatever they hold, so that shapes do
        not follow the length, and the mask has to hide what is behind the rows.
        """
        end = max(offset + rows, span)
        if end > self.capacity:
            raise HarnessError(
                f"K/V arena: {end} slots needed, {self.capacity} reserved: max_rows of the drafter "
                "is smaller than the rows it sends"
            )
        self.offset, self.span = offset, span
        if span:
            self._slots = torch.arange(offset, offset + rows, device=self.storage.device)

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write [1, Hkv, T, D] rows at ``offset``; return views of the slots to attend to.

        This is the one method that transformers' attention layers call on a cache.
        """
        rows, span = key.shape[2], self.span
        keys, values = self._slices[layer_idx]
        if span:
            # By a tensor of slots: the same operation wherever the rows go.
            slots = self._slots[:rows]
            keys.index_copy_(2, slots, key)
            values.index_copy_(2, slots, value)
        else:
            span = self.offset + rows
            keys.narrow(2, self.offset, rows).copy_(key)
            values.narrow(2, self.offset, rows).copy_(value)
        return keys.narrow(2, 0, span), values.narrow(2, 0, span)

    def commit(self, path: list[int]) -> None:
        """Keep the in-flight rows ``path`` (ascending, root first), dropping all others.

        The rows are gathered before they are written, so overlapping sources are safe; a chain that
        was accepted in place needs no copy.
        """
        if path != list(range(len(path))):
            index = torch.tensor(path, device=self.storage.device) + self.length
            moved = self.storage.index_select(4, index)
            self.storage.narrow(4, self.length, len(path)).copy_(moved)
        self.length += len(path)
