"""Training the heads on the target's own greedy answers, everything else frozen (Medusa-1)."""

from torch import Tensor

from harness.engine.target import Target
from harness.hub import folder_of, pinned
from harness.method import Job
from methods.medusa.heads import Heads, load, save
from methods.medusa.settings import MedusaSettings
from methods.shared.accuracy import Predict, head_losses
from methods.shared.real import RealStreams, Sequences, gather_rows, room
from methods.shared.tries import Learner, finish, trained


def predictor(target: Target, heads: Heads, loss: str, room: int = 0) -> Predict:
    """A function that gives the head logits and losses of a batch; ``room``: bytes of real streams
    held in memory.
    """
    real, depth = RealStreams(target, room=room), len(target.layers)

    def predict(batch: Sequences) -> tuple[Tensor, Tensor]:
        final = real(batch).states[depth]
        logits = heads(target.normed(gather_rows(final, batch.selected)))
        return logits, head_losses(loss, target, batch, (logits, final))

    return predict


def train(job: Job) -> None:
    """Train heads, or check and copy published ones; writes them in upstream's format."""
    settings: MedusaSettings = job.settings
    projection: Tensor = job.target.model.lm_head.weight.detach()
    name = str(getattr(job.target.config, "_name_or_path", ""))
    if settings.pretrained:
        source = pinned(settings.pretrained)
        heads = load(folder_of(source), projection, count=settings.heads)
        facts = {"pretrained": source, "target_hash": job.target.weights_hash}
        save(heads, job.folder, name, facts)
        return
    heads, provenance = trained(job, learner)
    save(heads, job.folder, name, provenance)
    finish(job)


def learner(job: Job) -> Learner[Heads]:
    """Heads before any training, with how they are trained."""
    settings: MedusaSettings = job.settings
    projection = job.target.model.lm_head.weight.detach().float()
    shared = settings.head == "shared"
    heads = Heads(settings.heads, settings.layers, projection, shared=shared)
    heads = heads.to(job.target.device)
    predict = predictor(job.target, heads, settings.loss, room(job.target.device))
    return Learner("medusa", heads, predict, settings.heads)
