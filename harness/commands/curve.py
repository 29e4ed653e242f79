"""Measure acceptance and speed by draft size, for methods with calibrated trees of any size."""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from harness.commands.options import (
    SAMPLING,
    Argument,
    parse_arms,
    parse_caps,
    parse_sampling,
    parse_spec,
    use_threads,
)
from harness.errors import HarnessError
from harness.files import write_csv
from harness.measure.machine import fingerprint, machine
from harness.measure.prepare import MethodStep, TuneData, method_job
from harness.models import ModelSpec
from methods.shared.trials import Trial, time_trials

COLUMNS = (
    "method draft_size predicted_acceptance_length requests acceptance_length speedup "
    "rows_per_step setting depth fingerprint"
).split()


def write_curve(
    spec: ModelSpec,
    steps: Sequence[MethodStep],
    data: TuneData,
    largest: int,
    timed_sizes: Sequence[int],
    out: Path,
) -> None:
    """Write one line per method and draft size from 1 to ``largest``.

    Trees are grown from the rank traces of the tune answers, which also predict the acceptance
    length. With those of ``timed_sizes`` the same prompts are decoded, all methods side by side. A
    method that can run a tree in several ways is shown with its fastest.
    """
    trials: list[tuple[str, Trial]] = []
    job = None
    for step in steps:
        sized = step.arm.method.sized
        if sized is None:
            raise HarnessError(f"method '{step.arm.name}': has no trees of a given size")
        # All methods share one target: a later method's own copy would find a colder cache.
        job = method_job(spec, step, data, target=job.target if job else None)
        candidates = sized(job, range(1, largest + 1))
        trials += [(step.arm.name, trial) for trial in candidates]
    if job is None:
        raise HarnessError("curve: no methods, expected at least one")
    rng = random.Random(job.seed)
    timed = [trial for _, trial in trials if trial.setting["drafts"] in timed_sizes]
    if timed:
        time_trials(job, "draft sizes", timed, job.requests, rng)
    fastest: dict[tuple[str, int], Trial] = {}
    for name, trial in trials:
        cell = (name, trial.setting["drafts"])
        fastest[cell] = max(fastest.get(cell, trial), trial, key=lambda t: t.speedup)
    machine_hash = fingerprint(machine(job.target.devices, job.target.product_kind))
    lines = (
        [*cell, *_figures(trial), trial.setting["depth"], machine_hash]
        for cell, trial in fastest.items()
    )
    write_csv(out, COLUMNS, lines)


def _figures(trial: Trial) -> list[object]:
    """The predicted acceptance length, and what was measured if the size was timed."""
    predicted = round(trial.predicted or 0.0, 4)
    if not trial.requests:
        return [predicted, "", "", "", "", ""]
    return [
        predicted,
        trial.requests,
        round(trial.acceptance_length, 4),
        round(trial.speedup, 4),
        round(trial.rows / max(1, trial.steps), 2),
        trial.setting.get("passes", ""),
    ]


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--methods", required=True, type=parse_arms, help="JSON: arm -> settings")
    add("--largest", required=True, type=int, help="draft tokens a step, at most")
    add("--timed", nargs="*", default=[], type=int, help="sizes that are timed")
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--train-answers", type=Path)
    add("--tune-answers", required=True, type=Path)
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True, type=parse_caps, help="JSON: dataset -> new tokens at most")
    add("--sampling", default="{}", type=parse_sampling, help=SAMPLING)
    add("--seed", default=0, type=int)
    add("--folders", required=True, type=Path, help="a folder of each arm is in it")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    steps = [
        MethodStep(arm, options.folders / name, options.seed)
        for name, arm in options.methods.items()
    ]
    answers = options.train_answers, options.tune_answers
    data = TuneData(*answers, options.prompts, options.caps, sampling=options.sampling)
    write_curve(options.model, steps, data, options.largest, options.timed, options.out)
