"""The K/V cache of one sequence, in which every forward writes its rows at an explicit offset.

Layout: committed token i sits in slot i, in every layer. Rows in flight are written behind the
committed ones, and are then either compacted into place or abandoned. Of the slots past ``length``,
attention sees only those that the running forward, or one that it continues, has written: all
others are left out of the views that it gets, or they are masked.
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
    """A preallocated K/V store that attention layers use as their cache.

    ``devices``: the device of each layer, in order. ``stores``: for each device, the keys and
    values of its layers, in order, [layers, 2, 1, Hkv, capacity, D] in the model's dtype.
    ``length``: the committed tokens that it holds, which in a decode step are all but the root.
    ``offset``: the slot of the running forward's first row. Its attention reads the first ``span``
    slots, or, where that is 0, all slots up to its last row.
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
        """Bytes of the keys and values of one token in all layers."""
        return len(self.devices) * 2 * self._heads * self._head_dim * self._dtype.itemsize

    def reserve(self, slots: int) -> None:
        """Drop all committed tokens and make room for at least ``slots`` rows."""
        self.length = self.offset = 0
        if slots <= self.capacity:
            return
        # Freed before new ones are made; where there is no memory for these, there are no stores.
        self.capacity, self.stores, self._slices, self._slots = 0, {}, [], {}
        for device, layers in Counter(self.devices).items():
            shape = (layers, 2, 1, self._heads, slots, self._head_dim)
            self.stores[device] = torch.zeros(shape, dtype=self._dtype, device=device)
            self._slots[device] = torch.zeros(slots, dtype=torch.int64, device=device)
        per_layer = {device: iter(store) for device, store in self.stores.items()}
        self._slices = [(*next(per_layer[device]),) for device in self.devices]
        self.capacity = slots

    def pin(self) -> None:
        """Tell torch.compile that the store keeps its address: it captures no CUDA graph of a
        forward that writes to a tensor which may move.
        """
        for tensor in itertools.chain(*self._slices):
            torch._dynamo.mark_static_address(tensor)

    def place(self, offset: int, rows: int, span: int = 0) -> None:
        """Set where the next forward writes: ``rows`` slots from ``offset`` on.

        With a ``span`` its attention reads that many slots, whatever they hold, so that shapes do
        not depend on the length; the mask then has to hide the slots behind the rows.
        """
        end_of_rows = offset + rows
        end = max(end_of_rows, span)
        if end > self.capacity:
            raise HarnessError(
                f"K/V arena: {end} slots needed, {self.capacity} reserved: a drafter sends more "
                "rows than it said (max_rows)"
            )
        self.offset, self.span = offset, span
        if span:  # written in place, since CUDA graphs read this very tensor
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
            # Indexed by a tensor of slots, so that the operation is the same at every offset.
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

        The rows are gathered before they are written, so sources and destinations may overlap. A
        path of the leading rows, such as an accepted chain, is in place and needs no copy.
        """
        if path != list(range(len(path))):
            for device, store in self.stores.items():
                moved = store.index_select(4, to_device(path, device) + self.length)
                store.narrow(4, self.length, len(path)).copy_(moved)
        self.length += len(path)
