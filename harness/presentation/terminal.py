"""The main tables and findings as text, printed to the terminal when an experiment has ended."""

from pathlib import Path

import pandas as pd

from harness.datasets import shown_name
from harness.experiment.facts import Facts
from harness.experiment.folder import Folder
from harness.presentation.explain import named
from harness.presentation.report import found_lines
from harness.presentation.wording import interval, number, rank_text

HEADER = ["method", "speedup", "95 % interval", "accepted", "rank"]


def print_summary(root: Path, reports: Path) -> None:
    """Print the main table and the findings of every data set, and where the reports are."""
    folder = Folder(root)
    facts: Facts = folder.read_json(folder.facts)
    summary = folder.read_csv(folder.table("summary"))
    for name in facts["experiment"]["datasets"]:
        print(f"\n{shown_name(name)}")
        print("\n".join(aligned(_rows(summary[summary["dataset"] == name]))))
        for line in found_lines(folder, name, facts, summary):
            print(f"- {line}")
    print("\nReports:", ", ".join(str(file) for file in _reports(reports, facts)))


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of text with aligned columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _rows(arms: pd.DataFrame) -> list[list[str]]:
    body = [
        [
            name,
            number(line["speedup"], 2),
            interval(line["speedup_ci_low"], line["speedup_ci_high"]),
            number(line["acceptance_length"], 2),
            rank_text(line["rank_best"], line["rank_worst"]),
        ]
        for name, line in named(arms)
    ]
    return [HEADER, *body]


def _reports(folder: Path, facts: Facts) -> list[Path]:
    names = [f"{name}.pdf" for name in (*facts["experiment"]["datasets"], "paper", "analysis")]
    return [folder / name for name in ("index.html", *names) if (folder / name).is_file()]
