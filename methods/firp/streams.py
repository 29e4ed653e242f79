"""FIRP's two-stream forward over whole sequences: training, accuracies and cosine similarities.

The real stream is the frozen target over the sequence; its K/V, states and logits are constants.
The pseudo stream runs K rows for each selected position through the layers above their entry,
attending to the real stream's K/V. Equal to the decode-time block position by position, at a
fraction of the cost.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.engine.target import Target
from methods.firp.projections import Projections
from methods.shared.accuracy import Predict, divergences
from methods.shared.sequences import Sequences, gather_rows


class _Recorder:
    """A cache that keeps the real stream's K/V, and appends the pseudo stream's behind them."""

    def __init__(self, layers: int) -> None:
        self.kept: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any) -> tuple[Tensor, Tensor]:
        kept = self.kept[layer_idx]
        if kept is None:
            self.kept[layer_idx] = (key, value)
            return key, value
        return torch.cat([kept[0], key], dim=2), torch.cat([kept[1], value], dim=2)


@dataclass(frozen=True, slots=True)
class RealStream:
    """What the frozen target made of a batch: per-layer entering states, logits, and its K/V."""

    states: list[Tensor]  # [B, S, H] entering each layer, and the final one last
    logits: Tensor  # [B, S, V]
    cache: _Recorder


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, 1, T, C] additive mask of a bool [B, T, C]; True attends."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, float("-inf")
    )[:, None]


class Streams:
    """Runs both streams of one target with one set of projections."""

    def __init__(self, target: Target, projections: Projections) -> None:
        projections.layout.check_depth(len(target.layers))
        self.target, self.projections = target, projections

    @property
    def predict(self) -> Predict:
        """For training and measuring: pseudo logits, and KL to the target's distributions."""
        return self._predict

    def _predict(self, batch: Sequences) -> tuple[Tensor, Tensor]:
        real = self.real(batch.ids)
        logits, _ = self.pseudo(batch, real)
        return logits, divergences(logits, real.logits, batch)

    @torch.no_grad()
    def real(self, ids: Tensor) -> RealStream:
        """The target over ``ids`` [B, S]; right padding needs no mask under causal attention."""
        target = self.target
        hidden = target.embed_batch(ids)
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        rotary = target.rotary(positions)
        cache = _Recorder(len(target.layers))
        states = []
        for index in range(len(target.layers)):
            states.append(hidden)
            seen = positions[0][:, None] >= positions
            window = target.windows[index]
            if window is not None:
                seen = seen & (positions[0][:, None] - positions < window)
            mask = additive(seen[None], hidden.dtype)
            hidden = target.stack.layer(index, hidden, mask, rotary, cache)
        return RealStream([*states, hidden], target.logits(hidden), cache)

    def pseudo(self, batch: Sequences, real: RealStream) -> tuple[Tensor, dict[int, Tensor]]:
        """Pseudo logits [B, K, R, V], and the pseudo states leaving each layer, k-major.

        Gradients flow to the projections alone.
        """
        layout, rows = self.projections.layout, batch.selected.shape[1]
        hidden: Tensor | None = None
        left: dict[int, Tensor] = {}
        positions = (batch.selected[:, None] + _steps(layout.steps, batch)).flatten(1)
        rotary = self.target.rotary(positions)
        for index in range(layout.entry_layers[0], len(self.target.layers)):
            for step, entry in enumerate(layout.entry_layers, start=1):
                if entry == index:
                    source = gather_rows(real.states[index], batch.selected)
                    entered = self.projections.project(step, source, hidden)
                    hidden = entered if hidden is None else torch.cat([hidden, entered], dim=1)
            assert hidden is not None
            count = hidden.shape[1]
            mask = self._mask(batch, index, count // rows, hidden.dtype)
            turned = rotary[0][:, :count], rotary[1][:, :count]
            hidden = self.target.stack.layer(index, hidden, mask, turned, real.cache)
            left[index] = hidden
        assert hidden is not None
        logits = self.target.logits(hidden)
        return logits.unflatten(1, (layout.steps, rows)), left

    def _mask(self, batch: Sequences, index: int, steps: int, dtype: torch.dtype) -> Tensor:
        """[B, 1, s*R, S + s*R]: the real tokens up to each position, then its own earlier steps."""
        rows, length = batch.selected.shape[1], batch.ids.shape[1]
        device = batch.ids.device
        columns = torch.arange(length, device=device)
        real = columns <= batch.selected[..., None]  # [B, R, S]
        real = real[:, None].expand(-1, steps, -1, -1)
        window = self.target.windows[index]
        if window is not None:
            standing = batch.selected[:, None] + _steps(steps, batch)  # [B, s, R]
            real = real & (standing[..., None] - columns < window)
        between = torch.ones(steps, steps, dtype=torch.bool, device=device).tril()
        if not self.projections.layout.steps_see_earlier:
            between = torch.eye(steps, dtype=torch.bool, device=device)
        own = torch.kron(between.int(), torch.eye(rows, dtype=torch.int, device=device)).bool()
        own = own.expand(len(batch.ids), -1, -1)
        return additive(torch.cat([real.flatten(1, 2), own], dim=2), dtype)


def _steps(count: int, batch: Sequences) -> Tensor:
    """[count, 1] the step numbers 1 .. count."""
    return torch.arange(1, count + 1, device=batch.ids.device)[:, None]
