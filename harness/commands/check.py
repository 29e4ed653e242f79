"""Parse every method's settings before any long job starts."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_arms, parse_spec
from harness.measure.prepare import check_methods


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--methods", required=True, type=parse_arms, help="JSON: arm -> settings")
    add("--model", type=parse_spec, help="JSON: where the model is, if settings are to go with it")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    check_methods(options.methods, options.out, options.model)
