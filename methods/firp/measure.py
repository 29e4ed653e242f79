"""What the projections predict on the target's own answers: loss, accuracies, ranks, similarity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.method import Answer
from methods.firp.streams import RealStream, Sequences, Streams, batch_sequences, gather_rows
from methods.firp.trees import RankPath, as_trace, ranks

_NONE = torch.Generator()


def divergences(pseudo: Tensor, teacher: Tensor, batch: Sequences) -> Tensor:
    """[B, K, R] KL(target || pseudo) in nats, float32; the teacher is the row aimed at."""
    flat = gather_rows(teacher, batch.aims.flatten(1)).unflatten(1, batch.valid.shape[1:])
    wanted = flat.float().log_softmax(-1)
    given = pseudo.float().log_softmax(-1)
    return (wanted.exp() * (wanted - given)).sum(-1)


def batches(answers: Sequence[Answer], size: int) -> Iterator[tuple[list[int], list[Answer]]]:
    """(indices, answers) in batches of similar length, every answer once."""
    order = sorted(
        range(len(answers)), key=lambda i: len(answers[i].prompt) + len(answers[i].answer)
    )
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, [answers[i] for i in chosen]


@dataclass(slots=True)
class Measured:
    """Sums over answers; ``traces[i]`` belongs to answer i."""

    loss: float
    top1: list[float]
    top5: list[float]
    traces: list[list[RankPath]]
    cosine: dict[tuple[int, int], float] = field(default_factory=dict)  # (step, layer) -> mean


@torch.no_grad()
def measure(
    streams: Streams, answers: Sequence[Answer], size: int = 16, similarity: bool = False
) -> Measured:
    """Every position of every answer, teacher-forced.

    ``loss``: mean KL over positions and steps, nats. ``top1`` / ``top5``: share of positions at
    which the answer's token is the first / among the first five of step k. ``cosine``: mean cosine
    similarity between pseudo k of a position, leaving a layer, and the real state k later.
    """
    steps = streams.projections.layout.steps
    traces: list[list[RankPath]] = [[] for _ in answers]
    loss, counted = 0.0, 0
    hits1, hits5, seen = torch.zeros(steps), torch.zeros(steps), torch.zeros(steps)
    cosine: dict[tuple[int, int], list[float]] = {}
    for indices, chosen in batches(answers, size):
        batch = batch_sequences(chosen, steps, None, _NONE).to(streams.target.device)
        real = streams.real(batch.ids)
        logits, left = streams.pseudo(batch, real)
        loss += float(divergences(logits, real.logits, batch)[batch.valid].sum())
        counted += int(batch.valid.sum())
        found = _ranks(logits, batch)
        hits1 += ((found == 0) & batch.valid).sum((0, 2)).cpu()
        hits5 += ((found < 5) & batch.valid).sum((0, 2)).cpu()
        seen += batch.valid.sum((0, 2)).cpu()
        found[~batch.valid] = -1
        for row, index, answer in zip(found.cpu(), indices, chosen, strict=True):
            traces[index] = as_trace(row[:, : len(answer.answer)].T)
        if similarity:
            _add_similarities(cosine, left, real, batch)
    means = {at: sum(values[0::2]) / max(1.0, sum(values[1::2])) for at, values in cosine.items()}
    return Measured(
        loss / max(1, counted), (hits1 / seen).tolist(), (hits5 / seen).tolist(), traces, means
    )


def _ranks(logits: Tensor, batch: Sequences) -> Tensor:
    """[B, K, R] rank of the token that really came: the one after the row aimed at."""
    following = (batch.aims + 1).clamp_max(batch.ids.shape[1] - 1)
    tokens = batch.ids.gather(1, following.flatten(1)).unflatten(1, batch.valid.shape[1:])
    return ranks(logits, tokens)


def _add_similarities(
    cosine: dict[tuple[int, int], list[float]],
    left: dict[int, Tensor],
    real: RealStream,
    batch: Sequences,
) -> None:
    rows = batch.selected.shape[1]
    for layer, states in left.items():
        for step in range(1, states.shape[1] // rows + 1):
            pseudo = states[:, (step - 1) * rows : step * rows]
            wanted = gather_rows(real.states[layer + 1], batch.aims[:, step - 1])
            valid = batch.valid[:, step - 1]
            value = cosine_similarity(pseudo.float(), wanted.float(), dim=-1)[valid].sum()
            cosine.setdefault((step, layer), []).extend([float(value), float(valid.sum())])
