"""Make tables from rows."""

import argparse
from pathlib import Path

from harness.analysis.tables import write_tables
from harness.commands.options import Argument, parse_json
from harness.experiment.steps import Outline
from harness.files import checked


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--experiment", required=True, help="JSON: what the reports need to know")
    add("--root", required=True, type=Path, help="results/<experiment>")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    outline = checked(Outline, parse_json(options.experiment, "--experiment"), "--experiment")
    write_tables(outline, options.root)
