"""Lay tables and figures out as a PDF."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.presentation.report import write_report


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--root", required=True, type=Path, help="results/<experiment>")
    add("--name", required=True, help="a data set, paper or analysis")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_report(options.root, options.name, options.out)
