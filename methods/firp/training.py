"""Training W_1 .. W_K by KL to the target's own distributions, with the target frozen.

Data: the target's greedy answers to the train split, since greedy decoding is what is verified.
Source of the loss: summaries of arXiv 2410.20488 (KL between pseudo and real future distributions).
Optimiser, learning rate and length are ours, since we did not find the paper's.
"""

from harness.method import Job
from methods.firp.projections import Projections, save
from methods.firp.settings import FirpSettings
from methods.firp.streams import Streams
from methods.shared.real import room
from methods.shared.tries import Learner, finish, trained


def train(job: Job) -> None:
    """Train, resuming from a checkpoint of the same job; write weights and curves."""
    maps, provenance = trained(job, _learner)
    save(maps, job.folder, provenance)
    finish(job)


def _learner(job: Job) -> Learner[Projections]:
    settings: FirpSettings = job.settings
    target = job.target
    maps = Projections(settings.layout, target.hidden_size, len(target.layers)).to(target.device)
    streams = Streams(target, maps, room(target.device))
    return Learner("firp", maps, streams.predict, settings.layout.steps)
