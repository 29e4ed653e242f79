"""Check ready-made parts and put them in place of a training."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_arms, parse_spec
from harness.commands.parts import take_parts


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--methods", required=True, type=parse_arms, help="JSON: arm -> settings")
    add("--model", required=True, type=parse_spec, help="JSON: where the model is")
    add("--parts", required=True, type=Path, help="folder of parts with their record")
    add("--folders", required=True, type=Path, help="a folder of each arm is in it")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    take_parts(options.model, options.methods, options.parts, options.folders)
