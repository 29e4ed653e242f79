"""Keys and values of one sequence, written at an explicit offset.

Layout: committed token i sits in slot i, in every layer. Rows in flight are written behind the
committed ones and are either compacted into place or abandoned; nothing past ``length`` is ever
attended to unless the running forward has just written it: it is not given, or it is masked.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.engine.host import to_device
from harness.errors import HarnessError


class Arena:
    """A preallocated K/V store that attention layers take for their cache.

    ``devices`` of the layers, in order. ``stores``: for each device the layers that it holds, in
    order, [layers, 2, 1, Hkv, capacity, D] in the model's dtype. ``length`` counts committed
    tokens; ``offset`` is the slot where the first row of the running forward goes, ``span`` how
    many slots its attention is given, 0 for those up to its last row.
    """

    def __init__(
        self, devices: Sequence[torch.device], heads: int, head_dim: int, dtype: torch.dtype
    ) -> None:
        self.devices = list(devices)
        self.capacity = self.length = self.offset = self.span = 0
        self.stores: dict[torch.device, Tensor] = {}
        self._heads, self._head_dim, self._dtype = heads, head_dim, dtype
        self._slots: dict[torch.device, Tensor] = {}
        self._slices: list[tuple[Tensor, Tensor]] = []

    @property
    def bytes_per_slot(self) -> int:
        """Keys and values of one token in all layers."""
        return len(self.devices) * 2 * self._heads * self._head_dim * self._dtype.itemsize

    def reserve(self, slots: int) -> None:
        """Forget everything and make room for at least ``slots`` rows."""
        self.length = self.offset = 0
        if slots <= self.capacity:
            return
        # The old stores are freed first; where the memory holds no new ones, there are none.
        self.capacity, self.stores, self._slices, self._slots = 0, {}, [], {}
        for device, layers in Counter(self.devices).items():
            shape = (layers, 2, 1, self._heads, slots, self._head_dim)
            self.stores[device] = torch.zeros(shape, dtype=self._dtype, device=device)
            self._slots[device] = torch.zeros(slots, dtype=torch.int64, device=device)
        left = {device: iter(store) for device, store in self.stores.items()}
        self._slices = [(*next(left[device]),) for device in self.devices]
        self.capacity = slots

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
        end_of_rows = offset + rows
        end = max(end_of_rows, span)
        if end > self.capacity:
            raise HarnessError(
                f"K/V arena: {end} slots needed, {self.capacity} reserved: a drafter sends more "
                "rows than it said (max_rows)"
            )
        self.offset, self.span = offset, span
        if span:  # always in the same place, which graphs read
            for slots in self._slots.values():
                torch.arange(offset, end_of_rows, out=slots[:rows])

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
            slots = self._slots[self.devices[layer_idx]][:rows]
            keys.index_copy_(2, slots, key)
            values.index_copy_(2, slots, value)
        else:
            span = self.offset + rows
            keys.narrow(2, self.offset, rows).copy_(key)
            values.narrow(2, self.offset, rows).copy_(value)
        return keys.narrow(2, 0, span), values.narrow(2, 0, span)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [1, Hkv, length, D] of the committed tokens in a layer, as views."""
        keys, values = self._slices[layer]
        return keys.narrow(2, 0, self.length), values.narrow(2, 0, self.length)

    def commit(self, path: list[int]) -> None:
        """Keep the in-flight rows ``path`` (ascending, root first), dropping all others.

        The rows are gathered before they are written, so overlapping sources are safe; a chain that
        was accepted in place needs no copy.
        """
        if path != list(range(len(path))):
            for device, store in self.stores.items():
                moved = store.index_select(4, to_device(path, device) + self.length)
                store.narrow(4, self.length, len(path)).copy_(moved)
        self.length += len(path)
