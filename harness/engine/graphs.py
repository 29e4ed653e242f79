"""Runs of layers captured as CUDA graphs, so that the device starts all kernels of a run by itself:
queueing a kernel takes the host longer than running it takes the device.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.engine.masks import recent

_WARM_UPS = 2  # libraries set up workspaces at first use, which must not be captured
_GRAPHS = 1024  # kept at the most


@dataclass(frozen=True, slots=True)
class _Graph:
    """A captured graph: it reads ``inputs`` and writes ``output``, always at the same addresses."""

    graph: Any
    inputs: list[Tensor]
    output: Tensor


class Graphs:
    """Calls ``run`` through graphs, one for each shape of its arguments.

    ``captured`` counts the graphs of all instances: a timed answer that adds one is timed again.
    """

    captured = 0

    def __init__(self, run: Callable[..., Tensor]) -> None:
        self._run = run
        self._graphs: dict[Any, _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()  # shared: graphs run one after the other

    def __call__(
        self,
        first: int,
        end: int,
        hidden: Tensor,
        masks: dict[int | None, Tensor | None],
        rotary: tuple[Tensor, Tensor],
        keep: Collection[Any] | None,
    ) -> Tensor:
        """As :meth:`harness.engine.stack.Stack.run`, for static shapes."""
        tensors = [hidden, *rotary, *(mask for mask in masks.values() if mask is not None)]
        key = (first, end, keep, *(tensor.shape for tensor in tensors))
        capture = partial(self._capture, first, end, tensors, list(masks), keep)
        graph = recent(self._graphs, key, capture, _GRAPHS)
        torch._foreach_copy_(graph.inputs, tensors)
        graph.graph.replay()
        return graph.output.clone()  # the next replay overwrites it

    def _capture(
        self,
        first: int,
        end: int,
        tensors: list[Tensor],
        windows: list[int | None],
        keep: Collection[Any] | None,
    ) -> _Graph:
        Graphs.captured += 1
        inputs = [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]
        hidden, cos, sin, *masks = inputs
        arguments = (first, end, hidden, dict(zip(windows, masks, strict=True)), (cos, sin), keep)
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(_WARM_UPS):
                self._run(*arguments)
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = self._run(*arguments)
        return _Graph(graph, inputs, output)
