"""Draft size against acceptance and speed, for methods with calibrated trees of any size."""

import argparse
import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.commands.options import (
    Argument,
    parse_arms,
    parse_caps,
    parse_sampling,
    parse_spec,
    use_threads,
)
from harness.errors import HarnessError
from harness.files import replacing
from harness.measure.machine import fingerprint, machine
from harness.measure.prepare import MethodStep, TuneData, method_job
from harness.models import ModelSpec
from methods.shared.trials import Trial, time_trials

COLUMNS = (
    "method draft_size predicted_acceptance_length requests acceptance_length speedup "
    "rows_per_step setting depth fingerprint"
).split()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of draft tokens: all up to ``largest`` are predicted, those in ``timed`` measured."""

    largest: int
    timed: Sequence[int]


def write_curve(
    spec: ModelSpec, steps: Sequence[MethodStep], data: TuneData, sizes: Sizes, out: Path
) -> None:
    """One line per method and size from 1 to ``sizes.largest``.

    Trees are grown from the rank traces of the tune answers, which also predict the acceptance
    length. The sizes to time decode the same prompts, all methods side by side; a method that can
    run a tree in several ways is shown in its fastest.
    """
    trials: list[tuple[str, Trial]] = []
    job = None
    for step in steps:
        sized = step.arm.method.sized
        if sized is None:
            raise HarnessError(f"method '{step.arm.name}': has no trees of a given size")
        # All methods share one target, or the later ones would wait for a colder cache.
        job = method_job(spec, step, data, target=job.target if job else None)
        every = sized(job, range(1, sizes.largest + 1))
        trials += [(step.arm.name, trial) for trial in every]
    if job is None:
        raise HarnessError("curve: no methods, expected at least one")
    rng = random.Random(job.seed)
    timed = [trial for _, trial in trials if trial.setting["drafts"] in sizes.timed]
    if timed:
        time_trials(job, "draft sizes", timed, job.requests, rng)
    shown: dict[tuple[str, int], Trial] = {}
    for name, trial in trials:
        place = (name, trial.setting["drafts"])
        shown[place] = max(shown.get(place, trial), trial, key=lambda t: t.speedup)
    with replacing(out) as temporary, temporary.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        here = fingerprint(machine(job.target.devices, job.target.product_kind))
        rows.writerows(
            [*place, *_figures(trial), trial.setting["depth"], here]
            for place, trial in shown.items()
        )


def _figures(trial: Trial) -> list[object]:
    """What was predicted, and what was measured if the size was timed."""
    foretold = round(trial.predicted or 0.0, 4)
    if not trial.requests:
        return [foretold, "", "", "", "", ""]
    return [
        foretold,
        trial.requests,
        round(trial.acceptance_length, 4),
        round(trial.speedup, 4),
        round(trial.rows / trial.steps, 2),
        trial.setting.get("passes", ""),
    ]


def arguments(add: Argument) -> None:
    """What the subcommand is given."""
    add("--methods", required=True, help="JSON: arm -> settings")
    add("--largest", required=True, type=int, help="draft tokens a step, at most")
    add("--timed", nargs="*", default=[], type=int, help="sizes that are timed")
    add("--model", required=True, help="JSON: where the model is")
    add("--train-answers", type=Path)
    add("--tune-answers", required=True, type=Path)
    add("--prompts", required=True, nargs="+", type=Path, help="tune prompts")
    add("--caps", required=True, help="JSON: dataset -> new tokens at most")
    add("--sampling", help="JSON: temperature, top_p, seed; greedy without")
    add("--seed", default=0, type=int)
    add("--folders", required=True, type=Path, help="a folder of each arm is in it")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    steps = [
        MethodStep(arm, options.folders / name, options.seed)
        for name, arm in parse_arms(options.methods).items()
    ]
    caps = parse_caps(options.caps)
    drawn = parse_sampling(options.sampling)
    answers = options.train_answers, options.tune_answers
    data = TuneData(*answers, options.prompts, caps, sampling=drawn)
    sizes = Sizes(options.largest, options.timed)
    write_curve(parse_spec(options.model), steps, data, sizes, options.out)
