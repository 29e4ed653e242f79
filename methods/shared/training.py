"""The training loop of all maps, heads and layers: on the frozen target's own greedy answers.

If the job has ``seconds``, the training lasts that long and the learning rate follows the clock;
else it lasts ``training_steps``, and may stop early once the rate is low and the tune loss no
longer falls. Draft models have a loop of their own (``harness.pretrain``).
The parameters with the lowest tune loss are kept. A killed training is resumed from its checkpoint.
"""

import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

import torch
from torch import Tensor, nn

from harness.checkpoint import load_checkpoint, save_checkpoint
from harness.errors import HarnessError
from harness.files import sha256_json, write_csv
from harness.measure.machine import source_hash
from harness.method import Answer, Job
from methods.shared.accuracy import Measured, Predict, measure
from methods.shared.schedule import LOW_RATE, Clock, Progress, TrainingSettings, schedule
from methods.shared.sequences import batch_sequences

CHECKPOINT = "checkpoint.pt"
TRY = ".try-"  # start of the names of the folders of tries (methods.shared.tries)
CURVES = "curves.csv"
# Gradients that pass through layers of a float16 target are a thousandth of the loss or less, near
# float16's smallest numbers. What is trained is float32, and gets unscaled gradients.
LOSS_SCALE = 1024.0


M = TypeVar("M", bound=nn.Module)


class Provenance(TypedDict):
    """What stands beside trained weights: what they were trained on and for how long, the lowest
    tune loss in nats, and there, by step, how often the answer's token was the likeliest one or
    among the likeliest five.
    """

    target_hash: str
    data_hash: str
    seed: int
    training_steps: int
    training_seconds: float
    trainable_parameters: int
    tune_loss: float
    top1: list[float]
    top5: list[float]


@dataclass(frozen=True, slots=True)
class Learner(Generic[M]):
    """``module`` is trained, through ``predict``, to predict ``steps`` tokens. ``judged``: by how
    many steps tries are compared; 0 where these are ``steps``.
    """

    name: str
    module: M
    predict: Predict
    steps: int
    judged: int = 0


class Updates:
    """An optimiser, and the loss scale that float16 targets need: where a gradient overflows, the
    update is skipped and the scale lowered.
    """

    def __init__(self, job: Job, learner: Learner[Any], rate: float) -> None:
        self._parameters = list(learner.module.parameters())
        self._dtype = str(job.target.dtype).removeprefix("torch.")
        self.optimizer = torch.optim.AdamW(
            self._parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.0
        )
        self._scaler = torch.amp.GradScaler(
            job.target.device.type,
            init_scale=LOSS_SCALE,
            enabled=job.target.dtype == torch.float16,
        )

    def apply(self, loss: Tensor) -> None:
        """One update, its gradient clipped to norm 1."""
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._scaler.get_scale() < 1:
            raise HarnessError(
                f"training through a {self._dtype} target: gradients overflow at any loss scale; "
                "expected some that do not, as in bfloat16"
            )

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"optimizer": self.optimizer.state_dict(), "scale": self._scaler.state_dict()}

    def resume(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scale"])


def train(job: Job, learner: Learner[Any], before: float = 0.0) -> Provenance:
    """Train, resuming from a checkpoint of the same job; ``learner.module`` ends at its best.

    ``job.settings`` is a :class:`TrainingSettings`; ``before``: seconds that choosing them took.
    Writes the curves; returns the provenance that belongs beside the weights. The checkpoint stays
    until :func:`finish`.
    """
    if not job.train or not job.tune:
        raise HarnessError(
            f"{learner.name} training: no answers of the target on the train or tune split"
        )
    job.folder.mkdir(parents=True, exist_ok=True)
    for parameter in job.target.model.parameters():
        parameter.requires_grad_(False)
    updates = Updates(job, learner, job.settings.learning_rate)
    key = job_key(job)  # before training: it hashes the sources, which may be edited meanwhile
    progress = _resume(job, learner, updates, key)
    with tensor_cores(job.target.device):
        _run(job, learner, updates, progress, key)
    learner.module.load_state_dict(progress.best_state)
    rows = [list(row.values()) for row in progress.curves]
    write_csv(job.folder / CURVES, list(progress.curves[0]), rows)
    return _provenance(job, learner, progress, before)


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """On CUDA multiply float32 matrices in TF32: what is trained is float32 beside a target that
    may be float16, so that without it methods with large heads would learn in slower arithmetic.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def finish(job: Job) -> None:
    """Remove the checkpoints, once the trained weights are on disk."""
    (job.folder / CHECKPOINT).unlink(missing_ok=True)
    for folder in job.folder.glob(f"{TRY}*"):
        shutil.rmtree(folder)


def _run(job: Job, learner: Learner[Any], updates: Updates, progress: Progress, key: str) -> None:
    """Optimise until the seconds or the steps are over; at least one step."""
    settings: TrainingSettings = job.settings
    clock = Clock(job.seconds, settings, progress)
    if not progress.curves:
        _evaluate(job, learner, progress, math.nan, clock)
    ended = progress.step > 0 and clock.ended()
    with clock.bar(learner.name) as bar:
        while not ended:
            rate = schedule(clock.done())
            for group in updates.optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate
            loss = _step(job, learner, updates, progress.step)
            progress.step += 1
            clock.show(bar)
            ended = clock.ended()
            # The first evaluation is slow: it computes real streams that later ones find in memory.
            # One at half-time shows how long these take. Without it the clock would set too much
            # time aside for the last one, and the learning rate would reach its end too early.
            first = job.seconds is not None and len(progress.curves) == 1
            half = first and clock.done() >= 0.5
            if progress.step % settings.evaluate_every == 0 or ended or half:
                row = _evaluate(job, learner, progress, loss, clock)
                progress.worse = 0 if rate > LOW_RATE else progress.worse
                ended = clock.ended()
                bar.set_postfix(loss=f"{loss:.3f}", tune=f"{row['tune_loss']:.3f}")
                _save_checkpoint(job.folder / CHECKPOINT, key, learner.module, updates, progress)


def _step(job: Job, learner: Learner[Any], updates: Updates, step: int) -> float:
    """One update; returns the batch's loss in nats per predicted position."""
    loss = _loss(job, learner, step)
    updates.apply(loss)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise HarnessError(
            f"{learner.name} training: loss is {value} at step {step}, expected a number"
        )
    return value


def _loss(job: Job, learner: Learner[Any], step: int) -> Tensor:
    """Loss of the batch that belongs to a step."""
    settings: TrainingSettings = job.settings
    generator = torch.Generator().manual_seed(job.seed * 1_000_003 + step)
    chosen = draw(job.train, settings.batch, job.seed, step)
    batch = batch_sequences(chosen, learner.steps, settings.positions, generator)
    batch = batch.to(job.target.device)
    _, losses = learner.predict(batch)
    weights = settings.step_decay ** torch.arange(learner.steps, device=batch.ids.device)
    weighted = losses * weights[:, None] * batch.valid
    # a batch of one-token answers has nothing to predict; its loss is 0
    return weighted.sum() / (weights[:, None] * batch.valid).sum().clamp_min(1e-6)


def draw(answers: Sequence[Answer], size: int, seed: int, step: int) -> list[Answer]:
    """The step's batch: answers of similar length, without and with prompts, for little padding.

    Each epoch is a new shuffle, fixed by the seed.
    """
    per_epoch = max(1, len(answers) // size)
    epoch, at = divmod(step, per_epoch)
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(answers)))
    rng.shuffle(order)
    # Sorted within windows only, for a fresh mix in every epoch. Twice, since positions are padded
    # to the longest answer of a batch, and tokens to its longest prompt and answer.
    order = _sorted_within(order, 16 * size, lambda i: len(answers[i].answer))
    pooled = _sorted_within(
        order, 4 * size, lambda i: len(answers[i].prompt) + len(answers[i].answer)
    )
    groups = [pooled[start : start + size] for start in range(0, per_epoch * size, size)]
    rng.shuffle(groups)
    return [answers[i] for i in groups[at]]


def _sorted_within(order: list[int], window: int, key: Callable[[int], int]) -> list[int]:
    """The list with each ``window`` of it sorted for itself."""
    windows = (order[start : start + window] for start in range(0, len(order), window))
    return [index for part in windows for index in sorted(part, key=key)]


def _evaluate(
    job: Job, learner: Learner[Any], progress: Progress, loss: float, clock: Clock
) -> dict[str, float]:
    """Measure on the tune split, add a row to the curves, keep the best parameters."""
    began = clock.elapsed()
    size = job.settings.evaluation_batch
    result = measure(learner.predict, job.tune, learner.steps, job.target.device, size)
    progress.seconds = clock.elapsed()
    progress.evaluation_seconds = progress.seconds - began
    if not math.isfinite(result.loss):
        raise HarnessError(
            f"{learner.name} training: tune loss is {result.loss} at step {progress.step}, "
            "expected a number"
        )
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
        state = learner.module.state_dict()
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


def job_key(job: Job) -> str:
    """Hash of all that must be equal for what was trained before, whole or not, to be taken."""
    return sha256_json(
        {
            "settings": asdict(job.settings),
            "seed": job.seed,
            "seconds": job.seconds,
            "target": job.target.weights_hash,
            "dtype": str(job.target.dtype),
            "sources": source_hash(),
            "data": job.data_hash,
        }
    )


def _save_checkpoint(
    file: Path, key: str, module: nn.Module, updates: Updates, progress: Progress
) -> None:
    state = {
        "progress": asdict(progress),
        "module": module.state_dict(),
        **updates.state(),
    }
    save_checkpoint(file, key, state)


def _resume(job: Job, learner: Learner[Any], updates: Updates, key: str) -> Progress:
    """Progress of an interrupted run of the same job, else a fresh one."""
    what = f"{learner.name} training"
    state = load_checkpoint(job.folder / CHECKPOINT, key, what)
    if state is None:
        return Progress()
    learner.module.load_state_dict(state["module"])
    updates.resume(state)
    return Progress(**state["progress"])


def _provenance(job: Job, learner: Learner[Any], progress: Progress, before: float) -> Provenance:
    best = min(progress.curves, key=lambda row: row["tune_loss"])
    return {
        "target_hash": job.target.weights_hash,
        "data_hash": job.data_hash,
        "seed": job.seed,
        "training_steps": progress.step,
        "training_seconds": round(before + progress.seconds, 1),
        "trainable_parameters": sum(p.numel() for p in learner.module.parameters()),
        "tune_loss": best["tune_loss"],
        "top1": [best[f"top1_step{k}"] for k in range(1, learner.steps + 1)],
        "top5": [best[f"top5_step{k}"] for k in range(1, learner.steps + 1)],
    }
