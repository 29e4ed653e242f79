"""Draft size against acceptance and speed, for methods with calibrated trees of any size."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

from harness.commands.methods import MethodStep, TuneData, method_job
from harness.errors import HarnessError
from harness.files import replacing
from harness.measure.trials import Trial, time_trials
from harness.models import ModelSpec

COLUMNS = (
    "method draft_size requests predicted_acceptance_length acceptance_length speedup rows_per_step"
).split()


def write_curve(
    spec: ModelSpec, steps: Sequence[MethodStep], data: TuneData, sizes: Sequence[int], out: Path
) -> None:
    """One line per method and size from 1 to the largest of ``sizes``, which are also timed.

    Trees are grown from the rank traces of the tune answers, which also predict the acceptance
    length; the measured one is that of decoding the same prompts, all methods side by side.
    """
    trials: list[tuple[str, Trial]] = []
    job = None
    for step in steps:
        if step.method.sized is None:
            raise HarnessError(f"method '{step.name}': has no trees of a given size")
        # All methods share one target, or the later ones would wait for a colder cache.
        job = method_job(spec, step, data, target=job.target if job else None)
        every = step.method.sized(job, range(1, max(sizes) + 1))
        trials += [(step.name, trial) for trial in every]
    if job is None:
        raise HarnessError("curve: no methods, expected at least one")
    rng = random.Random(job.seed)
    timed = [trial for _, trial in trials if trial.setting["drafts"] in sizes]
    time_trials(job, "draft sizes", timed, job.requests, rng)
    with replacing(out) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        rows.writerows([name, *_figures(trial)] for name, trial in trials)


def _figures(trial: Trial) -> list[object]:
    """What was predicted, and what was measured if the size was timed."""
    foretold = [trial.setting["drafts"], trial.requests, round(trial.predicted or 0.0, 4)]
    if not trial.requests:
        return [*foretold, "", "", ""]
    return [
        *foretold,
        round(trial.acceptance_length, 4),
        round(trial.speedup, 4),
        round(trial.rows / trial.steps, 2),
    ]
