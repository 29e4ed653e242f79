"""Freeze the prompts of splits, one split after the other."""

import argparse

from harness.commands.options import Argument, parse_json, parse_spec, use_threads
from harness.commands.prompts import freeze_splits
from harness.experiment.steps import Freeze
from harness.files import parsed


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--splits", required=True, help="JSON: a list of splits, each with the file it goes to")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    freezes = parsed(list[Freeze], parse_json(options.splits, "--splits"), "--splits")
    freeze_splits(options.model, freezes)
