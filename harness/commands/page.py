"""Lay tables and figures out as one HTML page."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.presentation.page import write_page


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--root", required=True, type=Path, help="results/<experiment>")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_page(options.root, options.out)
