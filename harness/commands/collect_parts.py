"""Collect trained parts into a folder that can be shipped."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_arms, use_threads
from harness.commands.parts import collect_parts


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--methods", required=True, type=parse_arms, help="JSON: arm -> settings")
    add("--folders", required=True, type=Path, help="a folder of each arm is in it")
    add("--device", default="cpu", help="on which they were trained")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    collect_parts(options.methods, options.folders, options.out, options.device)
