"""Cosine similarity of pseudo states to real future states: the paper's motivation, measured.

There are two controls beside the trained maps: identity maps, which show what the target's own
layers make of a state placed where a later one belongs, and the position's own real state
("today"), which shows how alike neighbouring states are anyway.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.method import Answer
from methods.firp.streams import Streams
from methods.shared.real import RealStream, RealStreams
from methods.shared.sequences import Sequences, batch_sequences, batches, gather_rows

COLUMNS = ("states", "drafts", "step", "layer", "cosine", "positions")
TODAY = "today"
# Name of the states compared, which drafts (all, right, wrong), future step, layer that they leave.
Place = tuple[str, str, int, int]


class Cosines:
    """Sums of cosine similarities by place, over as many batches as are added."""

    def __init__(self) -> None:
        self._sums: dict[Place, float] = defaultdict(float)
        self._counts: dict[Place, int] = defaultdict(int)

    def add(self, place: Place, alike: Tensor, where: Tensor) -> None:
        """Add the similarities ``alike`` [B, R] of positions at which ``where`` [B, R] is True."""
        self._sums[place] += float(alike[where].sum())
        self._counts[place] += int(where.sum())

    def lines(self) -> Iterator[tuple[str | int | float, ...]]:
        """One line per place: its mean and number of positions; places without any are left out."""
        for place, count in self._counts.items():
            if count:
                yield (*place, round(self._sums[place] / count, 5), count)


@torch.no_grad()
def add_similarities(
    found: Cosines, name: str, streams: Streams, answers: Sequence[Answer], size: int
) -> None:
    """Compare the pseudo states of ``streams``, called ``name``, over all positions of the answers.

    The state of pseudo step k that leaves a layer is compared with the real state that leaves it k
    positions later; a state as it enters counts as leaving the layer below. A draft is ``right``
    where step k's likeliest token is the answer's. Results are added to ``found``.
    """
    layout = streams.projections.layout
    layers = range(layout.entry_layers[0], len(streams.target.layers))
    real_streams = RealStreams(streams.target, layers, layout.entry_layers[0])
    for _, chosen in batches(answers, size):
        batch = batch_sequences(chosen, layout.steps, None, torch.Generator())
        batch = batch.to(streams.target.device)
        real = real_streams(batch)
        logits, leaving = streams.pseudo(batch, real)
        right = logits.argmax(-1) == batch.tokens
        for layer, states in leaving.items():
            steps = states.split(batch.selected.shape[1], dim=1)
            for step, pseudo in enumerate(steps, start=1):
                cosines = _cosines(pseudo, batch, real, layer, step)
                valid, hit = batch.valid[:, step - 1], right[:, step - 1]
                for drafts, where in (("all", valid), ("right", valid & hit)):
                    found.add((name, drafts, step, layer), cosines, where)
                found.add((name, "wrong", step, layer), cosines, valid & ~hit)


@torch.no_grad()
def add_today(found: Cosines, streams: Streams, answers: Sequence[Answer], size: int) -> None:
    """The control without maps: a position's real state against the one k positions later."""
    layout = streams.projections.layout
    layers = range(layout.entry_layers[0], len(streams.target.layers))
    real_streams = RealStreams(streams.target, layers)
    leaving = range(layers.start - 1, layers.stop)
    for _, chosen in batches(answers, size):
        batch = batch_sequences(chosen, layout.steps, None, torch.Generator())
        batch = batch.to(streams.target.device)
        real = real_streams(batch)
        for layer in leaving:
            today = gather_rows(real.states[layer + 1], batch.selected)
            for step in range(1, layout.steps + 1):
                cosines = _cosines(today, batch, real, layer, step)
                found.add((TODAY, "all", step, layer), cosines, batch.valid[:, step - 1])


def _cosines(states: Tensor, batch: Sequences, real: RealStream, layer: int, step: int) -> Tensor:
    """[B, R] similarity of ``states`` [B, R, H], leaving ``layer``, to real ones ``step`` later."""
    future = gather_rows(real.states[layer + 1], batch.aims[:, step - 1])
    return cosine_similarity(states.float(), future.float(), dim=-1)
