"""How like the real future states the pseudo states are: the paper's motivation, measured."""

from collections.abc import Sequence

import torch
from torch.nn.functional import cosine_similarity

from harness.method import Answer
from methods.firp.streams import Streams
from methods.shared.real import RealStreams
from methods.shared.sequences import batch_sequences, batches, gather_rows


@torch.no_grad()
def similarities(
    streams: Streams, answers: Sequence[Answer], size: int
) -> dict[tuple[int, int], float]:
    """(step, layer) -> mean cosine similarity between pseudo ``step`` of a position, leaving
    ``layer``, and the real state ``step`` positions later, over all positions of the answers.
    """
    layout = streams.projections.layout
    steps = layout.steps
    every = range(layout.entry_layers[0], len(streams.target.layers))
    real_streams = RealStreams(streams.target, every, layout.entry_layers[0])
    sums: dict[tuple[int, int], float] = {}
    counts: dict[tuple[int, int], int] = {}
    for _, chosen in batches(answers, size):
        batch = batch_sequences(chosen, steps, None, torch.Generator()).to(streams.target.device)
        real = real_streams(batch)
        _, left = streams.pseudo(batch, real)
        rows = batch.selected.shape[1]
        for layer, states in left.items():
            for step, pseudo in enumerate(states.split(rows, dim=1), start=1):
                wanted = gather_rows(real.states[layer + 1], batch.aims[:, step - 1])
                valid = batch.valid[:, step - 1]
                value = cosine_similarity(pseudo.float(), wanted.float(), dim=-1)[valid].sum()
                at = (step, layer)
                sums[at] = sums.get(at, 0.0) + float(value)
                counts[at] = counts.get(at, 0) + int(valid.sum())
    return {at: total / max(1, counts[at]) for at, total in sums.items()}
