"""Runs of layers captured as CUDA graphs: the device goes through all kernels of a run by itself,
where the host would take longer to queue each than the device to run it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.engine.masks import recall, remember

_WARM_UPS = 2  # libraries set up workspaces when first used, which a graph must not hold
_GRAPHS = 1024  # kept at the most


@dataclass(frozen=True, slots=True)
class _Graph:
    """What was captured: it reads ``inputs`` and writes ``output``, always in the same place."""

    graph: Any
    inputs: list[Tensor]
    output: Tensor


class Graphs:
    """Calls ``run`` through graphs, one for each shape of its arguments.

    ``captured`` counts them: a timed answer in which one was captured is timed again.
    """

    captured = 0

    def __init__(self, run: Callable[..., Tensor]) -> None:
        self._run = run
        self._graphs: dict[Any, _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()  # graphs run one after the other: one memory

    def __call__(
        self,
        first: int,
        end: int,
        hidden: Tensor,
        masks: dict[int | None, Tensor | None],
        rotary: tuple[Tensor, Tensor],
        keep: Collection[Any] | None,
    ) -> Tensor:
        """As :meth:`harness.engine.stack.Stack.run`, for a static shape."""
        given = [hidden, *rotary, *(mask for mask in masks.values() if mask is not None)]
        key = (first, end, keep, *(tensor.shape for tensor in given))
        found = recall(self._graphs, key)
        if found is None:
            found = self._capture(first, end, given, list(masks), keep)
            remember(self._graphs, key, found, _GRAPHS)
        torch._foreach_copy_(found.inputs, given)
        found.graph.replay()
        return found.output.clone()  # the next replay overwrites it

    def _capture(
        self,
        first: int,
        end: int,
        given: list[Tensor],
        windows: list[int | None],
        keep: Collection[Any] | None,
    ) -> _Graph:
        Graphs.captured += 1
        inputs = [tensor.clone(memory_format=torch.contiguous_format) for tensor in given]
        hidden, cos, sin, *shown = inputs
        arguments = (first, end, hidden, dict(zip(windows, shown, strict=True)), (cos, sin), keep)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._run(*arguments)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = self._run(*arguments)
        return _Graph(graph, inputs, output)
