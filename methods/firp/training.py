"""Training W_1 .. W_K: KL to the target's own distributions, two streams, everything else frozen.

Data: the target's greedy answers to the train split, since greedy decoding is what is verified.
Source of the loss: summaries of arXiv 2410.20488 (KL between pseudo and real future distributions);
optimiser, rate and length are ours, the paper's were not found.
"""

import csv

from harness.files import replacing
from harness.method import Job
from methods.firp.projections import Projections, save
from methods.firp.settings import FirpSettings
from methods.firp.similarity import similarities
from methods.firp.streams import Streams
from methods.shared import training
from methods.shared.real import room

COSINE = "cosine.csv"


def train(job: Job) -> None:
    """Train, resuming from a checkpoint of the same job; write weights, curves and similarities."""
    settings: FirpSettings = job.settings
    maps = Projections(settings.layout, job.target.hidden_size).to(job.target.device)
    streams = Streams(job.target, maps, room(job.target.device))
    learner = training.Learner("firp", maps, streams.predict, settings.layout.steps)
    provenance = training.train(job, learner)
    with replacing(job.folder / COSINE) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["step", "layer", "cosine"])
        for (step, layer), value in similarities(
            streams, job.tune, settings.evaluation_batch
        ).items():
            rows.writerow([step, layer, round(value, 5)])
    save(maps, job.folder, provenance)
    training.finish(job)
