"""How like the real future states the pseudo states are: the paper's motivation, measured.

Two controls stand beside the trained maps: identity maps, which show what the target's own layers
make of a state that is put where a later one belongs, and the real state of today itself, which
shows how alike neighbouring states are anyway.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.files import replacing
from harness.method import Answer
from methods.firp.streams import Streams
from methods.shared.real import RealStream, RealStreams
from methods.shared.sequences import Sequences, batch_sequences, batches, gather_rows

COLUMNS = ("states", "drafts", "step", "layer", "cosine", "positions")
TODAY = "today"
# What is compared, of which drafts, the future step, and the layer that is left.
Place = tuple[str, str, int, int]


class Cosines:
    """Sums of cosine similarities by place, over as many batches as are added."""

    def __init__(self) -> None:
        self._sums: dict[Place, float] = defaultdict(float)
        self._counts: dict[Place, int] = defaultdict(int)

    def add(self, place: Place, alike: Tensor, where: Tensor) -> None:
        """Similarities [B, R], those ``where`` bool [B, R] says."""
        self._sums[place] += float(alike[where].sum())
        self._counts[place] += int(where.sum())

    def lines(self) -> Iterator[tuple[str | int | float, ...]]:
        """One per place: the mean and how many positions it is of; none where there are none."""
        for place, count in self._counts.items():
            if count:
                yield (*place, round(self._sums[place] / count, 5), count)


@torch.no_grad()
def add_similarities(
    found: Cosines, name: str, streams: Streams, answers: Sequence[Answer], size: int
) -> None:
    """Compare the pseudo states of ``streams``, called ``name``, over all positions of the answers.

    Pseudo step k of a position, leaving a layer, is held against the real state that leaves it k
    positions later; the layer below its entry is where it enters. A draft is ``right`` where step
    k's likeliest token is the answer's.
    """
    layout = streams.projections.layout
    every = range(layout.entry_layers[0], len(streams.target.layers))
    real_streams = RealStreams(streams.target, every, layout.entry_layers[0])
    for _, chosen in batches(answers, size):
        batch = batch_sequences(chosen, layout.steps, None, torch.Generator())
        batch = batch.to(streams.target.device)
        real = real_streams(batch)
        logits, left = streams.pseudo(batch, real)
        right = logits.argmax(-1) == batch.tokens
        for layer, states in left.items():
            steps = states.split(batch.selected.shape[1], dim=1)
            for step, pseudo in enumerate(steps, start=1):
                alike = _alike(pseudo, batch, real, layer, step)
                valid, hit = batch.valid[:, step - 1], right[:, step - 1]
                for drafts, where in (("all", valid), ("right", valid & hit)):
                    found.add((name, drafts, step, layer), alike, where)
                found.add((name, "wrong", step, layer), alike, valid & ~hit)


@torch.no_grad()
def add_today(found: Cosines, streams: Streams, answers: Sequence[Answer], size: int) -> None:
    """The control without maps: a position's real state against the one k positions later."""
    layout = streams.projections.layout
    every = range(layout.entry_layers[0], len(streams.target.layers))
    real_streams = RealStreams(streams.target, every)
    left = range(every.start - 1, every.stop)
    for _, chosen in batches(answers, size):
        batch = batch_sequences(chosen, layout.steps, None, torch.Generator())
        batch = batch.to(streams.target.device)
        real = real_streams(batch)
        for layer in left:
            now = gather_rows(real.states[layer + 1], batch.selected)
            for step in range(1, layout.steps + 1):
                alike = _alike(now, batch, real, layer, step)
                found.add((TODAY, "all", step, layer), alike, batch.valid[:, step - 1])


def _alike(states: Tensor, batch: Sequences, real: RealStream, layer: int, step: int) -> Tensor:
    """[B, R] similarity of states [B, R, H] to the real ones ``step`` positions on."""
    wanted = gather_rows(real.states[layer + 1], batch.aims[:, step - 1])
    return cosine_similarity(states.float(), wanted.float(), dim=-1)


def write_cosines(found: Cosines, file: Path) -> None:
    """One line per place."""
    with replacing(file) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        rows.writerows(found.lines())
