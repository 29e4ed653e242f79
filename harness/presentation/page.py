"""One HTML page with what a reader asks first; it is self-contained and needs no network."""

import base64
import os
from pathlib import Path

import jinja2
import pandas as pd

from harness.datasets import shown_name
from harness.errors import HarnessError
from harness.experiment.facts import Facts
from harness.experiment.folder import Folder
from harness.files import write_text
from harness.presentation.main_table import main_rows
from harness.presentation.report import found_lines
from harness.presentation.setup import checklist_rows

TEMPLATE = Path("workflows/page.html.jinja")
# The figures on the page, which need no text but a caption.
CAPTIONS = {
    "speedup": "Speedup over autoregressive decoding, 95 % intervals.",
    "phases": "Where a decode step goes, from a pass of its own with a clock around each phase.",
    "draft_sizes": "Acceptance length, and speedup if timed, by draft tokens a step; tune split.",
}


def write_page(root: Path, out: Path) -> None:
    """Write the page of the experiment under ``root`` to ``out``, with links relative to there.

    The PDFs are expected beside it.
    """
    if not TEMPLATE.is_file():
        raise HarnessError(f"{TEMPLATE}: no such file; run from the project's folder")
    folder = Folder(root)
    facts: Facts = folder.read_json(folder.facts)
    summary = folder.read_csv(folder.table("summary"))
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text())
    experiment = facts["experiment"]
    text = template.render(
        experiment=experiment["experiment"],
        title=experiment["title"],
        stand_in=experiment["stand_in"],
        sets=[_set(folder, name, facts, summary) for name in experiment["datasets"]],
        figures=_figures(folder),
        checklist=checklist_rows(facts),
        files=_files(folder, out.parent),
    )
    write_text(out, text)


def _set(folder: Folder, name: str, facts: Facts, summary: pd.DataFrame) -> dict[str, object]:
    return {
        "name": name,
        "shown": shown_name(name),
        "findings": found_lines(folder, name, facts, summary),
        "rows": main_rows(folder, facts, name, summary[summary["dataset"] == name]),
    }


def _figures(folder: Folder) -> list[dict[str, str]]:
    """Captions and SVG files, the latter as base64."""
    drawn = folder.read_json(folder.drawn)
    return [
        {"caption": caption, "data": base64.b64encode(_svg(folder, name)).decode()}
        for name, caption in CAPTIONS.items()
        if name in drawn
    ]


def _svg(folder: Folder, name: str) -> bytes:
    return folder.figure(name).read_bytes()


def _files(folder: Folder, beside: Path) -> list[dict[str, str]]:
    """Names of tables and row files, with links relative to the folder ``beside``."""
    rows = [folder.root / name for name in folder.read_json(folder.facts)["row_files"]]
    files = [*folder.found("tables/*.csv"), *rows]
    names = [file.relative_to(folder.root).as_posix() for file in files]
    links = [Path(os.path.relpath(file, beside)).as_posix() for file in files]
    return [{"name": name, "link": link} for name, link in zip(names, links, strict=True)]
