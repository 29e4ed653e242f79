"""Training Hydra's heads on the target's own greedy answers, the target frozen.

As in the authors' training, the path that a head reads holds the answer's own tokens (teacher
forcing).
"""

import torch
from torch import Tensor

from harness.engine.target import Target
from harness.method import Job
from methods.hydra.heads import Heads, Prefix, save
from methods.hydra.settings import HydraSettings
from methods.shared.accuracy import Predict, head_losses
from methods.shared.own_layer import Chains
from methods.shared.real import RealStreams, Sequences, gather_rows, room
from methods.shared.tries import Learner, finish, trained


def path_inputs(target: Target, heads: Heads, batch: Sequences, final: Tensor) -> Tensor:
    """[B, R, (1 + K) * H]: at each position its normed final state, or the prefix layer's output
    for it, then the embeddings of the K tokens after it; head k reads the first 1 + k of these.
    """
    steps, last = batch.valid.shape[1], batch.ids.shape[1] - 1
    if heads.prefix is None:
        parts = [target.normed(gather_rows(final, batch.selected))]
    else:
        layer = Chains(target, heads.prefix.layer, batch)
        outputs = layer.known(target.normed(final).float())
        parts = [heads.prefix.norm(gather_rows(outputs, batch.selected))]
    with torch.no_grad():
        for step in range(1, steps + 1):
            at = (batch.selected + step).clamp_max(last)
            parts.append(target.embed_batch(batch.ids.gather(1, at)))
    return torch.cat(parts, dim=-1)


def predictor(target: Target, heads: Heads, loss: str, room: int = 0) -> Predict:
    """Head logits and losses of a batch; ``room``: bytes of real streams that stay in memory."""
    real, depth, size = RealStreams(target, room=room), len(target.layers), target.hidden_size

    def predict(batch: Sequences) -> tuple[Tensor, Tensor]:
        final = real(batch).states[depth]
        inputs = path_inputs(target, heads, batch, final)
        steps = range(1, heads.count + 1)
        head_logits = [heads(step, inputs[..., : (1 + step) * size]) for step in steps]
        logits = torch.stack(head_logits, dim=1)
        return logits, head_losses(loss, target, batch, (logits, final))

    return predict


def train(job: Job) -> None:
    """Train heads, resuming from a checkpoint of the same job; writes weights and curves."""
    heads, provenance = trained(job, learner)
    save(heads, job.folder, provenance)
    finish(job)


def learner(job: Job) -> Learner[Heads]:
    """Heads before any training, with how they are trained."""
    settings: HydraSettings = job.settings
    projection = job.target.model.lm_head.weight.detach().float()
    shared = settings.head == "shared"
    torch.manual_seed(job.seed)  # the prefix layer starts at random
    prefix = Prefix(job.target) if settings.prefix else None
    heads = Heads(settings.heads, settings.layers, projection, shared=shared, prefix=prefix)
    heads = heads.to(job.target.device)
    predict = predictor(job.target, heads, settings.loss, room(job.target.device))
    return Learner("hydra", heads, predict, settings.heads)
