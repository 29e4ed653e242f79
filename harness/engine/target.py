"""The target: a stock transformers model whose layers are driven one by one.

Driving the layers directly is what lets rows enter in the middle of the stack (FIRP's pseudo
hidden states), lets sublayers be skipped (self-speculation), and lets one arena hold the K/V of
every method. No model file is copied.
"""

from collections.abc import Collection, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from harness.engine.arena import Arena
from harness.engine.block import Block, RowGroup
from harness.engine.host import to_device
from harness.engine.layers import FusedLayer, Rotary, StockLayer, normed, why_stock
from harness.engine.masks import BlockMask, causal_layout
from harness.engine.products import Product, kind
from harness.engine.self_check import require_driven, require_sublayers
from harness.engine.stack import Masks, Stack, Sublayer
from harness.engine.supported import attention_windows, kv_shape, layer_devices, require_supported
from harness.engine.weights import weights_of

SPARE_ROWS = 256  # slots for rows in flight, beside a request's own slots, unless an arm needs more
BUCKET = 128  # slots: the arena's capacity and the spans of static forwards are multiples of it


class Target:
    """A causal language model, its arena and its masks.

    ``weights_hash`` identifies the weights, so that parts trained for others are refused.
    ``execution``: how forwards behind a prompt run. ``eager``: plainly. ``static``: eagerly, but
    with shapes that depend only on the number of rows and, in steps of ``BUCKET``, on the context.
    ``compiled``: static ones by torch.compile, on CUDA as graphs. ``graphs``: static ones captured
    as CUDA graphs, not compiled. Static forwards need finite numbers in the slots that are hidden
    from them. ``layers``: ``fused`` where the architecture allows it (``why_stock`` says why not),
    or ``stock``. ``device``: the head's, which holds all states outside the layers; layers,
    embeddings and the final norm may be on other devices.
    """

    def __init__(
        self,
        model: Any,
        weights_hash: str = "",
        execution: str = "eager",
        layers: str = "fused",
    ) -> None:
        self.weights_hash = weights_hash
        self.weights = weights_of(model)
        self.model: Any = model.eval()
        body = getattr(model, "model", None)
        require_supported(model, body)
        assert body is not None
        self.config = model.config
        self.layers: list[nn.Module] = list(body.layers)
        self._embed, self._rotary = body.embed_tokens, body.rotary_emb
        self.norm: Any = body.norm
        weight = model.lm_head.weight
        self.dtype: torch.dtype = weight.dtype
        self.device: torch.device = weight.device
        self.hidden_size: int = self.config.hidden_size
        self.arena = Arena(layer_devices(body), *kv_shape(self.config), self.dtype)
        self.why_stock = "asked for" if layers == "stock" else why_stock(model, self.weights)
        self.stack = Stack(self._run_as(), self._windows(), self.arena, self.device)
        self._masks: dict[int | None, BlockMask] = {}
        self.execution = execution
        self._static = execution != "eager"
        self._tables: Rotary = (torch.empty(0), torch.empty(0))
        self._drives_sublayers = self.why_stock is None
        require_driven(self)
        if execution == "compiled":
            self.stack.compile()
        elif execution == "graphs":
            self.stack.capture()

    def _run_as(self) -> Sequence[FusedLayer] | Sequence[StockLayer]:
        """The layers in the form in which they run; sets the matching final norm and head."""
        head = self.model.lm_head
        if self.why_stock is not None:
            self._norm, self.head = self.norm, head
            return [StockLayer(layer) for layer in self.layers]
        self._norm = partial(normed, norm=(self.norm.weight.detach(), self.norm.variance_epsilon))
        self.head = Product(head.weight, head.bias)
        return [FusedLayer(layer, at, self.config) for at, layer in enumerate(self.layers)]

    def _windows(self) -> list[int | None]:
        return attention_windows(self.config, len(self.layers))

    @property
    def product_kind(self) -> str:
        """What multiplies rows by weights: ``stock`` modules, or :func:`products.kind`."""
        return kind(self.device, self.dtype) if self.why_stock is None else "stock"

    @property
    def all_products(self) -> list[Product]:
        """The products of fused layers and the head, in the order in which they run."""
        fused = [layer for layer in self.stack.layers if isinstance(layer, FusedLayer)]
        head = [self.head] if isinstance(self.head, Product) else []
        return [product for layer in fused for product in layer.products] + head

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed copies of weights that products run on."""
        return sum(product.packed_bytes for product in self.all_products)

    @property
    def mask_bytes(self) -> int:
        """Bytes of the masks that are kept."""
        return sum(mask.bytes for mask in self._masks.values())

    @property
    def norm_device(self) -> torch.device:
        """The final norm's device; the head's where the norm has no weight."""
        return next((weight.device for weight in self.norm.parameters()), self.device)

    @property
    def devices(self) -> list[torch.device]:
        """The devices of the head and the layers, the head's first."""
        return list(dict.fromkeys([self.device, *self.arena.devices]))

    @property
    def windows(self) -> Sequence[int | None]:
        """Attention window of each layer, None where it sees everything."""
        return self.stack.windows

    def begin(self, slots: int) -> None:
        """Empty the arena and make room for ``slots`` rows; if it grows, masks and rotary tables
        are made anew.
        """
        before = self.arena.capacity
        if slots > before:
            slots = _bucketed(slots)
        self.arena.reserve(slots)
        if self.arena.capacity != before:
            self._masks.clear()
            self.stack.moved()
            positions = torch.arange(self.arena.capacity + 1, device=self.device)[None]
            self._tables = self.rotary(positions)

    def rotary(self, positions: Tensor) -> Rotary:
        """Cosines and sines of positions [B, T], in the form that the layers take."""
        probe = torch.empty(1, 1, 1, dtype=self.dtype, device=self.device)
        cos, sin = self._rotary(probe, position_ids=positions)
        return self.stack.rotary(cos.to(self.device), sin.to(self.device))

    def embed(self, ids: Sequence[int]) -> Tensor:
        """[1, T, H] input states of token ids."""
        return self.embed_batch(to_device(ids, self._embed.weight.device)[None])

    def embed_batch(self, ids: Tensor) -> Tensor:
        """[B, T, H] input states of token ids [B, T]."""
        states: Tensor = self._embed(ids.to(self._embed.weight.device))
        return states.to(self.device)

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, V] logits of final-layer states [T, H] (before the final norm)."""
        return self.head(self.normed(hidden))

    def normed(self, hidden: Tensor) -> Tensor:
        """[T, H] final-layer states [T, H] behind the final norm, which the head reads."""
        states: Tensor = self._norm(hidden.to(self.norm_device))
        return states.to(self.device)

    def prefill(self, ids: Sequence[int], capture: Collection[int] = ()) -> dict[int, Tensor]:
        """Run and commit prompt tokens in an empty arena; returns the states that enter the layers
        ``capture``, where the number of layers stands for the states that leave the last one.
        """
        if not ids:
            empty = torch.empty(1, 0, self.hidden_size, dtype=self.dtype, device=self.device)
            return dict.fromkeys(capture, empty)
        rows = len(ids)
        group = RowGroup(0, rows, lambda _: self.embed(ids))
        # sdpa without a mask is causal and fast, and right because the arena is empty; eager
        # attention without a mask would see the future, and a window needs a mask of its own.
        masked = self.config._attn_implementation == "eager" or any(
            window is not None and window < rows for window in self.windows
        )
        block = Block((group,), causal_layout(rows, self.device), once=True)
        _, states = self.forward(block, capture=capture, masked=masked)
        self.arena.length += rows
        return states

    def forward(
        self,
        block: Block,
        *,
        ahead: int = 0,
        keep: Collection[Sublayer] | None = None,
        capture: Collection[int] = (),
        masked: bool = True,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Run a block behind the committed tokens, without committing it.

        ``ahead`` in-flight tokens (already run, in the slots right after the committed ones) count
        as context too. ``keep`` names the sublayers to run, all by default. Returns the final
        states [1, T, H] and, per captured layer, the states of all rows that enter it.
        """
        context = self.arena.length + ahead
        span = _bucketed(context + block.rows) if self._static and not block.once else 0
        self.arena.place(context, block.rows, span)
        absolute = block.layout.sent + context
        cos, sin = (table.index_select(1, absolute) for table in self._tables)
        states: dict[int, Tensor] = {}
        masks: dict[int, Masks] = {}
        hidden: Tensor | None = None
        pending = list(block.groups)
        for first, end in pairwise(self._cuts(block, capture)):
            if first in block.between and hidden is not None:
                hidden = block.between[first](hidden)
            while pending and pending[0].entry == first:
                new_rows = pending.pop(0).make(hidden)
                hidden = new_rows if hidden is None else torch.cat([hidden, new_rows], dim=1)
            assert hidden is not None
            if first in capture:
                states[first] = hidden
            rows = hidden.shape[1]
            if rows not in masks:
                masks[rows] = {
                    window: self._mask(block, window, rows, span) if masked else None
                    for window in dict.fromkeys(self.windows)
                }
            rotary = cos[:, :rows], sin[:, :rows]
            hidden = self.stack.run(first, end, hidden, masks[rows], rotary, keep)
        assert hidden is not None
        if len(self.layers) in capture:
            states[len(self.layers)] = hidden
        return hidden, states

    def _cuts(self, block: Block, capture: Collection[int]) -> list[int]:
        """Layers before which rows enter, or states are captured or changed; then the end."""
        entries = {group.entry for group in block.groups}
        first = min(entries)
        inside = {at for at in (*capture, *block.between) if at > first}
        return sorted(entries | inside | {len(self.layers)})

    def _mask(self, block: Block, window: int | None, rows: int, span: int) -> Tensor | None:
        context = self.arena.offset
        if rows == 1 and not span and (window is None or context < window):
            return None  # one row sees all that the arena returns
        return self._block_mask(block, window).view(context, rows, span)

    def _block_mask(self, block: Block, window: int | None) -> BlockMask:
        rows = len(block.layout)
        mask = None if block.once else self._masks.get(window)
        if mask is None or mask.rows < rows:
            shape = (rows if block.once else _bucketed(rows), self.arena.capacity, BUCKET)
            mask = BlockMask(shape, window, self.dtype, block.layout.device)
            if not block.once:
                self._masks[window] = mask
        mask.show(block.layout)
        return mask

    def require_sublayers(self) -> None:
        """Refuse a model whose layers are not an attention and an MLP, each behind a norm and added
        to its input; empties the arena if it has to try the layers.
        """
        if not self._drives_sublayers:
            require_sublayers(self)
            self._drives_sublayers = True


def _bucketed(slots: int) -> int:
    return -(-slots // BUCKET) * BUCKET
