"""Put an arm's trained parts into the folder of a variant that uses them."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.commands.parts import share_parts


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--trained", required=True, type=Path, help="folder that a training wrote")
    add("--folder", required=True, type=Path, help="folder of the arm that uses it")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    share_parts(options.trained, options.folder)
