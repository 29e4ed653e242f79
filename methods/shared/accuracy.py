"""How good a predictor of future tokens is on the target's own answers: accuracies and losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.engine.target import Target
from harness.method import Answer
from methods.shared.sequences import Sequences, batch_sequences, batches
from methods.shared.trees import RankPath, as_trace, places, ranks

_NONE = torch.Generator()  # never drawn from: all positions are measured

# A batch -> (logits [B, K, R, V] of every step at every selected position, losses [B, K, R]).
Predict = Callable[[Sequences], tuple[Tensor, Tensor]]


@dataclass(slots=True)
class Measured:
    """``loss``: mean over positions and steps, nats. ``top1`` / ``top5``: for each step, the share
    of positions at which the answer's token is the likeliest / among the five likeliest.
    ``traces[i]``: the rank trace of answer i. ``places[i]``: at each of its positions, the places
    of the nodes on the answer's path in a best-first tree (``trees.places``).
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
    """Measure all positions of all answers, teacher-forced, ``size`` answers at a time; ``places``
    for best-first trees of up to ``drafts`` nodes, none if it is 0.
    """
    traces: list[list[RankPath]] = [[] for _ in answers]
    orders: list[list[RankPath]] = [[] for _ in answers]
    loss, counted = 0.0, 0
    hits1, hits5, positions = torch.zeros(steps), torch.zeros(steps), torch.zeros(steps)
    for indices, chosen in batches(answers, size):
        batch = batch_sequences(chosen, steps, None, _NONE).to(device)
        logits, losses = predict(batch)
        loss += float(losses[batch.valid].sum())
        counted += int(batch.valid.sum())
        token_ranks = ranks(logits, batch.tokens)
        hits1 += ((token_ranks == 0) & batch.valid).sum((0, 2)).cpu()
        hits5 += ((token_ranks < 5) & batch.valid).sum((0, 2)).cpu()
        positions += batch.valid.sum((0, 2)).cpu()
        token_ranks[~batch.valid] = -1
        for row, index, answer in zip(token_ranks.cpu(), indices, chosen, strict=True):
            traces[index] = as_trace(row[:, : len(answer.answer)].T)
        if drafts:
            best = logits.float().log_softmax(-1).topk(min(drafts, logits.shape[-1])).values
            for answer_scores, index in zip(best.transpose(1, 2).tolist(), indices, strict=True):
                orders[index] = [
                    places(scores, path, drafts)
                    for scores, path in zip(answer_scores, traces[index], strict=False)
                ]
    shares = (hits1 / positions).tolist(), (hits5 / positions).tolist()
    return Measured(loss / max(1, counted), *shares, traces, orders)


def head_losses(
    loss: str, target: Target, batch: Sequences, outputs: tuple[Tensor, Tensor]
) -> Tensor:
    """[B, K, R] losses of heads, nats. ``loss``: ``kl`` to the target's distributions, or
    ``cross_entropy`` to the answers' tokens. ``outputs``: the heads' logits [B, K, R, V], and the
    target's final states [B, S, H].
    """
    logits, final = outputs
    if loss == "kl":
        with torch.no_grad():
            teacher = target.logits(batch.aimed_rows(final))
        return divergences(logits, teacher, batch.index)
    losses = cross_entropy(logits.flatten(0, 2), batch.tokens.flatten(), reduction="none")
    return losses.view(batch.valid.shape)


def divergences(logits: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
    """[B, K, R] KL(target || prediction) in nats, float32.

    ``logits`` [B, K, R, V] of the prediction; ``teacher`` [U, V] logits of the target; ``index``
    [B, K, R] the row of ``teacher`` that each step should match, as in :class:`Sequences`.
    """
    # Cross entropy minus entropy: so the target's distributions are computed once per position
    # instead of once per step, and no difference of two [B, K, R, V] arrays is stored.
    log_probabilities = teacher.float().log_softmax(-1)
    probabilities = log_probabilities.exp()
    negative_entropy = (probabilities * log_probabilities).sum(-1)
    negative_cross = torch.linalg.vecdot(probabilities[index], logits.float().log_softmax(-1))
    return negative_entropy[index] - negative_cross
