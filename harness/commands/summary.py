"""Print the main tables."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.presentation.terminal import print_summary


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--root", required=True, type=Path, help="results/<experiment>")
    add("--reports", default=Path("reports"), type=Path, help="where the reports are")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    print_summary(options.root, options.reports)
