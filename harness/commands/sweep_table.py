"""Collect the results of a sweep's variants."""

import argparse
from pathlib import Path

from harness.analysis.sweep import write_sweep
from harness.commands.options import Argument, parse_json


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--model", required=True, help="its name")
    add("--method", required=True)
    add("--variants", required=True, help="JSON: settings of each variant")
    add("--settings", required=True, nargs="+", type=Path)
    add("--out", required=True, type=Path)


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    variants = parse_json(options.variants, "--variants")
    write_sweep((options.model, options.method), variants, options.settings, options.out)
