"""Training EAGLE's net on the target's features over its own greedy answers, the target frozen.

Only one step is trained, from true features: the net is never trained on features of its own
(arXiv 2401.15077, section 4.2).
"""

import hashlib

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from harness.engine.target import Target
from harness.hub import folder_of, pinned
from harness.method import Job
from methods.eagle.net import Net, load_published, save
from methods.eagle.settings import DEPTH, EagleSettings
from methods.shared.accuracy import head_losses
from methods.shared.own_layer import Chains
from methods.shared.real import RealStreams, Sequences, gather_rows, room
from methods.shared.tries import Learner, finish, trained


class Predictor:
    """Logits and losses of all steps of a batch; later steps read the features that the net itself
    predicted, and the answer's tokens. ``room``: bytes of real streams that stay in memory.
    """

    def __init__(self, target: Target, net: Net, settings: EagleSettings, room: int = 0) -> None:
        self._target, self._net, self._settings = target, net, settings
        self._real = RealStreams(target, room=room)

    def __call__(self, batch: Sequences) -> tuple[Tensor, Tensor]:
        """Logits [B, K, R, V] and losses [B, K, R]."""
        target, settings = self._target, self._settings
        final = self._real(batch).states[len(target.layers)]
        features = target.normed(final)
        predicted = torch.stack(self._features(batch, features), dim=1)
        logits = target.head(predicted.to(target.dtype))
        aims = batch.aims
        truth = gather_rows(features.float(), aims.flatten(1)).unflatten(1, aims.shape[1:])
        distance = smooth_l1_loss(predicted, truth, reduction="none").mean(-1)
        divergence = head_losses("kl", target, batch, (logits, final))
        return logits, settings.feature_weight * distance + settings.token_weight * divergence

    def _features(self, batch: Sequences, features: Tensor) -> list[Tensor]:
        """The features [B, R, H] that each step predicts, float32."""
        embedded = self._target.embed_batch(batch.ids).float()
        noisy = self._noisy(features[:, :-1].float(), batch)
        chains = Chains(self._target, self._net.layers[0], batch)
        pairs = torch.cat([embedded[:, 1:], noisy], dim=-1)
        predicted = [gather_rows(chains.known(self._net.fc(pairs)), batch.selected)]
        for step in range(2, batch.valid.shape[1] + 1):
            pairs = torch.cat([chains.following(embedded, step), predicted[-1]], dim=-1)
            predicted.append(chains.step(self._net.fc(pairs)))
        return predicted

    def _noisy(self, features: Tensor, batch: Sequences) -> Tensor:
        """Features, with noise where gradients are enabled. The answers seed the noise, so that a
        resumed training draws the same.
        """
        if not torch.is_grad_enabled() or not self._settings.noise:
            return features
        device = features.device
        lengths = [len(answer.prompt) + len(answer.answer) for answer in batch.answers]
        identity = f"{lengths} {[answer.answer[:8] for answer in batch.answers]}".encode()
        seed = int.from_bytes(hashlib.blake2b(identity, digest_size=4).digest())
        generator = torch.Generator(device).manual_seed(seed)
        drawn = torch.rand(features.shape, generator=generator, device=device) - 0.5
        widths = [self._settings.noise * 512 / length for length in lengths]
        return features + drawn * torch.tensor(widths, device=device)[:, None, None]


def train(job: Job) -> None:
    """Train the net, resuming from a checkpoint of the same job, or check and copy a published one;
    writes weights and curves.
    """
    settings: EagleSettings = job.settings
    if settings.pretrained:
        source = pinned(settings.pretrained)
        net = load_published(job.target, folder_of(source))
        facts = {"pretrained": source, "target_hash": job.target.weights_hash}
        save(net, job.folder, facts)
        return
    net, provenance = trained(job, learner)
    save(net, job.folder, provenance)
    finish(job)


def learner(job: Job) -> Learner[Net]:
    """A net before any training, with how it is trained."""
    settings: EagleSettings = job.settings
    torch.manual_seed(job.seed)
    net = Net(job.target).to(job.target.device)
    if settings.start == "target":
        net.start_from(job.target)
    predict = Predictor(job.target, net, settings, room(job.target.device))
    return Learner("eagle", net, predict, 1, judged=DEPTH)
