"""Unpack kept rows so that they can be analysed again."""

import argparse
from pathlib import Path

from harness.commands.keep import unpack
from harness.commands.options import Argument


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--kept", required=True, type=Path)
    add("--root", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    unpack(options.kept, options.root)
