"""The import subcommand: analyse published answer files again."""

from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.experiment.folder import write_table
from harness.published.files import read_answer_file
from harness.published.tables import WARNINGS, pairs_table, runs_table


def import_runs(arguments: list[str], out: Path) -> None:
    """Read the runs given as ``NAME=FILE``; write rows.csv, runs.csv and pairs.csv to ``out``."""
    files: dict[str, Path] = {}
    for text in arguments:
        name, separator, file = text.partition("=")
        if not separator or not name or not file:
            raise HarnessError(f"--answers '{text}': expected NAME=FILE")
        if name in files:
            raise HarnessError(f"--answers '{text}': name '{name}' is given twice")
        files[name] = Path(file)
    everything = pd.concat([read_answer_file(name, file) for name, file in files.items()])
    failed = everything["failed"].astype(bool)
    rows = everything[~failed]
    for name in files:
        if not (rows["run"] == name).any() or not rows[rows["run"] == name]["tokens"].sum():
            raise HarnessError(f"{files[name]}: no tokens in any answer")
    tables = {"rows": rows, "runs": runs_table(rows), "pairs": pairs_table(rows)}
    for name, table in tables.items():
        write_table(out / f"{name}.csv", table)
    for name in ("runs", "pairs"):
        print(tables[name].to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if failed.any():
        print(f"warning: {failed.sum()} turns are 'ERROR' and left out: their figures are others'.")
    for warning in WARNINGS:
        print(f"warning: {warning}")
