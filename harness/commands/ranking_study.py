"""Simulate whether ranks can be trusted, on experiments whose truth is known."""

import argparse
from pathlib import Path

from harness.analysis.ranking_study import write_ranking_study
from harness.commands.options import Argument


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--repeats", default=1000, type=int, help="synthetic experiments of each kind")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_ranking_study(options.repeats, options.out)
