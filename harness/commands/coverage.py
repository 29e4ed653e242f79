"""Simulate how often confidence intervals contain the true value."""

import argparse
from pathlib import Path

from harness.analysis.coverage import write_coverage
from harness.commands.options import Argument


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--repeats", default=500, type=int, help="synthetic experiments of each kind")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_coverage(options.repeats, options.out)
