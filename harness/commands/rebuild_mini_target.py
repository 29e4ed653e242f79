"""Train mini's target again."""

import argparse
from pathlib import Path

from harness.commands.options import Argument, use_threads
from harness.mini.target import build, phases


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--seed", default=0, type=int)
    add("--tokens", default=None, type=int, help="positions per phase, the recipe's by default")
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    use_threads(options.threads)
    print(build(phases(options.seed, options.tokens), options.out))
