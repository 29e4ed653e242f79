"""From rows to PDFs: cheap, and without a model."""

import argparse
from pathlib import Path
from typing import Any

from harness.cli.common import command, parse_json
from harness.experiment.steps import Outline
from harness.files import checked


def add(commands: Any) -> None:
    """Steps from rows to PDFs: cheap, and without a model."""
    add = command(commands, "sweep-table", "collect a sweep's variants", _sweep_table)
    add("--variants", required=True, help="JSON: settings of each variant")
    add("--settings", required=True, nargs="+", type=Path)
    add("--out", required=True, type=Path)

    add = command(commands, "tables", "rows -> tables", _tables)
    add("--experiment", required=True, help="JSON: what the reports need to know")
    add("--root", required=True, type=Path, help="results/<experiment>")

    add = command(commands, "coverage", "how often intervals hold the truth, simulated", _coverage)
    add("--repeats", default=500, type=int, help="synthetic experiments of each kind")
    add("--out", required=True, type=Path)

    add = command(commands, "ranking-study", "what ranks mean, simulated", _ranking_study)
    add("--repeats", default=1000, type=int, help="synthetic experiments of each kind")
    add("--out", required=True, type=Path)

    add = command(commands, "figures", "tables -> figures", _figures)
    add("--root", required=True, type=Path)

    add = command(commands, "report", "tables and figures -> PDF", _report)
    add("--root", required=True, type=Path)
    add("--name", required=True)
    add("--out", required=True, type=Path)

    add = command(commands, "summary", "the main tables as text", _summary)
    add("--root", required=True, type=Path)
    add("--reports", default=Path("reports"), type=Path, help="where the reports are")

    add = command(commands, "page", "tables and figures -> one HTML page", _page)
    add("--root", required=True, type=Path)
    add("--out", required=True, type=Path)

    add = command(commands, "import", "analyse published answer files again", _import)
    add(
        "--answers",
        required=True,
        action="append",
        metavar="NAME=FILE",
        help="answers of one run, JSONL of FastChat, Medusa or Spec-Bench; may be repeated",
    )
    add("--out", required=True, type=Path, help="folder of the tables")

    add = command(commands, "keep", "keep an experiment's rows and tables, compressed", _keep)
    add("--root", required=True, type=Path)
    add("--out", required=True, type=Path, help="a new folder")
    add("--prompts", action="store_true", help="the frozen test prompts too")

    add = command(commands, "unpack", "lay kept rows out for analysing them again", _unpack)
    add("--kept", required=True, type=Path)
    add("--root", required=True, type=Path)


def _sweep_table(options: argparse.Namespace) -> None:
    from harness.analysis.sweep import write_sweep

    write_sweep(parse_json(options.variants, "--variants"), options.settings, options.out)


def _tables(options: argparse.Namespace) -> None:
    from harness.analysis.tables import write_tables

    outline = checked(Outline, parse_json(options.experiment, "--experiment"), "--experiment")
    write_tables(outline, options.root)


def _coverage(options: argparse.Namespace) -> None:
    from harness.analysis.coverage import write_coverage

    write_coverage(options.repeats, options.out)


def _ranking_study(options: argparse.Namespace) -> None:
    from harness.analysis.ranking_study import write_ranking_study

    write_ranking_study(options.repeats, options.out)


def _figures(options: argparse.Namespace) -> None:
    from harness.presentation.figures import write_figures

    write_figures(options.root)


def _report(options: argparse.Namespace) -> None:
    from harness.presentation.report import write_report

    write_report(options.root, options.name, options.out)


def _summary(options: argparse.Namespace) -> None:
    from harness.presentation.terminal import print_summary

    print_summary(options.root, options.reports)


def _page(options: argparse.Namespace) -> None:
    from harness.presentation.page import write_page

    write_page(options.root, options.out)


def _import(options: argparse.Namespace) -> None:
    from harness.published.command import import_runs

    import_runs(options.answers, options.out)


def _keep(options: argparse.Namespace) -> None:
    from harness.commands.keep import keep

    keep(options.root, options.out, prompts=options.prompts)


def _unpack(options: argparse.Namespace) -> None:
    from harness.commands.keep import unpack

    unpack(options.kept, options.root)
