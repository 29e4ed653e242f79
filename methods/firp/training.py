"""Training W_1 .. W_K: KL to the target's own distributions, two streams, everything else frozen.

Data: the target's greedy answers to the train split, since greedy decoding is what is verified.
Source of the loss: arXiv 2410.20488 (KL between pseudo and real future distributions); optimiser,
rate and length are ours, the paper's were not found.
"""

import csv
import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from harness.errors import HarnessError
from harness.files import replacing, sha256_json
from harness.method import Answer, Job
from methods.firp.measure import Measured, divergences, measure
from methods.firp.projections import Projections, save
from methods.firp.settings import FirpSettings
from methods.firp.streams import Streams, batch_sequences

CHECKPOINT = "checkpoint.pt"
CURVES = "curves.csv"
COSINE = "cosine.csv"


@dataclass(slots=True)
class Progress:
    """Everything that a resumed run needs besides the optimiser."""

    key: str
    step: int = 0
    seconds: float = 0.0
    curves: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = math.inf
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)
    worse: int = 0


def train(job: Job) -> None:
    """Train, resuming from a checkpoint of the same job; write weights, curves and similarities."""
    settings: FirpSettings = job.settings
    if not job.train or not job.tune:
        raise HarnessError("firp training: no answers of the target on the train or tune split")
    job.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(job.seed)
    maps = Projections(settings.layout, job.target.hidden_size).to(job.target.device)
    streams = Streams(job.target, maps)
    for parameter in job.target.model.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        maps.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    progress = _resume(job, maps, optimizer)
    _run(job, streams, optimizer, progress)
    maps.load_state_dict(progress.best_state)
    _write(job, streams, progress)
    (job.folder / CHECKPOINT).unlink(missing_ok=True)


def _run(job: Job, streams: Streams, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Optimise until the last step, or until the tune loss has stopped falling."""
    settings: FirpSettings = job.settings
    total = settings.training_steps
    started = time.monotonic() - progress.seconds
    if not progress.curves:
        _evaluate(job, streams, progress, math.nan)
    with tqdm(total=total, initial=progress.step, desc="firp", unit="step") as bar:
        while progress.step < total and progress.worse < settings.patience:
            loss = _step(job, streams, optimizer, progress.step)
            progress.step += 1
            bar.update()
            if progress.step % settings.evaluate_every == 0 or progress.step == total:
                progress.seconds = time.monotonic() - started
                row = _evaluate(job, streams, progress, loss)
                bar.set_postfix(loss=f"{loss:.3f}", tune=f"{row['tune_loss']:.3f}")
                _save_checkpoint(job, streams.projections, optimizer, progress)


def _step(job: Job, streams: Streams, optimizer: torch.optim.Optimizer, step: int) -> float:
    """One batch; returns its loss in nats per pseudo position."""
    settings: FirpSettings = job.settings
    generator = torch.Generator().manual_seed(job.seed * 1_000_003 + step)
    chosen = _draw(job.train, settings.batch, job.seed, step)
    steps = settings.layout.steps
    batch = batch_sequences(chosen, steps, settings.positions, generator).to(job.target.device)
    real = streams.real(batch.ids)
    logits, _ = streams.pseudo(batch, real)
    weights = settings.step_decay ** torch.arange(steps, device=batch.ids.device)
    weighted = divergences(logits, real.logits, batch) * weights[:, None] * batch.valid
    loss = weighted.sum() / (weights[:, None] * batch.valid).sum()
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * schedule(step, settings.training_steps)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(streams.projections.parameters(), 1.0)
    optimizer.step()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise HarnessError(f"firp training: loss is {value} at step {step}, expected a number")
    return value


def schedule(step: int, total: int) -> float:
    """Learning-rate factor: warm-up over 4 %, then a cosine to 2 %."""
    warmup = max(1, total * 4 // 100)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def _draw(answers: Sequence[Answer], size: int, seed: int, step: int) -> list[Answer]:
    """A batch of answers of similar length; each epoch is a new shuffle, fixed by the seed."""
    per_epoch = max(1, len(answers) // size)
    epoch, at = divmod(step, per_epoch)
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(answers)))
    rng.shuffle(order)
    # Sort within windows of 16 batches: little padding, and still a fresh mix every epoch.
    window = 16 * size
    pooled = [
        index
        for start in range(0, len(order), window)
        for index in sorted(
            order[start : start + window],
            key=lambda i: len(answers[i].prompt) + len(answers[i].answer),
        )
    ]
    groups = [pooled[start : start + size] for start in range(0, per_epoch * size, size)]
    rng.shuffle(groups)
    return [answers[i] for i in groups[at]]


def _evaluate(job: Job, streams: Streams, progress: Progress, loss: float) -> dict[str, float]:
    """Measure on the tune split, add a row to the curves, keep the best maps."""
    result = measure(streams, job.tune)
    row = {
        "step": float(progress.step),
        "seconds": round(progress.seconds, 1),
        "train_loss": round(loss, 5),
        "tune_loss": round(result.loss, 5),
        **_accuracies(result),
    }
    progress.curves.append(row)
    if result.loss < progress.best_loss:
        progress.best_loss, progress.worse = result.loss, 0
        state = streams.projections.state_dict()
        progress.best_state = {name: value.clone() for name, value in state.items()}
    else:
        progress.worse += 1
    return row


def _accuracies(result: Measured) -> dict[str, float]:
    pairs = zip(result.top1, result.top5, strict=True)
    row = {}
    for step, (first, five) in enumerate(pairs, start=1):
        row[f"top1_step{step}"], row[f"top5_step{step}"] = round(first, 5), round(five, 5)
    return row


def _job_key(job: Job) -> str:
    """What a checkpoint must agree on to be resumed."""
    return sha256_json(
        {
            "settings": asdict(job.settings),
            "seed": job.seed,
            "target": job.target.weights_hash,
            "data": job.data_hash,
        }
    )


def _save_checkpoint(
    job: Job, maps: Projections, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    state = {
        "progress": asdict(progress),
        "maps": maps.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with replacing(job.folder / CHECKPOINT) as temporary:
        torch.save(state, temporary)


def _resume(job: Job, maps: Projections, optimizer: torch.optim.Optimizer) -> Progress:
    """Progress of an interrupted run of this very job, else a fresh one."""
    path = job.folder / CHECKPOINT
    if path.is_file():
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["progress"]["key"] == _job_key(job):
            maps.load_state_dict(state["maps"])
            optimizer.load_state_dict(state["optimizer"])
            return Progress(**state["progress"])
        print(f"firp training: {path} belongs to another configuration, starting anew")
    return Progress(_job_key(job))


def _write(job: Job, streams: Streams, progress: Progress) -> None:
    """Curves, cosine similarities, and the weights with what they were made from."""
    with replacing(job.folder / CURVES) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(progress.curves[0]))
        writer.writeheader()
        writer.writerows(progress.curves)
    result = measure(streams, job.tune, similarity=True)
    with replacing(job.folder / COSINE) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["step", "layer", "cosine"])
        rows.writerows([step, layer, round(v, 5)] for (step, layer), v in result.cosine.items())
    provenance = {
        "target_hash": job.target.weights_hash,
        "data_hash": job.data_hash,
        "seed": job.seed,
        "training_steps": progress.step,
        "training_seconds": round(progress.seconds, 1),
        "trainable_parameters": sum(p.numel() for p in streams.projections.parameters()),
        "tune_loss": round(result.loss, 5),
        "top1": [round(value, 5) for value in result.top1],
        "top5": [round(value, 5) for value in result.top5],
    }
    save(streams.projections, job.folder, provenance)
