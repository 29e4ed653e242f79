"""Predict speedups from acceptance and the cost of forwards."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from harness.commands.options import Argument
from harness.enginebench.predicted import predict, read_measured, read_profile
from harness.enginebench.show import show_predictions
from harness.errors import HarnessError
from harness.experiment.folder import write_table


def write_predictions(measured: Path, profiles: Sequence[Path], out: Path) -> None:
    """Write the predictions for all lines of all profiles as CSV, and as Markdown beside it."""
    accepted = [line for profile in profiles for line in read_profile(profile)]
    if not accepted:
        raise HarnessError(f"acceptance: no line in {', '.join(map(str, profiles))}")
    table = predict(read_measured(measured), accepted)
    write_table(out, table)
    print(show_predictions(table, out.with_suffix(".md")))


def arguments(add: Argument) -> None:
    """Add the subcommand's arguments."""
    add("--measured", required=True, type=Path, help="engine.json of the engine benchmark")
    add("--acceptance", required=True, nargs="+", type=Path, help="YAML: figures and sources")
    add("--out", required=True, type=Path, help="a CSV; Markdown beside it")


def run(options: argparse.Namespace) -> None:
    """Run the subcommand."""
    write_predictions(options.measured, options.acceptance, options.out)
