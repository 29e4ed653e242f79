"""What a predictor of future tokens gets right on the target's own answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.engine.target import Target
from harness.method import Answer
from methods.shared.sequences import Sequences, batch_sequences, batches
from methods.shared.trees import RankPath, as_trace, places, ranks

_NONE = torch.Generator()

# A batch -> (logits [B, K, R, V] of every step at every selected position, losses [B, K, R]).
Predict = Callable[[Sequences], tuple[Tensor, Tensor]]


@dataclass(slots=True)
class Measured:
    """``loss``: mean over positions and steps, nats. ``top1`` / ``top5``: share of positions at
    which the answer's token is the first / among the first five of step k. ``traces[i]`` belongs
    to answer i; so does ``places[i]``, which says at which place a best-first tree comes to the
    nodes of a position's path.
    """

    loss: float
    top1: list[float]
    top5: list[float]
    traces: list[list[RankPath]]
    places: list[list[RankPath]]


@torch.no_grad()
def measure(
    predict: Predict,
    answers: Sequence[Answer],
    steps: int,
    device: torch.device,
    size: int = 16,
    drafts: int = 0,
) -> Measured:
    """Every position of every answer, teacher-forced; ``places`` as far as trees of ``drafts``."""
    traces: list[list[RankPath]] = [[] for _ in answers]
    orders: list[list[RankPath]] = [[] for _ in answers]
    loss, counted = 0.0, 0
    hits1, hits5, seen = torch.zeros(steps), torch.zeros(steps), torch.zeros(steps)
    for indices, chosen in batches(answers, size):
        batch = batch_sequences(chosen, steps, None, _NONE).to(device)
        logits, losses = predict(batch)
        loss += float(losses[batch.valid].sum())
        counted += int(batch.valid.sum())
        found = ranks(logits, batch.tokens)
        hits1 += ((found == 0) & batch.valid).sum((0, 2)).cpu()
        hits5 += ((found < 5) & batch.valid).sum((0, 2)).cpu()
        seen += batch.valid.sum((0, 2)).cpu()
        found[~batch.valid] = -1
        for row, index, answer in zip(found.cpu(), indices, chosen, strict=True):
            traces[index] = as_trace(row[:, : len(answer.answer)].T)
        if drafts:
            best = logits.float().log_softmax(-1).topk(min(drafts, logits.shape[-1])).values
            for scores, index in zip(best.transpose(1, 2).tolist(), indices, strict=True):
                orders[index] = [
                    places(one, path, drafts)
                    for one, path in zip(scores, traces[index], strict=False)
                ]
    shares = (hits1 / seen).tolist(), (hits5 / seen).tolist()
    return Measured(loss / max(1, counted), *shares, traces, orders)


def head_losses(loss: str, target: Target, batch: Sequences, made: tuple[Tensor, Tensor]) -> Tensor:
    """[B, K, R] losses of heads, nats: ``kl`` to the target's distributions, or ``cross_entropy``
    to the answers' tokens. ``made``: logits [B, K, R, V], and the target's final states [B, S, H].
    """
    logits, final = made
    if loss == "kl":
        with torch.no_grad():
            teacher = target.logits(batch.aimed_rows(final))
        return divergences(logits, teacher, batch.index)
    losses = cross_entropy(logits.flatten(0, 2), batch.tokens.flatten(), reduction="none")
    return losses.view(batch.valid.shape)


def divergences(logits: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
    """[B, K, R] KL(target || prediction) in nats, float32.

    ``logits`` [B, K, R, V]; ``teacher`` [U, V] the target's, of which ``index`` [B, K, R] names the
    row that each step aims at, as :class:`Sequences` does.
    """
    # Cross entropy minus entropy: the target's distributions are made once a position, not once a
    # step, and the difference of two arrays of [B, K, R, V] is never made.
    likely = teacher.float().log_softmax(-1)
    wanted = likely.exp()
    negative_entropy = (wanted * likely).sum(-1)
    negative_cross = torch.linalg.vecdot(wanted[index], logits.float().log_softmax(-1))
    return negative_entropy[index] - negative_cross
