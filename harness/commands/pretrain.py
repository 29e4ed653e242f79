"""Train a target on question sets."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, parse_json, use_threads
from harness.pretrain.corpus import build


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--recipe", required=True, help="JSON: sources, shape, recipe")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    print(build(parse_json(options.recipe, "--recipe"), options.out))
