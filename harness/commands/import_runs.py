"""Analyse published answer files again."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.published.command import import_runs


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add(
        "--answers",
        required=True,
        action="append",
        metavar="NAME=FILE",
        help="answers of one run, JSONL of FastChat, Medusa or Spec-Bench; may be repeated",
    )
    add("--out", required=True, type=Path, help="folder of the tables")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    import_runs(options.answers, options.out)
