"""CUDA graphs, with a stand-in for the device: what is captured, copied in, replayed and kept.

The stand-in replays by running again on the captured inputs, which is what a graph does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.engine.graphs import Graphs
from harness.engine.target import Target
from tests.models import tiny_model

Given = tuple[Tensor, dict[None, Tensor], tuple[Tensor, Tensor]]


class _Device:
    """Stands for torch.cuda: a capture remembers its run, and a replay repeats it in place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = 0
        self._write: Callable[[], None] = lambda: None
        stream = SimpleNamespace(wait_stream=lambda other: None)
        for name, value in {
            "graph_pool_handle": lambda: None,
            "Stream": lambda: stream,
            "current_stream": lambda: stream,
            "stream": self._aside,
            "CUDAGraph": SimpleNamespace,
            "graph": self._captured,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    @contextmanager
    def _aside(self, _: Any) -> Iterator[None]:
        yield

    @contextmanager
    def _captured(self, graph: Any, pool: Any) -> Iterator[None]:
        yield
        graph.replay = self._write

    def run(self, first: int, end: int, hidden: Tensor, masks: Any, rotary: Any, keep: Any) -> Any:
        """Something that depends on every argument, written to one place."""
        self.runs += 1
        output = torch.zeros_like(hidden)
        scale = (end - first) * (1 if keep is None else 3)

        def write() -> None:
            output.copy_(scale * hidden + masks[None].sum() + rotary[0].sum() - rotary[1].sum())

        write()
        self._write = write
        return output


def given(value: float, rows: int = 2) -> Given:
    hidden = torch.full((1, rows, 4), value)
    return hidden, {None: torch.full((1, 1, rows, 8), value)}, (hidden[..., :1], hidden[..., :2])


def expected(value: float, rows: int = 2, scale: int = 3) -> Tensor:
    return torch.full((1, rows, 4), scale * value + 8 * rows * value - rows * value)


def test_a_shape_is_captured_once_and_replayed_on_what_it_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = _Device(monkeypatch)
    graphs, before = Graphs(device.run), Graphs.captured
    kept = [graphs(0, 3, *given(value), None) for value in (1.0, 5.0, -2.0)]
    assert Graphs.captured == before + 1
    assert device.runs == 3, "two to warm up, one to capture"
    for value, found in zip((1.0, 5.0, -2.0), kept, strict=True):
        assert torch.equal(found, expected(value)), "a later replay does not overwrite it"


@pytest.mark.parametrize(
    ("first", "rows", "keep", "scale"),
    [(1, 2, None, 2), (0, 3, None, 3), (0, 2, frozenset({(0, "mlp")}), 9)],
)
def test_other_layers_rows_and_sublayers_are_other_graphs(
    first: int, rows: int, keep: Any, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = Graphs(_Device(monkeypatch).run)
    graphs(0, 3, *given(1.0), None)
    before = Graphs.captured
    found = graphs(first, 3, *given(4.0, rows), keep)
    assert Graphs.captured == before + 1
    assert torch.equal(found, expected(4.0, rows, scale))


def test_graphs_of_an_arena_that_has_moved_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would write to memory that is freed."""
    _Device(monkeypatch)
    target = Target(tiny_model("llama"))
    target.begin(64)
    target.stack.capture()
    graphs = target.stack._run
    target.begin(64)
    assert target.stack._run is graphs, "control: nothing has moved"
    target.begin(4096)
    assert isinstance(target.stack._run, Graphs) and target.stack._run is not graphs
