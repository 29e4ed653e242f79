"""Collecting a sweep's variants."""

import argparse
from pathlib import Path

from harness.analysis.sweep import write_sweep
from harness.commands.options import Argument, parse_json


def arguments(add: Argument) -> None:
    """What the subcommand is given."""
    add("--variants", required=True, help="JSON: settings of each variant")
    add("--settings", required=True, nargs="+", type=Path)
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_sweep(parse_json(options.variants, "--variants"), options.settings, options.out)
