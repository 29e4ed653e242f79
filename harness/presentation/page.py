"""One page with everything that a reader asks first: self-contained HTML, no network needed."""

import base64
import os
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from harness.datasets import shown_name
from harness.errors import HarnessError
from harness.files import read_json, write_text
from harness.presentation.main_table import main_rows
from harness.presentation.report import checklist_rows, found_lines

TEMPLATE = Path("workflows/page.html.jinja")
# Of the figures, those that need no further text.
CAPTIONS = {
    "speedup": "Speedup over autoregressive decoding, 95 % intervals.",
    "phases": "Where a decode step goes, from a pass of its own with a clock around each phase.",
    "draft_sizes": "Acceptance length and speedup by the number of draft tokens, tune split.",
}


def write_page(root: Path, out: Path) -> None:
    """Write the page of the experiment under ``root``; its links are right for where ``out`` is.

    The PDFs are expected beside it.
    """
    if not TEMPLATE.is_file():
        raise HarnessError(f"{TEMPLATE}: no such file; run from the project's folder")
    facts = read_json(root / "tables" / "facts.json")
    summary = pd.read_csv(root / "tables" / "summary.csv")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text())
    experiment = facts["experiment"]
    text = template.render(
        {key: experiment[key] for key in ("experiment", "title", "stand_in")},
        sets=[_set(root, name, facts, summary) for name in experiment["datasets"]],
        figures=_figures(root),
        checklist=checklist_rows(facts),
        files=_files(root, out.parent),
    )
    write_text(out, text)


def _set(root: Path, name: str, facts: dict[str, Any], summary: pd.DataFrame) -> dict[str, Any]:
    return {
        "name": name,
        "shown": shown_name(name),
        "findings": found_lines(root, name, facts, summary),
        "rows": main_rows(root, name, summary[summary["dataset"] == name]),
    }


def _figures(root: Path) -> list[dict[str, str]]:
    """Captions and SVG files, the latter as base64."""
    drawn = read_json(root / "figures" / "done.json")
    return [
        {"caption": caption, "data": base64.b64encode(_svg(root, name)).decode()}
        for name, caption in CAPTIONS.items()
        if name in drawn
    ]


def _svg(root: Path, name: str) -> bytes:
    return (root / "figures" / f"{name}.svg").read_bytes()


def _files(root: Path, beside: Path) -> list[dict[str, str]]:
    """Tables and row files, with links from the folder ``beside``."""
    found = [*sorted(root.glob("tables/*.csv")), *sorted(root.glob("runs/**/*.jsonl"))]
    names = [file.relative_to(root).as_posix() for file in found]
    links = [Path(os.path.relpath(file, beside)).as_posix() for file in found]
    return [{"name": name, "link": link} for name, link in zip(names, links, strict=True)]
