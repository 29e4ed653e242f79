"""Running a model's layers: all sublayers or some, eagerly or compiled, on any devices."""

from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from harness.engine.arena import Arena
from harness.engine.graphs import Graphs
from harness.engine.layers import FusedLayer, Rotary, StockLayer

# (layer, "attention" | "mlp")
Sublayer = tuple[int, str]
# Additive masks [1, 1, T, slots] by attention window; None where rows see every slot.
Masks = dict[int | None, Tensor | None]

EXECUTIONS = ("eager", "static", "compiled", "graphs")
SHAPES = 4096  # compiled at the most


class Stack:
    """The layers, their attention windows, and the arena that holds their keys and values.

    States enter and leave a run on ``home``, whichever devices its layers are on.
    """

    def __init__(
        self,
        layers: Sequence[FusedLayer] | Sequence[StockLayer],
        windows: Sequence[int | None],
        arena: Arena,
        home: torch.device,
    ) -> None:
        self.layers, self.windows, self.arena = layers, windows, arena
        self._home = home
        self._is_spread = any(device != home for device in arena.devices)
        self._captures = self._compiles = False
        self._run: Callable[..., Tensor] = self._segment

    def run(
        self,
        first: int,
        end: int,
        hidden: Tensor,
        masks: Masks,
        rotary: Rotary,
        keep: Collection[Sublayer] | None,
    ) -> Tensor:
        """States [1, T, H] after layers ``first`` to ``end`` - 1; ``keep``: the sublayers that run,
        None for all.

        A run of some sublayers is never compiled, since a search tries hundreds of such choices.
        """
        fast = self.arena.span and (keep is None or self._captures)
        run = self._run if fast else self._segment
        if not self._is_spread:
            return run(first, end, hidden, masks, rotary, keep)
        for device, group in groupby(range(first, end), self.arena.devices.__getitem__):
            indices = list(group)
            local_masks = {
                window: mask if mask is None else mask.to(device) for window, mask in masks.items()
            }
            tables = rotary[0].to(device), rotary[1].to(device)
            hidden = run(indices[0], indices[-1] + 1, hidden.to(device), local_masks, tables, keep)
        return hidden.to(self._home)

    def layer(self, index: int, hidden: Tensor, mask: Tensor, rotary: Rotary, cache: Any) -> Tensor:
        """States [B, T, H] after one layer that keeps its keys and values in ``cache``."""
        device = self.arena.devices[index]
        tables = rotary[0].to(device), rotary[1].to(device)
        return self.layers[index](hidden.to(device), mask.to(device), tables, cache).to(self._home)

    def rotary(self, cos: Tensor, sin: Tensor) -> Rotary:
        """Cosines and sines [B, T, D] in the form that the layers take."""
        return self.layers[0].rotary(cos, sin)

    def _segment(
        self,
        first: int,
        end: int,
        hidden: Tensor,
        masks: Masks,
        rotary: Rotary,
        keep: Collection[Sublayer] | None,
    ) -> Tensor:
        for index in range(first, end):
            halves = None
            if keep is not None:
                halves = (index, "attention") in keep, (index, "mlp") in keep
            mask = masks[self.windows[index]]
            hidden = self.layers[index](hidden, mask, rotary, self.arena, halves)
        return hidden

    def capture(self) -> None:
        """Replay forwards of static shapes as CUDA graphs; each shape is captured once."""
        self._captures = True
        self._run = Graphs(self._segment)

    def moved(self) -> None:
        """Drop the graphs of an arena that has moved; for torch.compile, pin its new place."""
        if self._captures:
            self._run = Graphs(self._segment)
        elif self._compiles:
            self.arena.pin()

    def compile(self) -> None:
        """Run forwards of static shapes by torch.compile, which compiles each shape once; on CUDA
        they are replayed as graphs.
        """
        self._compiles = True
        self.arena.pin()
        limits = torch._dynamo.config
        limits.recompile_limit = max(SHAPES, limits.recompile_limit)
        limits.accumulated_recompile_limit = max(SHAPES, limits.accumulated_recompile_limit)
        graphs = self._home.type == "cuda"
        run: Callable[..., Tensor] = torch.compile(
            self._segment,
            dynamic=False,
            fullgraph=True,
            mode="reduce-overhead" if graphs else "default",
        )

        def replayed(*args: Any) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()
            return run(*args).clone()  # a graph's output is overwritten by its next replay

        self._run = replayed if graphs else run
