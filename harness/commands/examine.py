"""Write tables of what a method's training produced; no budget counts the time."""

import argparse

from harness.commands.options import Argument
from harness.commands.tune import arguments as of_tuning
from harness.commands.tune import run_step
from harness.measure.prepare import examine_method


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    of_tuning(add)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    run_step(options, examine_method)
