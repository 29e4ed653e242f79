"""Parse every method's settings before any long job starts."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_arms
from harness.measure.prepare import check_methods


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--methods", required=True, nargs="+", help="JSON: arm -> settings; one per model")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    check_methods([parse_arms(text) for text in options.methods], options.out)
