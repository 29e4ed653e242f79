"""FIRP's forward over whole sequences in two streams: for training, accuracies and similarities.

The real stream is the frozen target's forward over the sequence; its K/V and states are constants.
The pseudo stream runs K rows for each selected position through the layers from their entry on,
attending to the real stream's K/V. At every position it computes what the block of a decode step
computes, at a fraction of the cost.
"""

import torch
from torch import Tensor

from harness.engine.masks import additive
from harness.engine.target import Target
from methods.firp.projections import Projections
from methods.shared.accuracy import divergences
from methods.shared.real import AppendingCache, RealStream, RealStreams
from methods.shared.sequences import Sequences, gather_rows


class Streams:
    """Runs both streams of one target with one set of projections.

    ``room``: bytes of real streams held in memory; those that do not fit are computed anew in
    every batch that needs them.
    """

    def __init__(self, target: Target, projections: Projections, room: int = 0) -> None:
        entries = projections.layout.entry_layers
        projections.layout.check_depth(len(target.layers))
        self.target, self.projections = target, projections
        self.real = RealStreams(target, entries, entries[0], room)

    def predict(self, batch: Sequences) -> tuple[Tensor, Tensor]:
        """What training and measuring call: pseudo logits, and KL to the target's distributions."""
        real = self.real(batch)
        logits, _ = self.pseudo(batch, real)
        with torch.no_grad():
            teacher = self.target.logits(batch.aimed_rows(real.states[len(self.target.layers)]))
        return logits, divergences(logits, teacher, batch.index)

    def pseudo(self, batch: Sequences, real: RealStream) -> tuple[Tensor, dict[int, Tensor]]:
        """Pseudo logits [B, K, R, V], and by layer the pseudo states that leave it, step-major.

        States that enter at a layer are listed as leaving the layer below. Gradients flow to the
        projections alone.
        """
        layout, rows = self.projections.layout, batch.selected.shape[1]
        depth = len(self.target.layers)
        hidden: Tensor | None = None
        leaving: dict[int, Tensor] = {}
        positions = (batch.selected[:, None] + _steps(layout.steps, batch)).flatten(1)
        rotary = self.target.rotary(positions)
        cache = AppendingCache(real)
        adapters, adapted = self.projections.adapters, self.projections.between(depth)
        for index in range(layout.entry_layers[0], depth):
            if adapters is not None and index in adapted:
                assert hidden is not None
                hidden = adapters(hidden, index - adapted.start, rows)
            for step, entry in enumerate(layout.entry_layers, start=1):
                if entry == index:
                    source = gather_rows(real.states[index], batch.selected)
                    entered = self.projections.project(step, source, hidden)
                    hidden = entered if hidden is None else torch.cat([hidden, entered], dim=1)
                    leaving[index - 1] = hidden
            assert hidden is not None
            count = hidden.shape[1]
            mask = self._mask(batch, index, count // rows, hidden.dtype)
            cos_sin = rotary[0][:, :count], rotary[1][:, :count]
            hidden = self.target.stack.layer(index, hidden, mask, cos_sin, cache)
            leaving[index] = hidden
        assert hidden is not None
        states = self.target.normed(hidden).unflatten(1, (layout.steps, rows))
        if self.projections.parents is not None:
            states = self.projections.parents(states, self._parents(batch)).to(states.dtype)
        return self.target.head(states), leaving

    def _parents(self, batch: Sequences) -> Tensor:
        """[B, K, R, H] embeddings of the token before the one that each step predicts."""
        steps = _steps(self.projections.layout.steps, batch)
        positions = (batch.selected[:, None] + steps).clamp_max(batch.ids.shape[1] - 1)
        ids = batch.ids.gather(1, positions.flatten(1))
        with torch.no_grad():
            return self.target.embed_batch(ids).unflatten(1, positions.shape[1:])

    def _mask(self, batch: Sequences, index: int, steps: int, dtype: torch.dtype) -> Tensor:
        """[B, 1, s*R, S + s*R] additive mask of pseudo rows over real and pseudo rows.

        A row sees the real tokens up to its selected position, and of the pseudo rows those of
        the same position: its own step and, where the layout has it, earlier ones.
        """
        rows, length = batch.selected.shape[1], batch.ids.shape[1]
        device = batch.ids.device
        columns = torch.arange(length, device=device)
        real = columns <= batch.selected[..., None]  # [B, R, S]
        real = real[:, None].expand(-1, steps, -1, -1)
        window = self.target.windows[index]
        if window is not None:
            positions = batch.selected[:, None] + _steps(steps, batch)  # [B, s, R]
            real = real & (positions[..., None] - columns < window)
        among = torch.ones(steps, steps, dtype=torch.bool, device=device).tril()
        if not self.projections.layout.steps_see_earlier:
            among = torch.eye(steps, dtype=torch.bool, device=device)
        pseudo = torch.kron(among.int(), torch.eye(rows, dtype=torch.int, device=device)).bool()
        pseudo = pseudo.expand(len(batch.ids), -1, -1)
        return additive(torch.cat([real.flatten(1, 2), pseudo], dim=2), dtype)[:, None]


def _steps(count: int, batch: Sequences) -> Tensor:
    """[count, 1] step numbers 1 .. count, on the batch's device."""
    return torch.arange(1, count + 1, device=batch.ids.device)[:, None]
