"""Trying settings within a training's seconds: each in a short training, the best for all the rest.

Settings that suit one target size need not suit another, and a method with a better guess would win
by that alone. So every trained method may try equally many, and pays from its own budget.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import checked, parsed, read_json, write_csv, write_json
from harness.method import Job
from methods.shared import training
from methods.shared.accuracy import measure
from methods.shared.training import Learner, M, Provenance, finish, job_key
from methods.shared.trees import grow, replay

__all__ = ["Learner", "best_of_tries", "finish", "trained"]

TRIES = "tries.csv"
SHARE = 0.05  # of the seconds, or of the steps, for each try
JUDGED = 9  # drafts of the tree by which tries are compared


@dataclass(frozen=True, slots=True)
class Tried:
    """Result of a try. ``tokens`` per decode step, foretold for a tree of ``JUDGED`` drafts: tries
    are compared by it. ``tune_loss`` in nats, comparable only between tries that predict equally
    many tokens ahead. ``seconds`` of training and judging; ``steps`` of the optimiser. ``key`` of
    the job: a stored result is taken again only by a job with the same key.
    """

    tokens: float
    tune_loss: float
    seconds: float
    steps: int
    key: str = ""


def trained(job: Job, learner_of: Callable[[Job], Learner[M]]) -> tuple[M, Provenance]:
    """The module trained with the best of the tried settings, and its weights' provenance."""
    job, spent = best_of_tries(job, learner_of)
    learner = learner_of(job)
    provenance = training.train(job, learner, spent)
    return learner.module, provenance


def best_of_tries(job: Job, learner_of: Callable[[Job], Learner[Any]]) -> tuple[Job, float]:
    """The job with the settings whose short training did best and with the seconds that are left,
    and the seconds that the tries took. Writes tries.csv; finished tries are not repeated.

    Each of ``job.settings.tries`` replaces some settings. Without any the job is unchanged.
    """
    tries: tuple[Mapping[str, Any], ...] = job.settings.tries
    if not tries:
        return job, 0.0
    settings = [_changed(job.settings, changes) for changes in tries]
    results = [_try(job, learner_of, number, each) for number, each in enumerate(settings)]
    _write(job.folder / TRIES, tries, results)
    best = max(range(len(results)), key=lambda number: results[number].tokens)
    spent = sum(result.seconds for result in results)
    left = None if job.seconds is None else max(0.0, job.seconds - spent)
    return replace(job, settings=settings[best], seconds=left, started=time.monotonic()), spent


def _changed(settings: Any, changes: Mapping[str, Any]) -> Any:
    values = {**asdict(settings), "tries": ()}
    for key in changes:
        if key not in values:
            names = ", ".join(sorted(values))
            raise HarnessError(f"tries: unknown setting '{key}'; expected one of {names}")
    values |= changes
    return parsed(type(settings), values, f"tries {json.dumps(dict(changes))}")


def _try(job: Job, learner_of: Callable[[Job], Learner[Any]], number: int, settings: Any) -> Tried:
    """A short training with a schedule of its own; a try that was finished is not repeated."""
    folder = job.folder / f"{training.TRY}{number}"
    file = folder / "tried.json"
    steps = max(1, round(SHARE * settings.training_steps))
    short = replace(
        job,
        settings=replace(settings, training_steps=steps),
        folder=folder,
        seconds=None if job.seconds is None else SHARE * job.seconds,
        started=time.monotonic(),
    )
    key = job_key(short)
    if file.is_file():
        before = checked(Tried, read_json(file), str(file), strict=False)
        if before.key == key:
            return before
    learner = learner_of(short)
    facts = training.train(short, learner)
    trained_at = time.monotonic()
    size, device = settings.evaluation_batch, job.target.device
    steps_ahead = learner.judged or learner.steps
    traces = measure(learner.predict, job.tune, steps_ahead, device, size).traces
    tokens = replay(traces, grow(traces, JUDGED, steps_ahead)).acceptance_length
    seconds = round(facts["training_seconds"] + time.monotonic() - trained_at, 1)
    tried = Tried(tokens, facts["tune_loss"], seconds, facts["training_steps"], key)
    write_json(file, asdict(tried))
    return tried


def _write(path: Path, tries: tuple[Mapping[str, Any], ...], results: list[Tried]) -> None:
    lines = []
    for changes, result in zip(tries, results, strict=True):
        figures = [f"{result.tokens:.4f}", f"{result.tune_loss:.5f}", f"{result.seconds:.1f}"]
        lines.append([json.dumps(dict(changes)), *figures, result.steps])
    write_csv(path, ["settings", "tokens_a_step", "tune_loss", "seconds", "steps"], lines)
