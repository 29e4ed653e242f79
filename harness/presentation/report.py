"""PDF reports, laid out by typst from the tables: one per data set, one on all sets in the paper's
shape, and one on how FIRP works.
"""

import json
import math
import os
from pathlib import Path

import pandas as pd
import typst

from harness.analysis.preparation import Prepared
from harness.datasets import DATASETS, find_dataset, shown_name
from harness.errors import HarnessError
from harness.experiment.facts import Facts
from harness.experiment.folder import LEARNT, SETTING, TRIALS, Folder
from harness.files import replacing
from harness.presentation.explain import (
    best_size_lines,
    budget_lines,
    category_rows,
    cost_rows,
    definition_rows,
    lossy_lines,
    prepared_rows,
    reach_rows,
    size_rows,
    slower_lines,
    speed_rows,
    spread_lines,
    uncut_lines,
)
from harness.presentation.findings import findings
from harness.presentation.main_table import guard_rows, main_rows
from harness.presentation.setup import run_data
from harness.presentation.style import TEXT_SIZE
from harness.presentation.trained import (
    ENTRY,
    LENGTHS,
    OF_LENGTHS,
    SEEING,
    cosine_rows,
    learnt_rows,
    mechanism,
    study_rows,
    tree_rows,
)
from harness.presentation.verdicts import remarks
from harness.presentation.wording import name_of, number

TEMPLATE = Path("workflows/report.typ")
PUBLISHED = Path("workflows/resources/published.csv")
RANKING = Path("workflows/resources/ranking.csv")
_TABLES = {
    "speedup": ("Speedup over autoregressive decoding, decode phase", 2),
    "acceptance_length": ("Acceptance length: tokens committed per decode-phase step", 2),
    "draft_size": ("Draft size: draft tokens verified per step, root excluded", 1),
    "rouge2": ("Rouge-2 F1 against the reference (XSum)", 3),
}


def write_report(root: Path, name: str, out: Path) -> None:
    """Lay out report ``name`` (a data set, ``paper`` or ``analysis``) as the PDF ``out``."""
    if not TEMPLATE.is_file():
        raise HarnessError(f"{TEMPLATE}: no such file; run from the project's folder")
    # not resolve(), which follows links: results/ may be one to another disk
    absolute = Path(os.path.abspath(root))  # noqa: PTH100
    if not absolute.is_relative_to(Path.cwd()):
        raise HarnessError(f"root '{root}': expected a folder inside the project's, {Path.cwd()}")
    folder, inside = Folder(root), absolute.relative_to(Path.cwd()).as_posix()
    data = _data(folder, name, folder.read_json(folder.facts))
    data["figures"] = {
        figure: f"/{inside}/figures/{figure}.svg" for figure in folder.read_json(folder.drawn)
    }
    with replacing(out) as temporary:
        typst.compile(
            str(TEMPLATE),
            output=str(temporary),
            root=".",
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"data": json.dumps(data)},
        )


def _data(folder: Folder, name: str, facts: Facts) -> dict[str, object]:
    """What the template lays out as report ``name``, all but the figures."""
    reports = [*facts["experiment"]["datasets"], "paper", "analysis"]
    if name not in reports:
        raise HarnessError(f"report '{name}': expected one of {', '.join(reports)}")
    summary = folder.read_csv(folder.table("summary"))
    if name == "paper":
        own = _paper(folder, facts, summary)
    elif name == "analysis":
        own = _analysis(folder, facts)
    else:
        own = _dataset(folder, name, facts, summary)
    return {
        **own,
        "key": name,
        "with_firp": _with_firp(facts),
        "text_size": TEXT_SIZE,
        "best_first_medusa": any(
            folder.read_json(file).get("policy") == "best_first"
            for (method, _), file in _prepared(folder, facts, SETTING).items()
            if method == "medusa"
        ),
        "remarks": [*remarks(facts), *budget_lines(folder)],
        **run_data(facts),
    }


def found_lines(
    folder: Folder, dataset: str, facts: Facts, summary: pd.DataFrame, most: int | None = None
) -> list[str]:
    """The findings on a data set: of each model ``most``, or all."""
    pairs = folder.read_csv(folder.table("pairs"))
    return findings(dataset, summary, pairs, facts["unranked"], most)


def _dataset(folder: Folder, name: str, facts: Facts, summary: pd.DataFrame) -> dict[str, object]:
    arms = summary[summary["dataset"] == name]
    score = find_dataset(name).score if name in DATASETS else None
    pairs = folder.read_csv(folder.table("pairs"))
    return {
        "kind": "dataset",
        "name": shown_name(name),
        "findings": found_lines(folder, name, facts, summary),
        "questions": _each_model(facts["questions"], name),
        "dropped": _each_model(facts["dropped_questions"], name),
        "cap": facts["experiment"]["datasets"][name]["max_new_tokens"],
        "main": main_rows(folder, facts, name, arms),
        "guards": guard_rows(arms),
        "as_good": f"{score.margin:g} {score.shown}" if score else "",
        "answers": [
            *uncut_lines(folder, name, _greedy_and_same(facts)),
            *lossy_lines(folder, name),
        ],
        "categories": category_rows(folder, name),
        "speed": speed_rows(arms),
        "slower": slower_lines(arms, pairs[pairs["dataset"] == name]),
        "cost": cost_rows(folder, name),
        "prepared": prepared_rows(folder, arms),
        "spread": spread_lines(arms, facts["experiment"].get("variants", {})),
        "definitions": definition_rows(folder, name),
    }


def _each_model(counts: dict[str, int], dataset: str) -> str:
    """A number of a data set: one, or one per model if they differ."""
    models = {cell.split("/")[0]: n for cell, n in counts.items() if cell.split("/")[1] == dataset}
    if len(set(models.values())) == 1:
        return str(next(iter(models.values())))
    return ", ".join(f"{model} {n}" for model, n in models.items())


def _prepared(folder: Folder, facts: Facts, name: str) -> dict[tuple[str, str], Path]:
    """(method, model) -> file ``name`` of its training or tuning, for those that have one."""
    outline, prepared = facts["experiment"], Prepared(folder, facts["uses"])
    files = {
        (method, model): prepared.file(model, method, name)
        for method in dict.fromkeys(map(prepared.by, outline["methods"]))
        for model in outline["models"]
    }
    return {place: file for place, file in files.items() if file.is_file()}


def _method_csv(folder: Folder, facts: Facts, name: str, method: str) -> list[list[str]]:
    """Rows of a method's CSV over all models, the model first; the header is the first row."""
    tables = [
        pd.read_csv(file, dtype=str).assign(model=model)
        for (of, model), file in _prepared(folder, facts, name).items()
        if of == method
    ]
    if not tables:
        return []
    table = pd.concat(tables).fillna("–")
    table = table[["model", *table.columns.drop("model")]]
    return [[column.replace("_", " ") for column in table], *table.to_numpy().tolist()]


def _trials(folder: Folder, facts: Facts) -> list[dict[str, object]]:
    """Per tuned method, the best trials of each model. Finalists, timed on most requests, come
    first: a screening on few requests flatters. A single method shows more trials.
    """
    methods = sorted({method for method, _ in _prepared(folder, facts, TRIALS)})
    limit = 10 if len(methods) == 1 else 4
    trials: list[dict[str, object]] = []
    for method in methods:
        rows = _method_csv(folder, facts, TRIALS, method)
        keys = [rows[0].index(name) for name in ("requests", "speedup")]
        best = sorted(rows[1:], key=lambda row: [_descending(row[key]) for key in keys])
        shown = [
            row
            for model in facts["experiment"]["models"]
            for row in [row for row in best if row[0] == model][:limit]
        ]
        trials.append({"method": name_of(method), "rows": [rows[0], *shown]})
    return trials


def _descending(text: str) -> float:
    """A sorting key: the largest number first, what was not measured last."""
    return math.inf if text == "–" else -float(text)


def _paper(folder: Folder, facts: Facts, summary: pd.DataFrame) -> dict[str, object]:
    tables = []
    for name, (caption, digits) in _TABLES.items():
        table = folder.read_csv(folder.table(name)).set_index("method")
        if table.isna().all(axis=None):  # no set has such a score
            continue
        cells = table.map(lambda cell, digits=digits: number(_figure(cell), digits))
        if name == "speedup":
            cells += _intervals(summary, cells)
        header = ["method", *(_set_name(cell, summary) for cell in cells)]
        body = [
            [name_of(method), *row]
            for method, row in zip(cells.index, cells.to_numpy().tolist(), strict=True)
        ]
        tables.append({"caption": caption, "rows": [header, *body]})
    published = pd.read_csv(PUBLISHED, dtype=str).fillna("")
    rows = [list(published.columns), *published.to_numpy().tolist()]
    return {
        "kind": "paper",
        "name": "all question sets",
        "findings": [
            line
            for dataset in facts["experiment"]["datasets"]
            for line in found_lines(folder, dataset, facts, summary, most=2)
        ],
        "tables": tables,
        "trials": _trials(folder, facts),
        "published": rows,
        "ranking": _ranking_rows(),
    }


def _figure(cell: object) -> object:
    """A cell's number: a column with the words of an arm that failed is read as text."""
    try:
        return float(str(cell))
    except ValueError:
        return cell


def _greedy_and_same(facts: Facts) -> bool:
    """Whether lossless methods gave the target's greedy answers, token for token."""
    return "sampling" not in facts["experiment"] and not facts["divergences"]


def _with_firp(facts: Facts) -> bool:
    return "firp" in facts["experiment"]["methods"]


def _analysis(folder: Folder, facts: Facts) -> dict[str, object]:
    """The report on how FIRP works: measurements of its states, trees, entry layers and drafts."""
    return {
        "kind": "analysis",
        "name": "how FIRP works" if _with_firp(facts) else "what trainings gave",
        "findings": mechanism(folder, facts),
        "cosines": cosine_rows(folder),
        "learnt": learnt_rows(_prepared(folder, facts, LEARNT)),
        "trees": tree_rows(folder, facts),
        "entries": study_rows("entry", {"model": "model", "entry_layers": "enter at"}, ENTRY),
        "seeing": study_rows("seeing", SEEING, ENTRY),
        "lengths": study_rows("length", OF_LENGTHS, LENGTHS),
        "reach": reach_rows(folder),
        "sizes": size_rows(folder),
        "best_sizes": best_size_lines(folder),
    }


def _ranking_rows() -> list[list[str]]:
    """The table of the simulated study of what ranks mean, as text."""
    table = pd.read_csv(RANKING)
    header = [column.replace("_", " ") for column in table]
    return [header, *([f"{value:g}" for value in line] for line in table.to_numpy().tolist())]


def _intervals(summary: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Intervals as text in the shape of ``cells``, methods x model/dataset; empty without one."""
    texts = pd.DataFrame("", index=cells.index, columns=cells.columns)
    for _, line in summary.dropna(subset=["speedup_ci_low"]).iterrows():
        interval = f" [{line['speedup_ci_low']:.2f}, {line['speedup_ci_high']:.2f}]"
        texts.loc[line["method"], f"{line['model']}/{line['dataset']}"] = interval
    return texts


def _set_name(cell: str, summary: pd.DataFrame) -> str:
    """The header of the column model/dataset, which names the model if there are several."""
    model, dataset = cell.split("/")
    return (
        shown_name(dataset)
        if summary["model"].nunique() == 1
        else f"{model}, {shown_name(dataset)}"
    )
