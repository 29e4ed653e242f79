"""Predict speedups from acceptance and the cost of forwards."""

import argparse
from pathlib import Path

from harness.commands.options import Argument
from harness.enginebench.predict import write_predictions


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--measured", required=True, type=Path, help="engine.json of the engine benchmark")
    add("--acceptance", required=True, nargs="+", type=Path, help="YAML: figures and sources")
    add("--out", required=True, type=Path, help="a CSV; Markdown beside it")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_predictions(options.measured, options.acceptance, options.out)
