"""Draw figures from tables."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.presentation.figures import write_figures


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--root", required=True, type=Path, help="results/<experiment>")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_figures(options.root)
