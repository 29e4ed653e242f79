"""Choose an arm's setting on the tune split."""

import argparse
from collections.abc import Callable
from pathlib import Path

from harness.commands.options import (
    SAMPLING,
    Argument,
    parse_caps,
    parse_mapping,
    parse_sampling,
    parse_spec,
    use_threads,
)
from harness.experiment.arms import parse_arm
from harness.measure.prepare import MethodStep, TuneData, tune_method
from harness.models import ModelSpec


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--method", required=True, help="name of the arm")
    told = "JSON: its settings; a variant's include of and uses"
    add("--settings", required=True, type=parse_mapping, help=told)
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--train-answers", type=Path, help="the target's answers to learn from")
    add("--tune-answers", required=True, type=Path)
    add("--prompts", nargs="*", default=[], type=Path, help="tune prompts")
    add("--caps", default="{}", type=parse_caps, help="JSON: dataset -> new tokens at most")
    add("--forwards", type=Path, help="CSV that `cost` wrote, to predict candidates' speed")
    add("--sampling", default="{}", type=parse_sampling, help=SAMPLING)
    add("--seed", default=0, type=int)
    add("--budget", type=float, help="wall seconds for training and tuning together")
    add("--folder", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    run_step(options, tune_method)


def run_step(
    options: argparse.Namespace, step: Callable[[ModelSpec, MethodStep, TuneData], None]
) -> None:
    """Run one step (training, tuning or examining) for the arm that the arguments name."""
    use_threads(options.threads)
    arm = parse_arm(options.method, options.settings)
    data = TuneData(
        options.train_answers,
        options.tune_answers,
        options.prompts,
        options.caps,
        options.forwards,
        options.sampling,
    )
    seconds = vars(options).get("seconds")  # only ``train`` has this argument
    method_step = MethodStep(arm, options.folder, options.seed, options.budget, seconds)
    step(options.model, method_step, data)
