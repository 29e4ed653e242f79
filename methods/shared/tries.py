"""Settings tried inside a training's own seconds: each for a part, the best for all that is left.

What suits a target of one size need not suit another, and whoever is given the better guess would
win by it. So every trained method may try as many, and pays for it from its own budget.
"""

import csv
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import checked, parsed, read_json, replacing, write_json
from harness.method import Job
from methods.shared import training
from methods.shared.accuracy import measure
from methods.shared.training import Learner, M, finish
from methods.shared.trees import grow, replay

__all__ = ["Learner", "finish", "settle", "trained"]

TRIES = "tries.csv"
SHARE = 0.05  # of the seconds, or of the steps, for each try
JUDGED = 9  # drafts of the tree by which tries are compared


@dataclass(frozen=True, slots=True)
class Tried:
    """What a try gave: tokens a step foretold with a tree of ``JUDGED`` drafts, tune loss in nats
    (of tries with equal steps ahead alone comparable), seconds and steps.
    """

    tokens: float
    tune_loss: float
    seconds: float
    steps: int


def trained(job: Job, learner_of: Callable[[Job], Learner[M]]) -> tuple[M, dict[str, Any]]:
    """The module as trained, with the best of what was tried, and the provenance of its weights."""
    job, spent = settle(job, learner_of)
    learner = learner_of(job)
    provenance = training.train(job, learner, spent)
    return learner.module, provenance


def settle(job: Job, learner_of: Callable[[Job], Learner[Any]]) -> tuple[Job, float]:
    """The job with the settings whose short training did best, and with the seconds that are left;
    beside it the seconds that the tries took. Writes tries.csv; goes on after a kill.

    Each of ``job.settings.tries`` is laid over the settings. Without any the job is as it was.
    """
    tries: tuple[Mapping[str, Any], ...] = job.settings.tries
    if not tries:
        return job, 0.0
    settings = [_laid_over(job.settings, own) for own in tries]
    found = [_try(job, learner_of, number, own) for number, own in enumerate(settings)]
    _write(job.folder / TRIES, tries, found)
    best = max(range(len(found)), key=lambda number: found[number].tokens)
    spent = sum(one.seconds for one in found)
    left = None if job.seconds is None else max(0.0, job.seconds - spent)
    return replace(job, settings=settings[best], seconds=left, started=time.monotonic()), spent


def _laid_over(settings: Any, own: Mapping[str, Any]) -> Any:
    given = {**asdict(settings), "tries": ()}
    for key in own:
        if key not in given:
            known = ", ".join(sorted(given))
            raise HarnessError(f"tries: unknown setting '{key}'; expected one of {known}")
    given |= own
    return parsed(type(settings), given, f"tries {json.dumps(dict(own))}")


def _try(job: Job, learner_of: Callable[[Job], Learner[Any]], number: int, settings: Any) -> Tried:
    """A short training with a schedule of its own; one that was finished before is not repeated."""
    folder = job.folder / f"{training.TRY}{number}"
    file = folder / "tried.json"
    if file.is_file():
        return checked(Tried, read_json(file), str(file), strict=False)
    steps = max(1, round(SHARE * settings.training_steps))
    short = replace(
        job,
        settings=replace(settings, training_steps=steps),
        folder=folder,
        seconds=None if job.seconds is None else SHARE * job.seconds,
        started=time.monotonic(),
    )
    learner = learner_of(short)
    facts = training.train(short, learner)
    size, device = settings.evaluation_batch, job.target.device
    steps_ahead = learner.judged or learner.steps
    traces = measure(learner.predict, job.tune, steps_ahead, device, size).traces
    tokens = replay(traces, grow(traces, JUDGED, steps_ahead)).acceptance_length
    tried = Tried(tokens, facts["tune_loss"], facts["training_seconds"], facts["training_steps"])
    write_json(file, asdict(tried))
    return tried


def _write(path: Path, tries: tuple[Mapping[str, Any], ...], found: list[Tried]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["settings", "tokens_a_step", "tune_loss", "seconds", "steps"])
        for own, one in zip(tries, found, strict=True):
            figures = [f"{one.tokens:.4f}", f"{one.tune_loss:.5f}", f"{one.seconds:.1f}"]
            rows.writerow([json.dumps(dict(own)), *figures, one.steps])
