"""Parse every method's settings before any long job starts."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_arms
from harness.measure.prepare import check_methods


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    told = "JSON: arm -> settings; one per model"
    add("--methods", required=True, nargs="+", type=parse_arms, help=told)
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    check_methods(options.methods, options.out)
