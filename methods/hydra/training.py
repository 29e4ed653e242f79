"""Training Hydra's heads on the target's own greedy answers, the target frozen.

A head is given the embeddings of the answer's own tokens for its path (teacher forcing), as its
authors do.
"""

import torch
from torch import Tensor

from harness.engine.target import Target
from harness.method import Job
from methods.hydra.heads import Heads, save
from methods.hydra.settings import HydraSettings
from methods.shared import training
from methods.shared.accuracy import Predict, head_losses
from methods.shared.real import RealStreams, room
from methods.shared.sequences import Sequences, gather_rows
from methods.shared.tries import trained


def path_inputs(target: Target, batch: Sequences, final: Tensor) -> Tensor:
    """[B, R, (1 + K) * H]: at each position its normed final state, then the embeddings of the K
    tokens behind it; head k reads the first 1 + k of them.
    """
    steps, last = batch.valid.shape[1], batch.ids.shape[1] - 1
    states = target.normed(gather_rows(final, batch.selected))
    parts = [states]
    with torch.no_grad():
        for step in range(1, steps + 1):
            at = (batch.selected + step).clamp_max(last)
            parts.append(target.embed_batch(batch.ids.gather(1, at)))
    return torch.cat(parts, dim=-1)


def predictor(target: Target, heads: Heads, loss: str, keep: int = 0) -> Predict:
    """Head logits and losses of a batch; ``keep``: bytes of real streams that stay in memory."""
    real, depth, size = RealStreams(target, keep=keep), len(target.layers), target.hidden_size

    def predict(batch: Sequences) -> tuple[Tensor, Tensor]:
        final = real(batch).states[depth]
        given = path_inputs(target, batch, final)
        steps = range(1, heads.count + 1)
        made = [heads(step, given[..., : (1 + step) * size]) for step in steps]
        logits = torch.stack(made, dim=1)
        return logits, head_losses(loss, target, batch, (logits, final))

    return predict


def train(job: Job) -> None:
    """Train heads, resuming from a checkpoint of the same job; writes weights and curves."""
    heads, provenance = trained(job, _learner)
    save(heads, job.folder, provenance)
    training.finish(job)


def _learner(job: Job) -> training.Learner[Heads]:
    settings: HydraSettings = job.settings
    projection = job.target.model.lm_head.weight.detach().float()
    shared = settings.head == "shared"
    heads = Heads(settings.heads, settings.layers, projection, shared=shared)
    heads = heads.to(job.target.device)
    predict = predictor(job.target, heads, settings.loss, room(job.target.device))
    return training.Learner("hydra", heads, predict, settings.heads)
