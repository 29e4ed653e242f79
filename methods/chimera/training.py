"""Training Chimera's net on the target's own greedy answers, the target frozen.

The steps from a position are run one after the other, along the answer's own tokens.
"""

import torch
from torch import Tensor

from harness.engine.target import Target
from harness.method import Job
from methods.chimera.net import Net, save
from methods.chimera.settings import ChimeraSettings
from methods.shared.accuracy import Predict, head_losses
from methods.shared.own_layer import Chains
from methods.shared.real import RealStreams, Sequences, gather_rows, room
from methods.shared.tries import Learner, finish, trained


def predictor(target: Target, net: Net, settings: ChimeraSettings, room: int = 0) -> Predict:
    """Logits and losses of a batch; ``room``: bytes of real streams that stay in memory."""
    real, depth = RealStreams(target, room=room), len(target.layers)

    def predict(batch: Sequences) -> tuple[Tensor, Tensor]:
        final = real(batch).states[depth]
        logits = steps(target, net, batch, target.normed(final).float())
        return logits, head_losses(settings.loss, target, batch, (logits, final))

    return predict


def steps(target: Target, net: Net, batch: Sequences, states: Tensor) -> Tensor:
    """[B, K, R, V] logits, from normed final states [B, S, H]."""
    chains = Chains(target, net.layer, batch)
    chains.known(states)
    final = gather_rows(states, batch.selected)
    logits: list[Tensor] = []
    for step in range(1, net.count + 1):
        tokens = [_token(batch, ahead) for ahead in range(step - 2, step + 1)]
        with torch.no_grad():
            embedded = torch.cat([target.embed_batch(ids) for ids in tokens], dim=-1)
        outputs = chains.step(net.trigrams(embedded))
        logits.append(net.logits(target, step, final, outputs))
    return torch.stack(logits, dim=1)


def _token(batch: Sequences, ahead: int) -> Tensor:
    """[B, R] the tokens ``ahead`` places after the selected positions, within the batch."""
    return batch.ids.gather(1, (batch.selected + ahead).clamp(0, batch.ids.shape[1] - 1))


def train(job: Job) -> None:
    """Train the net, resuming from a checkpoint of the same job; writes weights and curves."""
    net, provenance = trained(job, learner)
    save(net, job.folder, provenance)
    finish(job)


def learner(job: Job) -> Learner[Net]:
    """A net before any training, with how it is trained."""
    settings: ChimeraSettings = job.settings
    torch.manual_seed(job.seed)
    net = Net(job.target, settings.heads, shared=settings.head == "shared").to(job.target.device)
    predict = predictor(job.target, net, settings, room(job.target.device))
    return Learner("chimera", net, predict, settings.heads)
