"""A decoder layer that a method trains for itself, to read the target's final states.

EAGLE drafts with such a layer, Hydra++ puts one before its heads, and Chimera runs trigrams through
one. It has the target's architecture and its own keys and values; its row i has position i.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from harness.engine import (
    Arena,
    FusedLayer,
    Product,
    Rotary,
    StockLayer,
    Target,
    Tree,
    Verified,
    additive,
    kv_shape,
)
from methods.shared.sequences import Sequences, gather_rows


def new_layer(target: Target, *, first_norm: bool = True) -> nn.Module:
    """An untrained layer of the target's architecture, float32; with ``first_norm`` False there is
    no norm before its attention.
    """
    kind: Any = type(target.layers[0])
    layer: nn.Module = kind(target.config, 0).float()
    if not first_norm:
        layer.input_layernorm = nn.Identity()
    return layer


def causal(rows: int, device: torch.device) -> Tensor:
    """[rows, rows] bool: each row sees itself and those before it."""
    return torch.ones(rows, rows, dtype=torch.bool, device=device).tril()


class Chains:
    """A layer in training, run over a batch of known sequences: gradients reach its weights.

    First :meth:`known` runs the rows of the sequences. Then each :meth:`step` runs one more row
    behind every selected position, so that a chain of rows grows there. Such a row attends to the
    known rows up to the selected position and to its own chain.
    """

    def __init__(self, target: Target, layer: nn.Module, batch: Sequences) -> None:
        self._target, self._layer, self._batch = target, layer, batch
        self._kept: tuple[Tensor, ...] = ()
        self._visible = torch.empty(0)
        self._steps = 0

    def update(self, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, ...]:
        """Append keys and values, as the layer's cache; returns all so far, [B, Hkv, T, D]."""
        new = (key, value)
        pairs = zip(self._kept, new, strict=True) if self._kept else ()
        self._kept = tuple(torch.cat(pair, dim=2) for pair in pairs) or new
        return self._kept

    def known(self, states: Tensor) -> Tensor:
        """Run states [B, T, H] at positions 0 .. T - 1; returns the output [B, T, H]."""
        rows, selected = states.shape[1], self._batch.selected[..., None]
        at = torch.arange(rows, device=states.device)
        self._visible = at <= selected
        return self._run(states, at[None], causal(rows, states.device)[None])

    def step(self, states: Tensor) -> Tensor:
        """Run states [B, R, H], one more row of each chain; returns the output [B, R, H]."""
        count, rows, _ = states.shape
        self._steps += 1
        diagonal = torch.eye(rows, dtype=torch.bool, device=states.device).expand(count, rows, rows)
        self._visible = torch.cat([self._visible, diagonal], dim=-1)
        return self._run(states, self._batch.selected + self._steps, self._visible)

    def following(self, source: Tensor, ahead: int) -> Tensor:
        """[B, R, H] rows of ``source`` [B, S, H], ``ahead`` tokens after the selected positions."""
        at = (self._batch.selected + ahead).clamp_max(source.shape[1] - 1)
        return gather_rows(source, at)

    def _run(self, states: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        cos, sin = self._target.model.model.rotary_emb(states, position_ids=positions)
        outputs: Tensor = self._layer(
            states,
            attention_mask=additive(visible, states.dtype)[:, None],
            position_embeddings=(cos.to(states.device), sin.to(states.device)),
            past_key_values=self,
        )
        return outputs


def accepted(tree: Tree, verified: Verified) -> tuple[Tensor, Tensor]:
    """The accepted path of a step, whose length only the device knows.

    Returns nodes [W], W being the number of nodes on the tree's longest path: first the accepted
    path from the root on, then other nodes as padding; and the depth [1] of the last accepted node,
    which is its index in ``nodes``.
    """
    last = verified.last[None]
    shape = tree.on(last.device)
    rows = 1 + max(tree.shape.depths)
    on_path = shape.drafted.index_select(0, last)[0]
    on_path[0] = True
    nodes = torch.where(on_path, shape.depths, rows).argsort()[:rows]
    return nodes, shape.depths.index_select(0, last)


def packed(layer: Any, target: Target) -> Product:
    """The product by a trained linear layer as decoding runs it, in the target's dtype."""
    weight = layer.weight.detach().to(target.device, target.dtype)
    return Product(weight, None if layer.bias is None else layer.bias.detach().to(weight))


class LayerDecoder:
    """A layer as decoding runs it: in the target's dtype, its keys and values in ``arena``."""

    def __init__(self, target: Target, layer: nn.Module) -> None:
        self._target = target
        module = copy.deepcopy(layer).to(target.device, target.dtype)
        fused = isinstance(target.stack.layers[0], FusedLayer)
        self._layer = FusedLayer(module, 0, target.config) if fused else StockLayer(module)
        self.arena = Arena([target.device], *kv_shape(target.config), target.dtype)
        self._tables: Rotary = (torch.empty(0), torch.empty(0))
        weights = sum(weight.nbytes for weight in module.parameters())
        packs = self._layer.products if isinstance(self._layer, FusedLayer) else ()
        self._bytes = weights + sum(product.packed_bytes for product in packs)

    @property
    def bytes(self) -> int:
        """Bytes of weights, packed copies, keys and values."""
        return self._bytes + self.arena.capacity * self.arena.bytes_per_slot

    def begin(self, slots: int) -> None:
        """Forget the sequence and make room for ``slots`` rows."""
        before = self.arena.capacity
        self.arena.reserve(slots)
        if self.arena.capacity != before:
            positions = torch.arange(self.arena.capacity, device=self._target.device)
            self._tables = self._target.rotary(positions[None])

    def __call__(self, states: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """Run states [1, T, H] at ``positions`` [T], int64 on the device; the output [1, T, H].

        Rows that ran since the last commit are in flight, and lie behind the committed ones, which
        every row sees. ``visible`` [T, A + T] bool: which rows in flight each of the T rows sees;
        columns are first the A that ran before this call, then the T rows themselves.
        """
        rows, total = visible.shape
        context = self.arena.length
        self.arena.place(context + total - rows, rows)
        cos, sin = self._tables
        rotary = cos.index_select(1, positions), sin.index_select(1, positions)
        mask = states.new_zeros(1, 1, rows, context + total)
        mask[..., context:] = additive(visible, states.dtype)
        return self._layer(states, mask, rotary, self.arena)

    def prompt(self, states: Tensor) -> None:
        """Run and commit the prompt's rows, [P, H]."""
        rows, device = len(states), states.device
        if rows:
            self(states[None], torch.arange(rows, device=device), causal(rows, device))
            self.commit(rows)

    def path(self, states: Tensor) -> Tensor:
        """Run rows [W, H] as a chain behind the committed ones; returns the output [W, H]."""
        rows, device = len(states), states.device
        positions = torch.arange(rows, device=device) + self.arena.length
        return self(states[None], positions, causal(rows, device))[0]

    def commit(self, rows: int) -> None:
        """Keep the first ``rows`` rows in flight and drop the others."""
        self.arena.commit(list(range(rows)))
