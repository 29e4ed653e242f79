"""Train an arm's own parameters."""

import argparse

from harness.commands.options import Argument
from harness.commands.tune import arguments as of_tuning
from harness.commands.tune import run_step
from harness.errors import HarnessError
from harness.measure.prepare import train_method


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    of_tuning(add)
    add("--seconds", type=float, help="wall seconds for training alone, where there is no budget")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    if options.train_answers is None:
        raise HarnessError("train: no --train-answers, expected answers to learn from")
    run_step(options, train_method)
