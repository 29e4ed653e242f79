"""What a method's training gave, in tables for reports; no budget counts it."""

import argparse

from harness.commands.options import Argument
from harness.commands.tune import arguments as of_tuning
from harness.commands.tune import run_step
from harness.measure.prepare import examine_method


def arguments(add: Argument) -> None:
    """What the subcommand is given."""
    of_tuning(add)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    run_step(options, examine_method)
