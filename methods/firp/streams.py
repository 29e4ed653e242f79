"""FIRP's two-stream forward over whole sequences: training, accuracies and cosine similarities.

The real stream is the frozen target over the sequence; its K/V and states are constants.
The pseudo stream runs K rows for each selected position through the layers above their entry,
attending to the real stream's K/V. Equal to the decode-time block position by position, at a
fraction of the cost.
"""

import torch
from torch import Tensor

from harness.engine.target import Target
from methods.firp.projections import Projections
from methods.shared.accuracy import Predict, divergences
from methods.shared.real import AppendingCache, RealStream, RealStreams
from methods.shared.sequences import Sequences, gather_rows


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, 1, T, C] additive mask of a bool [B, T, C]; True attends."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, float("-inf")
    )[:, None]


class Streams:
    """Runs both streams of one target with one set of projections.

    ``keep``: bytes of real streams that stay in memory; what has no room is made anew when drawn.
    """

    def __init__(self, target: Target, projections: Projections, keep: int = 0) -> None:
        entries = projections.layout.entry_layers
        projections.layout.check_depth(len(target.layers))
        self.target, self.projections = target, projections
        self.real = RealStreams(target, entries, entries[0], keep)

    @property
    def predict(self) -> Predict:
        """For training and measuring: pseudo logits, and KL to the target's distributions."""
        return self._predict

    def _predict(self, batch: Sequences) -> tuple[Tensor, Tensor]:
        real = self.real(batch)
        logits, _ = self.pseudo(batch, real)
        with torch.no_grad():
            teacher = self.target.logits(batch.aimed_rows(real.states[len(self.target.layers)]))
        return logits, divergences(logits, teacher, batch.index)

    def pseudo(self, batch: Sequences, real: RealStream) -> tuple[Tensor, dict[int, Tensor]]:
        """Pseudo logits [B, K, R, V], and the pseudo states leaving each layer, k-major.

        Those leaving the layer below an entry are the entering ones. Gradients flow to the
        projections alone.
        """
        layout, rows = self.projections.layout, batch.selected.shape[1]
        depth = len(self.target.layers)
        hidden: Tensor | None = None
        left: dict[int, Tensor] = {}
        positions = (batch.selected[:, None] + _steps(layout.steps, batch)).flatten(1)
        rotary = self.target.rotary(positions)
        cache = AppendingCache(real)
        adapters, between = self.projections.adapters, self.projections.between(depth)
        for index in range(layout.entry_layers[0], depth):
            if adapters is not None and index in between:
                assert hidden is not None
                hidden = adapters(hidden, index - between.start, rows)
            for step, entry in enumerate(layout.entry_layers, start=1):
                if entry == index:
                    source = gather_rows(real.states[index], batch.selected)
                    entered = self.projections.project(step, source, hidden)
                    hidden = entered if hidden is None else torch.cat([hidden, entered], dim=1)
                    left[index - 1] = hidden
            assert hidden is not None
            count = hidden.shape[1]
            mask = self._mask(batch, index, count // rows, hidden.dtype)
            turned = rotary[0][:, :count], rotary[1][:, :count]
            hidden = self.target.stack.layer(index, hidden, mask, turned, cache)
            left[index] = hidden
        assert hidden is not None
        states = self.target.normed(hidden).unflatten(1, (layout.steps, rows))
        if self.projections.parents is not None:
            states = self.projections.parents(states, self._parents(batch)).to(states.dtype)
        return self.target.head(states), left

    def _parents(self, batch: Sequences) -> Tensor:
        """[B, K, R, H] embeddings of the tokens before those that steps predict."""
        steps = _steps(self.projections.layout.steps, batch)
        at = (batch.selected[:, None] + steps).clamp_max(batch.ids.shape[1] - 1)
        ids = batch.ids.gather(1, at.flatten(1))
        with torch.no_grad():
            return self.target.embed_batch(ids).unflatten(1, at.shape[1:])

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
